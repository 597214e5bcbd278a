"""One contract over all tasks, a sixth of our own included: what each says of itself, and the whole way from rows to an answer."""

import hashlib
import json
import random
from pathlib import Path

import polars as pl
import pytest

from tests.worker import toys
from tests.worker.sixth import Counting
from tests.worker.toys import WORDS, of_kind
from worker import weights
from worker.nlp import TASKS, Task, families, slug_of
from worker.serving.pool import Pool
from worker.serving.questions import Key
from worker.spec import Method, RunSpec, SpecError
from worker.trainer.loop import train

ALL = {**TASKS, Counting.slug: Counting()}
BASES = {families.ENCODER: ("bert",), families.ENCODER_DECODER: ("marian", "t5"), families.DECODER: ("llama",)}
ANSWERS = {  # docs/internals.md, "Answers"
    "labels": {"label", "scores", "cut"},
    "translation": {"text", "n_best", "source_lang", "target_lang", "seen_lang", "tokens_in", "tokens_out", "cut"},
    "summary": {"text", "sentences", "ratio", "tokens_in", "tokens_out", "cut"},
    "span": {"answer", "start", "end", "score", "no_answer", "no_answer_score", "n_best", "windows", "cut"},
    "stream": {"text", "tokens", "finish", "tokens_in", "tokens_out", "first_ms", "tokens_per_s", "cut"},
    "text": {"text", "cut"},
}
WAYS = [
    pytest.param(task, family, recipe.method, id=f"{slug}-{family}-{recipe.method}")
    for slug, task in ALL.items()
    for shape in task.shapes
    for family in BASES[shape]
    for recipe in task.recipes(shape)
]


@pytest.fixture(autouse=True)
def sixth(monkeypatch):
    """The one line."""
    monkeypatch.setitem(TASKS, Counting.slug, Counting())


def said(pick, least=4, most=9):
    return " ".join(pick.choices(WORDS, k=pick.randint(least, most)))


def rows_for(task: Task, count=60, seed=1):
    """Rows that the task can use, of words that the toys know."""
    pick = random.Random(seed)
    rows = []
    for number in range(count):
        row = {"_row": number, "_split": ("train", "train", "train", "validation", "test")[number % 5]}
        for role in task.roles:
            if role.kind == "label":
                row[role.name] = pick.choice(["negative", "positive"])
            elif role.kind in ("number", "data"):
                row[role.name] = ""
            elif role.name != "answers":
                row[role.name] = said(pick)
        if "context" in row:
            row["context"] = f"{said(pick)}. {said(pick)}."
            row["answer"] = row["context"].split()[3] if number % 4 else ""
        if "document" in row:
            row["document"] = ". ".join(said(pick).capitalize() for _sentence in range(4)) + "."
        if "count" in row:
            row["count"] = str(row["text"].split().count("good"))
        rows.append(row)
    return rows


def run(task, family, method, tmp_path, **settings):
    base = toys.base_model(tmp_path / "base", family)
    data = tmp_path / "rows.parquet"
    pl.DataFrame(rows_for(task)).write_parquet(data)
    chosen = {"epochs": 1, "learning_rate": 1e-3, "batch_rows": 8, "checkpoint_s": 1000, **settings}
    known = {setting.name for setting in task.known_settings(method)}
    spec = RunSpec(
        run="run", fence=1, task=task.slug, method=method, base=str(base), data=str(data),
        data_sha256=hashlib.sha256(data.read_bytes()).hexdigest(), out=str(tmp_path / "out"),
        settings={name: value for name, value in chosen.items() if name in known}, device="cpu",
    )  # fmt: skip
    return base, list(train(spec))


def gathered(work):
    """(all that a generator yields, what it returns)"""
    yielded = []

    def drain():
        result = yield from work
        return result

    inner = drain()
    while True:
        try:
            yielded.append(next(inner))
        except StopIteration as end:
            return yielded, end.value


@pytest.mark.parametrize("task", ALL.values(), ids=ALL)
def test_every_task_says_all_that_the_rooms_ask_of_it(task):
    assert task.slug and task.title and task.about.endswith(".") and task.example_file.count("\n") >= 2
    assert sum(role.is_key for role in task.roles) == 1 and len({role.name for role in task.roles}) == len(task.roles)
    assert {field.name for field in task.inputs} <= {role.name for role in task.roles} and any(f.required for f in task.inputs)
    assert {recipe.method for recipe in task.methods} <= set(Method) and set(task.shapes) <= set(families.SHAPES)
    assert all(task.recipes(shape) for shape in task.shapes)
    assert task.metric(task.primary_metric) and (task.picked_by in ("", "loss") or task.metric(task.picked_by))
    assert task.answer_view in ANSWERS and task.evaluation_view in {"labels", "texts", "spans"}
    names = [s.name for s in task.settings]
    assert len(names) == len(set(names))
    assert slug_of(task.slug) == task.slug and all(slug_of(alias.replace("_", "-")) == task.slug for alias in task.aliases)


