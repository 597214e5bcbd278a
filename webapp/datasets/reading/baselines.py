"""The verb "baselines": what costs nothing, measured on the rows that the model will be measured on."""

from __future__ import annotations

from typing import Any

import polars as pl

from webapp.datasets.reading import Limits, ReadingError
from webapp.datasets.reading.staging import Progress
from worker.nlp import KINDS

MOST_ROWS = 100_000  # rows that a baseline learns from; more would not change it and take minutes


def baselines(job: dict[str, Any], limits: Limits, progress: Progress) -> dict[str, Any]:
    task = KINDS[job["task"]]
    rows = pl.scan_parquet(job["path"], glob=False)
    there = rows.collect_schema().names()
    rows = rows.select("_split", *(role.name for role in task.roles if role.name in there))
    held_out = next((s for s in ("test", "validation") if rows.filter(pl.col("_split") == s).head(1).collect().height), None)
    if held_out is None:
        raise ReadingError("no_held_out", "This version has no held-out rows to measure on.")
    train = rows.filter(pl.col("_split") == "train").collect(engine="streaming")
    if train.height > MOST_ROWS:
        train = train.sample(MOST_ROWS, seed=13)
    measured = rows.filter(pl.col("_split") == held_out).collect(engine="streaming")
    progress("baselines", 0, 1)
    scores = task.baselines(train, measured)
    intervals = {name: score.pop("intervals") for name, score in scores.items() if "intervals" in score}
    return {"split": held_out, "rows": measured.height, "scores": scores, "intervals": intervals}
