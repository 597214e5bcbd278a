"""Makes a model of a checkpoint, so that a state on the way can be asked and compared: `python -m worker.trainer keep`.

The spec on its standard input is the run's own; `resume` names the checkpoint's folder, and below `out` the folder `model` will lie.
"""

# mypy: disable-error-code="no-untyped-call"
# (torch leaves many of its functions untyped)

from __future__ import annotations

from pathlib import Path
from typing import Any

from worker.spec import RunSpec

EXAMPLES = 3


def keep(spec: RunSpec, metrics: dict[str, float]) -> dict[str, Any]:
    """Write out/model from the weights of `spec.resume`. Raises Trouble when the checkpoint is not whole."""
    import polars as pl
    from safetensors.torch import load_file

    from worker.nlp import TASKS
    from worker.trainer.checkpoints import put, verify
    from worker.trainer.loop import learner_of, rows_of, settings_of
    from worker.trainer.result import save_result

    verify(Path(spec.resume), spec.resume_sha256)
    task, settings = TASKS[spec.task], settings_of(spec)
    rows = rows_of(spec)
    facts = task.facts(rows.filter(pl.col("_split") == "train"), settings)
    model, tokenizer = task.load(spec.base, spec.labels, settings, spec.method, facts)
    model.config.tunebench = facts
    learner = learner_of(model, spec.method, settings)
    put(learner, load_file(Path(spec.resume) / "model.safetensors"))
    split = next(part for part in ("test", "validation", "train") if (rows["_split"] == part).any())
    few = rows.filter(pl.col("_split") == split).head(EXAMPLES).drop("_split").to_dicts()
    examples = [{name: str(value) for name, value in row.items() if value is not None} for row in few]
    evaluation = {"split": "validation" if metrics else "", "examples": examples}
    saved = save_result(spec, learner.eval(), tokenizer, spec.labels, settings, metrics, evaluation, lambda: None)
    return {"kind": "kept", "model_sha256": saved.manifest_sha256, "bytes": saved.bytes}
