"""The last score that a curve shows is the score that stands beside the model, wherever both are of the same state and the same rows."""

import polars as pl
import pytest

from tests.worker import toys
from tests.worker.test_nlp_contract import rows_for
from worker.nlp import TASKS
from worker.serving.pool import Pool
from worker.serving.questions import Key
from worker.spec import RunSpec
from worker.trainer.loop import train

WAYS = [
    ("classification", "bert", "full"),
    ("classification", "deberta-v2", "full"),  # with padding
    ("classification", "bert", "quick"),
    ("classification", "gpt2", "lora"),
    ("question_answering", "roberta", "full"),
    ("question_answering", "bert", "quick"),
    ("translation", "marian", "full"),
    ("translation", "t5", "lora"),
    ("summarization", "bert", "full"),
    ("summarization", "llama", "full"),
    ("generation", "llama", "full"),
    ("generation", "gpt2", "lora"),
]


def rows_of(task):
    """Long and short ones, none of them for a test."""
    rows = rows_for(task, 40)
    for number, row in enumerate(rows):
        row["_split"] = "train" if number % 2 else "validation"
        if "text" in row and "label" in row:
            row["text"] += " very" * (number % 9)
    return pl.DataFrame(rows)


@pytest.mark.parametrize(("slug", "family", "method"), WAYS, ids=lambda each: each)
def test_the_last_score_of_a_run_is_the_final_one(slug, family, method, tmp_path):
    task = TASKS[slug]
    base, data = toys.base_model(tmp_path / "base", family), tmp_path / "rows.parquet"
    rows_of(task).write_parquet(data)
    settings = {"epochs": 2, "batch_rows": 8, "learning_rate": 5e-3, "checkpoint_s": 1000, "evaluations": 2, "tried_rows": 3}
    known = {setting.name for setting in task.known_settings(method)}
    chosen = {name: value for name, value in settings.items() if name in known}
    labels = ("negative", "positive") if slug == "classification" else ()
    spec = RunSpec("run", 1, slug, method, str(base), str(data), "", str(tmp_path / "out"), chosen, labels, device="cpu")
    messages = list(train(spec))
    done = messages[-1]
    kept = [message["step"] for message in messages if message["kind"] == "checkpoint" and message["best"]][-1]
    (said,) = [m["values"] for m in toys.of_kind(messages, "point") if m["step"] == kept and "eval_loss" in m["values"]]
    final = {f"eval_{name}": value for name, value in done["metrics"].items() if f"eval_{name}" in said}
    assert done["evaluation"]["split"] == "validation" and final
    assert final == pytest.approx({name: said[name] for name in final}, abs=1e-5, rel=1e-5)


def test_the_model_that_is_asked_has_the_score_that_stands_beside_it(tmp_path):
    base, data = toys.base_model(tmp_path / "base"), tmp_path / "rows.parquet"
    rows = rows_of(TASKS["classification"])
    rows.write_parquet(data)
    spec = RunSpec(
        "run",
        1,
        "classification",
        "full",
        str(base),
        str(data),
        "",
        str(tmp_path / "out"),
        {"epochs": 2},
        ("negative", "positive"),
        device="cpu",
    )
    done = list(train(spec))[-1]
    held = rows.filter(pl.col("_split") == "validation")
    warm = Pool(2**30).get(Key(done["model"], "classification", False))
    answers = warm.answer(held.select("text", "pair").to_dicts(), (), {}, False)
    right = [answer["label"] == label for answer, label in zip(answers, held["label"], strict=True)]
    assert sum(right) / len(right) == pytest.approx(done["metrics"]["accuracy"])