@pytest.mark.parametrize("task", ALL.values(), ids=ALL)
def test_every_setting_and_parameter_has_help_hard_bounds_and_a_default_within_them(task):
    for method in Method:
        for setting in (*task.settings, *task.parameters):
            assert setting.label and setting.help.endswith("."), setting.name
            assert setting.read(setting.default_for(method)) == setting.default_for(method)
            bounded = setting.least is not None and setting.most is not None
            assert setting.kind in {"choice", "bool"} or bounded or (setting.kind == "text" and setting.most), setting.name


@pytest.mark.parametrize("task", ALL.values(), ids=ALL)
def test_parameters_out_of_bounds_or_unknown_name_their_field(task):
    assert task.read_parameters({}) == {p.name: p.default for p in task.parameters}
    for parameter in task.parameters:
        beyond = {"choice": "nonsense", "text": "x" * 10_000, "bool": True}.get(parameter.kind, 10**10)
        if parameter.kind != "bool":
            with pytest.raises(SpecError) as caught:
                task.read_parameters({parameter.name: beyond})
            assert caught.value.field == parameter.name
    with pytest.raises(SpecError) as caught:
        task.read_parameters({"no_such_thing": 1})
    assert caught.value.field == "no_such_thing"


@pytest.mark.parametrize("task", ALL.values(), ids=ALL)
def test_good_rows_have_no_problem_and_empty_ones_name_a_role(task):
    names = {role.name for role in task.roles}
    for row in rows_for(task, 12):
        mapped = {name: value for name, value in row.items() if name in names}
        assert task.problems(mapped) == []
        emptied = task.problems(dict.fromkeys(mapped, ""))
        assert emptied and {role for role, _sentence in emptied} <= names and all(s.endswith((".", "?")) for _r, s in emptied)
    assert task.dataset_problems(3, {"a": 2, "b": 1}, {})[0]["level"] == "error"
    assert {p["code"] for p in task.dataset_problems(60, {"a": 30, "b": 30}, {"validation": 60})} == {"no_train"}


@pytest.mark.parametrize("task", ALL.values(), ids=ALL)
def test_baselines_speak_of_the_tasks_metrics(task):
    frame = pl.DataFrame(rows_for(task))
    scores = task.baselines(frame.filter(pl.col("_split") == "train"), frame.filter(pl.col("_split") == "test"))
    for values in scores.values():
        intervals = values.pop("intervals", {})
        assert set(values) <= {metric.name for metric in task.metrics} and task.primary_metric in values
        assert set(intervals) <= set(values) and all(low <= values[name] <= high for name, (low, high) in intervals.items())


@pytest.mark.parametrize(("task", "family", "method"), WAYS)
def test_rows_become_a_model_that_answers_and_can_be_learnt_from_again(task, family, method, tmp_path):
    base, messages = run(task, family, method, tmp_path)
    done = messages[-1]
    assert done["kind"] == "done", done
    assert task.primary_metric in done["metrics"] and done["metrics"]["rows"] == 12
    evaluations = [p["values"] for p in of_kind(messages, "point") if "eval_loss" in p["values"]]
    assert len(evaluations) == 1
    evaluation = done["evaluation"]
    assert evaluation["split"] == "test" and 1 <= len(evaluation["examples"]) <= 3
    asked = {field.name for field in task.inputs if field.required}
    assert all(asked <= set(example) for example in evaluation["examples"])
    if task.slug != Counting.slug:
        low, high = evaluation["intervals"][task.primary_metric]
        assert low <= done["metrics"][task.primary_metric] <= high and (
            low < high or task.slug == "translation"
        )  # ten perfect rows of BLEU give no other
    if task.evaluation_view in ("texts", "spans") and task.slug != Counting.slug:
        assert {"inputs", "reference", "answer", "scores"} <= set(evaluation["samples"][0]) and evaluation["tried"] == 12
    of_answers = {"translation": {"bleu", "chrf"}, "summarization": {"rouge1", "rouge2", "rouge_l"}}
    assert of_answers.get(task.slug, set()) <= set(evaluation["of_answers"]) <= set(done["metrics"])
    json.dumps(messages, allow_nan=False)

    folder = Path(done["model"])
    assert weights.look(folder).parameters > 0
    assert families.shape_of(json.loads((folder / "config.json").read_text())) in task.shapes
    inputs = [{field.name: "good film. it was the soup. " * 3 for field in task.inputs if field.required} for _twice in range(3)]
    inputs[1] = dict.fromkeys(inputs[1], "bad")
    parameters = task.read_parameters({})
    pool = Pool(2**30)
    for key, labels in ((Key(str(folder), task.slug, False), ()), (Key(str(base), task.slug, True), ("negative", "positive"))):
        warm = pool.get(key)
        answers = warm.answer(inputs, labels, parameters, key.untuned)
        assert len(answers) == 3
        for answer in answers:
            assert set(answer) == ANSWERS[task.answer_view] | {"unknown"}
        json.dumps(answers, allow_nan=False)
    if task.streams:
        warm = pool.get(Key(str(folder), task.slug, False))
        pieces, whole = gathered(task.stream(warm.model, warm.tokenizer, (), inputs[0], parameters))
        assert "".join(piece["text"] for piece in pieces) == whole["text"]
    again = RunSpec(
        run="again", fence=1, task=task.slug, method="full", base=str(folder), data=str(tmp_path / "rows.parquet"), data_sha256="",
        out=str(tmp_path / "again"), settings={"epochs": 1}, device="cpu",
    )  # fmt: skip
    if method == Method.FULL:
        assert list(train(again))[-1]["kind"] == "done"


