"""Complete runs on 8,000 rows: Full and Quick against the transformers Trainer and the free baselines, with the product's defaults.

All train on goemotions3 train.csv with one thread and are scored on dev.csv, which none of them sees before: the Trainer
with dynamic padding, the same base, rows, epochs, learning rate, schedule, clipping and a batch of 32. Whether the
difference of two macro-F1 is one of chance is asked of the paired bootstrap (Efron and Tibshirani 1993, chapter 16;
10,000 draws of the rows): its 95 % interval stands beside it. About 20 minutes on one core; a finished run is kept in the
data folder and not repeated.
"""

from __future__ import annotations

import hashlib
import json
import os
import resource
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from benchmarks.training import LABELS, SHARED, base_folder

SEED = 13
ROOT = Path(__file__).resolve().parent.parent
KEPT = ROOT / "var" / "benchmarks" / "quality"
ENVIRONMENT = {"OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "PASSIVE", "HF_HUB_OFFLINE": "1"}


def rows() -> Any:
    """train.csv as the split train and dev.csv as the split test, as one frame."""
    import polars as pl

    parts = {"train": "train.csv", "test": "dev.csv"}
    frames = [pl.read_csv(SHARED.parent / name).select("text", "label", pl.lit(split).alias("_split")) for split, name in parts.items()]
    return pl.concat(frames).with_row_index("_row", offset=1)


def settings(method: str) -> dict[str, Any]:
    from worker.nlp import TASKS
    from worker.nlp.recipe import read_settings

    return read_settings(TASKS["classification"].settings, {"seed": SEED}, method)


def clocked(command: list[str]) -> float:
    """Run it to its end; its processor time in seconds, children included."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, cwd=ROOT, env={**os.environ, **ENVIRONMENT})
    if status := process.wait():
        raise SystemExit(f"{command} ended with status {status}.")
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def tuned(method: str, folder: Path) -> dict[str, Any]:
    """One run of ours by the trainer process, from its start to the saved model: {"cpu_s", "predicted"}."""
    from worker.nlp import TASKS
    from worker.spec import RunSpec

    data = folder / "rows.parquet"
    rows().write_parquet(data)
    spec = RunSpec(
        run=method,
        fence=1,
        task="classification",
        method=method,
        base=base_folder(),
        data=str(data),
        data_sha256=hashlib.sha256(data.read_bytes()).hexdigest(),
        out=str(folder / method),
        settings=settings(method),
        labels=LABELS,
        lease_s=1e6,
    )
    (folder / "spec.json").write_text(spec.to_json())
    cpu_s = clocked([sys.executable, "-m", "worker.trainer", str(folder / "spec.json")])
    task = TASKS["classification"]
    model, tokenizer, labels = task.open(str(folder / method / "model"))
    texts = rows().filter(_split="test")["text"].to_list()
    answers = [
        a for i in range(0, len(texts), 32) for a in task.answer(model, tokenizer, labels, [{"text": t} for t in texts[i : i + 32]], {})
    ]
    return {"cpu_s": cpu_s, "predicted": [answer["label"] for answer in answers]}


def reference(folder: Path) -> dict[str, Any]:
    """The same by the Trainer, from the start of its process to the end of its training."""
    answer = folder / "answer.json"
    cpu_s = clocked([sys.executable, "-m", "benchmarks.quality", str(answer)])
    return {"cpu_s": cpu_s, "predicted": json.loads(answer.read_text())}


def trainer(answer: Path) -> None:
    """What the process of the Trainer does."""
    import torch
    from transformers import (
        AutoModelForSequenceClassification,
        AutoTokenizer,
        DataCollatorWithPadding,
        Trainer,
        TrainingArguments,
        set_seed,
    )

    torch.set_num_threads(1)
    chosen = settings("full")
    tokenizer = AutoTokenizer.from_pretrained(base_folder())

    def examples(split: str) -> list[dict[str, Any]]:
        found = rows().filter(_split=split)
        encoded = tokenizer(found["text"].to_list(), truncation=True, max_length=chosen["window"])
        names = [LABELS.index(label) for label in found["label"]]
        columns = zip(encoded["input_ids"], encoded["attention_mask"], names, strict=True)
        return [{"input_ids": i, "attention_mask": m, "labels": n} for i, m, n in columns]

    set_seed(SEED)
    model = AutoModelForSequenceClassification.from_pretrained(base_folder(), num_labels=len(LABELS))
    arguments = TrainingArguments(
        output_dir=str(answer.parent / "trainer"),
        per_device_train_batch_size=chosen["batch_rows"],
        per_device_eval_batch_size=32,
        learning_rate=chosen["learning_rate"],
        num_train_epochs=chosen["epochs"],
        lr_scheduler_type=chosen["schedule"],
        warmup_steps=chosen["warmup"],
        weight_decay=chosen["weight_decay"],
        max_grad_norm=chosen["clip"],
        save_strategy="no",
        report_to="none",
        seed=SEED,
        use_cpu=True,
        disable_tqdm=True,
    )
    learner = Trainer(model=model, args=arguments, train_dataset=examples("train"), data_collator=DataCollatorWithPadding(tokenizer))
    learner.train()
    found = learner.predict(examples("test")).predictions.argmax(-1)
    answer.write_text(json.dumps([LABELS[i] for i in found]))


def kept(name: str, make: Any) -> dict[str, Any]:
    path = KEPT / f"{name}.json"
    if not path.is_file():
        print(f"  {name} ...", flush=True)
        with tempfile.TemporaryDirectory(prefix="tb-quality-") as scratch:
            found = make(Path(scratch))
        KEPT.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(found))
    return json.loads(path.read_text())


def macro_f1(true: Any, predicted: Any) -> float:
    """In points; of class numbers, by counting (what scikit-learn's f1_score says, fast enough to be drawn 10,000 times)."""
    import numpy as np

    scores = []
    for label in range(len(LABELS)):
        hits = np.sum((true == label) & (predicted == label))
        scores.append(2 * hits / max(np.sum(true == label) + np.sum(predicted == label), 1))
    return 100 * float(np.mean(scores))


def interval(true: Any, one: Any, other: Any, draws: int = 10_000) -> tuple[float, float]:
    """The 95 % interval of macro-F1 of `one` minus that of `other`, in points."""
    import numpy as np

    random = np.random.default_rng(SEED)
    drawn = (random.integers(0, len(true), len(true)) for _ in range(draws))
    low, high = np.percentile([macro_f1(true[i], one[i]) - macro_f1(true[i], other[i]) for i in drawn], [2.5, 97.5])
    return float(low), float(high)


def run() -> list[dict[str, Any]]:
    import numpy as np

    from worker.nlp import TASKS

    if not SHARED.is_file():
        print("  left out: the shared labelled data is not on this machine")
        return []
    frame = rows()
    true = np.array([LABELS.index(label) for label in frame.filter(_split="test")["label"]])
    runs = {
        "full": kept(f"full-{SEED}", lambda folder: tuned("full", folder)),
        "quick": kept(f"quick-{SEED}", lambda folder: tuned("quick", folder)),
        "Trainer": kept(f"trainer-{SEED}", reference),
    }
    predicted = {name: np.array([LABELS.index(label) for label in found["predicted"]]) for name, found in runs.items()}
    scores = {name: macro_f1(true, found) for name, found in predicted.items()}
    free = TASKS["classification"].baselines(frame.filter(_split="train"), frame.filter(_split="test"))
    word = 100 * free["tfidf_word"]["macro_f1"]

    def compared(one: str, other: str) -> dict[str, Any]:
        low, high = interval(true, predicted[one], predicted[other])
        name = f"{one} - {other}: {scores[one] - scores[other]:+.1f} [{low:+.1f}, {high:+.1f}]"
        return {"name": name, "ours": scores[one], "theirs": scores[other], "unit": "macro-F1", "ratio": scores[one] / scores[other]}

    found = [compared("full", "Trainer"), compared("quick", "full"), compared("quick", "Trainer")]
    for name in ("full", "quick"):
        found.append({"name": f"{name} - TF-IDF + LR: {scores[name] - word:+.1f}", "ours": scores[name], "theirs": word})
        found[-1] |= {"unit": "macro-F1", "ratio": scores[name] / word}
        mine, other = runs[name]["cpu_s"], runs["Trainer"]["cpu_s"]
        found.append(
            {"name": f"complete run, {name} against Trainer", "ours": mine, "theirs": other, "unit": "CPU s", "ratio": other / mine}
        )
    return found


if __name__ == "__main__":
    trainer(Path(sys.argv[1]))
