"""A model that leaves the house answers as it did in the playground: its folder, opened by transformers alone in another process."""

import json
import subprocess
import sys
from pathlib import Path

import polars as pl
import pytest
import transformers

from tests.worker import test_nlp_language_codes as codes
from tests.worker import toys
from tests.worker.test_nlp_contract import run
from worker.nlp import TASKS
from worker.serving.pool import Pool
from worker.serving.questions import Key
from worker.spec import RunSpec
from worker.trainer.loop import train

ROOT = Path(__file__).resolve().parents[2]
TEXTS = ["good film was the soup", "awful phone", "it is very poor and we", "bad " * 90]
GREEDY = {"beams": 1, "max_tokens": 12}


def plainly(*asked):
    """Answers of plain.py: [(how, folder, inputs, more)] -> a list for each."""
    command = [sys.executable, "-I", str(ROOT / "tests/worker/plain.py")]
    given = json.dumps([[how, str(folder), inputs, more] for how, folder, inputs, more in asked])
    done = subprocess.run(command, input=given, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout.splitlines()[-1])


def trained(tmp_path, task, family, method="full", **settings):
    _base, messages = run(TASKS[task], family, method, tmp_path / f"{task}-{family}", epochs=1, **settings)
    assert messages[-1]["kind"] == "done", messages[-1]
    return messages[-1]["model"]


def ours(folder, task, inputs, **parameters):
    warm = Pool(2**30).get(Key(folder, task, False))
    return warm.answer(inputs, (), TASKS[task].read_parameters(parameters), False)


@pytest.fixture(autouse=True)
def place(tmp_path, monkeypatch):
    for task in TASKS:
        for family in toys.FAMILIES:
            (tmp_path / f"{task}-{family}").mkdir()


def test_classifiers_of_every_family_give_the_same_labels_as_surely(tmp_path):
    folders = [trained(tmp_path, "classification", family) for family in ("bert", "roberta", "distilbert", "modernbert", "gpt2", "llama")]
    folders.append(trained(tmp_path, "classification", "deberta-v2", "lora"))
    inputs = [{"text": text, "pair": other} for text, other in zip(TEXTS, reversed(TEXTS), strict=True)]
    for folder, found in zip(folders, plainly(*(("labels", folder, inputs, {}) for folder in folders)), strict=True):
        for answer, scores in zip(ours(folder, "classification", inputs), found, strict=True):
            assert scores == pytest.approx(answer["scores"], abs=2e-4), folder
            assert max(scores, key=scores.get) == answer["label"]


def test_question_answerers_find_the_same_words(tmp_path):
    folders = [trained(tmp_path, "question_answering", family) for family in ("bert", "roberta", "electra")]
    inputs = [{"question": "was the film good", "context": f"{text}. the soup was very bad."} for text in TEXTS[:3]]
    for folder, found in zip(folders, plainly(*(("span", folder, inputs, {}) for folder in folders)), strict=True):
        assert found == [answer["answer"] for answer in ours(folder, "question_answering", inputs)], folder


def test_choosers_of_sentences_score_them_alike(tmp_path):
    folder = trained(tmp_path, "summarization", "bert")
    parts = ["The soup was bad.", "It is a good film!", "We like it again."]
    (found,) = plainly(("sentences", folder, [{"sentences": parts}], {}))
    (answer,) = ours(folder, "summarization", [{"document": " ".join(parts)}], sentences=3)
    assert found[0] == pytest.approx([each["score"] for each in answer["sentences"]], abs=2e-4)


def test_writers_of_pairs_write_the_same_greedily_and_by_the_playgrounds_defaults(tmp_path):
    asked, wanted = [], []
    for task, name, more in (("translation", "source", {"source_lang": "en", "target_lang": "en"}), ("summarization", "document", {})):
        for family, prefix in (
            ("marian", ""),
            ("t5", {"translation": "translate English to English: ", "summarization": "summarize: "}[task]),
        ):
            folder = trained(tmp_path, task, family, learning_rate=1e-4, **more)
            for how, beams in (("greedy", 1), ("written", 4)):
                plain = {"no_repeat_ngram": 0} if how == "greedy" else {}
                asked.append((how, folder, TEXTS, {"prefix": prefix}))
                wanted.append([answer["text"] for answer in ours(folder, task, [{name: text} for text in TEXTS], beams=beams, **plain)])
    for each, found, right in zip(asked, plainly(*asked), wanted, strict=True):
        assert found == right, each
    assert any(map(any, wanted))