@pytest.mark.parametrize("family", ["marian", "t5", "llama"])
def test_killed_and_resumed_writing_ends_in_the_very_same_weights(family, tmp_path):
    from worker.spec import Wish
    from worker.trainer.control import Control

    task = TASKS["translation"]
    base = toys.base_model(tmp_path / "base", family)
    data = tmp_path / "rows.parquet"
    pl.DataFrame(rows_for(task)).write_parquet(data)

    def spec(name, **more):
        settings = {"epochs": 2, "batch_rows": 8, "deterministic": True, "checkpoint_s": 0, "tried_rows": 0, "learning_rate": 1e-3}
        return RunSpec(
            run="run", task="translation", method="full", base=str(base), data=str(data), data_sha256="", out=str(tmp_path / name),
            settings=settings, device="cpu", **more,
        )  # fmt: skip

    whole = list(train(spec("whole", fence=1)))[-1]
    control, saved = Control(), None
    for message in train(spec("torn", fence=1), control):
        if message["kind"] == "checkpoint" and message["step"] == 3:
            saved = message
            control.wanted = Wish.CANCEL
    resumed = list(train(spec("torn", fence=2, resume=saved["path"], resume_sha256=saved["manifest_sha256"])))[-1]
    weights_of = [(Path(done["model"]) / "model.safetensors").read_bytes() for done in (whole, resumed)]
    assert hashlib.sha256(weights_of[0]).hexdigest() == hashlib.sha256(weights_of[1]).hexdigest()


@pytest.mark.parametrize(
    ("config", "comes"),
    [
        ({"model_type": "bert", "architectures": ["BertModel"]}, {}),
        ({"model_type": "bert", "architectures": ["BertForMaskedLM"]}, {}),
        (
            {"model_type": "bert", "architectures": ["BertForSequenceClassification"], "id2label": {"1": "good", "0": "bad", "2": "c"}},
            {"classification": ("bad", "good", "c")},
        ),
        ({"model_type": "bert", "architectures": ["BertForSequenceClassification"], "id2label": {"0": "LABEL_0", "1": "LABEL_1"}}, {}),
        ({"model_type": "bert", "architectures": ["BertForQuestionAnswering"]}, {"question_answering": ()}),
        ({"model_type": "marian", "architectures": ["MarianMTModel"]}, {"translation": ()}),
        ({"model_type": "m2m_100", "architectures": ["M2M100ForConditionalGeneration"]}, {}),
        ({"model_type": "bart", "task_specific_params": {"summarization": {}}}, {}),
        ({"model_type": "bart", "task_specific_params": {"summarization": {}}, "min_length": 56}, {"summarization": ()}),
        ({"model_type": "llama", "architectures": ["LlamaForSequenceClassification"], "id2label": {"0": "LABEL_0"}}, {}),
        ({"model_type": "mistral", "architectures": ["MistralModel"]}, {}),
        ({"architectures": ["BertForSequenceClassification"], "id2label": ["a", "b"]}, {}),
        ({"architectures": ["BertForSequenceClassification"], "id2label": {"x": "a", "y": "b"}}, {}),
        (
            {
                "architectures": ["BertForSequenceClassification"],
                "id2label": {"0": "a", "1": "b"},
                "problem_type": "multi_label_classification",
            },
            {},
        ),
        ({"model_type": "t5", "task_specific_params": {"summarization": {"prefix": "summarize: "}}}, {"summarization": ()}),
        ({"model_type": "qwen3", "architectures": ["Qwen3ForCausalLM"]}, {"generation": ()}),
    ],
)
def test_what_a_model_of_others_can_be_asked_is_read_off_its_configuration(config, comes):
    assert {slug: found for slug, task in TASKS.items() if (found := task.comes_with(config)) is not None} == comes
