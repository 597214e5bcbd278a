"""What a run leaves: a folder that anybody can load, with a card that says what it is."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from worker.nlp import TASKS, tokenizing
from worker.spec import Method, RunSpec
from worker.trainer.checkpoints import Saved, seal, sync, write_text


def save_result(
    spec: RunSpec,
    model: Any,
    tokenizer: Any,
    labels: Sequence[str],
    settings: dict[str, Any],
    metrics: dict[str, float],
    evaluation: dict[str, Any],
    still_mine: Callable[[], None],
) -> Saved:
    """Write out/model whole or not at all. For LoRA: the merged model, and the adapter beside it."""
    draft, place = Path(spec.out) / f".model.{spec.fence}.tmp", Path(spec.out) / "model"
    shutil.rmtree(draft, ignore_errors=True)
    draft.mkdir(parents=True)
    if spec.method == Method.LORA:
        model.save_pretrained(draft / "adapter", safe_serialization=True)
        (draft / "adapter" / "README.md").unlink(missing_ok=True)  # peft's card names paths of this machine
        _forget_paths(draft / "adapter" / "adapter_config.json", spec)
        model = model.merge_and_unload()
    TASKS[spec.task].leave(model, tokenizer, model.config.tunebench)
    model.save_pretrained(draft, safe_serialization=True, max_shard_size="1000GB")
    tokenizing.save(tokenizer, draft)
    _forget_paths(draft / "config.json", spec)
    about = {
        "task": spec.task,
        "labels": list(labels),
        "method": spec.method,
        "base": base_name(spec),
        "base_licence": licence_of(Path(spec.base)),
        "data_sha256": spec.data_sha256,
        "settings": settings,
        "window": tokenizer.model_max_length,
        "metrics": metrics,
        "split": evaluation.get("split", ""),
        "intervals": evaluation.get("intervals", {}),
        "examples": evaluation.get("examples", []),
    }
    write_text(draft / "tunebench.json", json.dumps(about, ensure_ascii=False, indent=1))
    write_text(draft / "README.md", card(about))
    hash_, size = seal(draft, {"run": spec.run})
    still_mine()
    old = place.with_name(f".model.{spec.fence}.old")
    if place.exists():  # an attempt before this one came as far as here
        os.rename(place, old)
    os.rename(draft, place)
    sync(place.parent)
    shutil.rmtree(old, ignore_errors=True)
    return Saved(place, hash_, size)


def base_name(spec: RunSpec) -> str:
    """As the pages call the base model; else what it calls itself, or its folder's name where it says nothing."""
    if spec.base_name:
        return spec.base_name
    config = json.loads((Path(spec.base) / "config.json").read_text("utf-8"))
    name = str(config.get("_name_or_path") or "")
    return name if name and not name.startswith("/") else Path(spec.base).name


def _forget_paths(file: Path, spec: RunSpec) -> None:
    """A model that leaves the house does not tell where it stood."""
    values = json.loads(file.read_text("utf-8"))
    for key in ("_name_or_path", "base_model_name_or_path"):
        if key in values:
            values[key] = base_name(spec)
    file.write_text(json.dumps(values, indent=2, sort_keys=True, ensure_ascii=False), encoding="utf-8")


def licence_of(base: Path) -> str:
    """The licence line at the head of the base model's own card."""
    try:
        head = (base / "README.md").read_text("utf-8", errors="replace")[:5000]
    except OSError:
        return "not stated"
    return next((line.split(":", 1)[1].strip() for line in head.splitlines() if line.startswith("license:")), "not stated")


def card(about: dict[str, Any]) -> str:
    def share(value: float) -> str:
        return f"{value:.3f}" if isinstance(value, float) else str(value)

    rows, intervals = about["metrics"].get("rows", 0), about.get("intervals", {})
    between = {name: f"{low:.3f} to {high:.3f}" for name, (low, high) in intervals.items()}
    scores = "\n".join(
        f"| {name} | {share(value)} | {between.get(name, '')} |" for name, value in about["metrics"].items() if name != "rows"
    )
    settings = "\n".join(f"| {name} | {value} |" for name, value in sorted(about["settings"].items()))
    labels = f"Labels: {', '.join(about['labels'][:50])}{' …' if len(about['labels']) > 50 else ''}\n" if about["labels"] else ""
    measured = f"""## Scores on {rows:,} held-out rows (split: {about["split"]})

| metric | value | 95 % interval |
|---|---|---|
{scores}

These numbers say how the model does on rows like the ones it was trained with. On other texts it may do worse; try it on yours first.
"""
    limit = " It always gives one of its labels, also for texts that fit none." if about["labels"] else ""
    return f"""# A model for {about["task"]}

Fine-tuned from **{about["base"]}** with the recipe "{about["method"]}" by Tunebench.
{labels}
{measured if scores else "A state on the way of a run; it was not evaluated."}
## Data and settings

Rows: the dataset version with SHA-256 `{about["data_sha256"]}`. Texts are cut after {about["window"]} tokens.

| setting | value |
|---|---|
{settings}

## Limits

The model repeats what its rows say, mistakes and prejudices included.{limit}

## Licence

The base model's licence applies to these weights too: {about["base_licence"]}.
The rows they were trained on may add conditions of their own.
"""