def test_decoders_are_asked_in_the_form_that_their_files_say(tmp_path):
    asked, wanted = [], []
    greedily = {"temperature": 0, "repetition_penalty": 1.0, "max_tokens": 12}
    for family in ("gpt2", "llama"):
        folder = trained(tmp_path, "generation", family, learning_rate=1e-4)
        asked.append(("gone_on", folder, TEXTS[:3], {"max_new_tokens": 12}))
        wanted.append([answer["text"] for answer in ours(folder, "generation", [{"prompt": text} for text in TEXTS[:3]], **greedily)])
    folder = trained(tmp_path, "summarization", "llama", learning_rate=1e-4)
    asked.append(("gone_on", folder, [f"{text}\n\nSummary:" for text in TEXTS[:3]], {"max_new_tokens": 12}))
    plain = {"beams": 1, "max_tokens": 12, "no_repeat_ngram": 0}
    wanted.append([answer["text"] for answer in ours(folder, "summarization", [{"document": text} for text in TEXTS[:3]], **plain)])
    for each, found, right in zip(asked, plainly(*asked), wanted, strict=True):
        assert [text.strip() for text in found] == [text.strip() for text in right] and any(right), each


def test_a_decoder_of_plain_texts_goes_on_from_the_same_beginning(tmp_path):
    folder, file = tmp_path / "texts", tmp_path / "texts.parquet"
    base = toys.base_model(tmp_path / "gpt2-base", "gpt2")
    rows = pl.read_parquet(toys.reviews(file)).select("_row", "_split", "text")
    rows.write_parquet(file)
    settings = {"epochs": 1, "batch_rows": 8, "learning_rate": 1e-4, "tried_rows": 2}
    spec = RunSpec("run", 1, "generation", "full", str(base), str(file), "", str(folder), settings=settings, device="cpu")
    model = list(train(spec))[-1]["model"]
    (found,) = plainly(("gone_on", model, TEXTS[:3], {"max_new_tokens": 8}))
    greedily = {"temperature": 0, "repetition_penalty": 1.0, "max_tokens": 8}
    assert found == [answer["text"] for answer in ours(model, "generation", [{"prompt": text} for text in TEXTS[:3]], **greedily)]


@pytest.mark.parametrize("both_ways", [False, True], ids=["one way", "both ways"])
@pytest.mark.parametrize("many", sorted(codes.CODES), indirect=True)
def test_models_of_many_languages_write_in_the_learnt_one(tmp_path, many, both_ways):
    kind, base = many
    data = tmp_path / "rows.parquet"
    rows = [
        {"_row": n, "_split": "train" if n % 3 else "validation", "source": s, "target": t}
        for n in range(12)
        for s, t in zip(*codes.PAIRS.values(), strict=True)
    ]
    pl.DataFrame(rows).write_parquet(data)
    settings = {"epochs": 1, "batch_rows": 8, "learning_rate": 1e-4, "tried_rows": 2, "both_ways": both_ways}
    spec = RunSpec("run", 1, "translation", "full", str(base), str(data), "", str(tmp_path / "out"), settings=settings, device="cpu")
    folder = list(train(spec))[-1]["model"]
    (found,) = plainly(("greedy", folder, codes.PAIRS["source"], {}))
    right = [answer["text"] for answer in ours(folder, "translation", [{"source": text} for text in codes.PAIRS["source"]], beams=1)]
    assert found == right
    tokenizer, said = transformers.AutoTokenizer.from_pretrained(folder), transformers.GenerationConfig.from_pretrained(folder)
    english, chinese = codes.CODES[kind]
    assert english in tokenizer.convert_ids_to_tokens(tokenizer("Good morning.")["input_ids"])
    assert said.forced_bos_token_id == tokenizer.convert_tokens_to_ids(chinese)


many = codes.many
