"""Complete runs: ours against the transformers Trainer and Seq2SeqTrainer with the same base, rows, epochs, rate and batch in rows.

Each side runs in a process of its own on one thread: it opens the base, learns, reads the held-out rows once for their loss
and saves a folder. The folders are then scored by one function, as people would use them; nobody's clock runs there. What
costs nothing (the base untuned, the baselines of the task) stands beside. Whether the difference of two macro-F1 is one of
chance is asked of the paired bootstrap (Efron and Tibshirani 1993, chapter 16; 10,000 draws of the rows): its 95 % interval.
A contest over several seeds compares their means and says each seed's difference: a new head's start weighs on both sides.

`make bench ARGS="quality translation"` takes one task; TUNEBENCH_BENCH_FULL=1 takes all rows where there are more, TUNEBENCH_BENCH_SEEDS
other seeds, as in 14,15. A finished run is kept in the data folder and not repeated.
"""

from __future__ import annotations

import hashlib
import json
import os
import resource
import subprocess
import sys
import tempfile
from collections.abc import Callable
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from pathlib import Path
from statistics import fmean
from typing import Any

from benchmarks.training import arguments, base_folder, chosen, encoded

SEEDS = tuple(int(seed) for seed in os.environ.get("TUNEBENCH_BENCH_SEEDS", "").split(",") if seed)
ROOT = Path(__file__).resolve().parent.parent
DATA = ROOT.parent / "shared" / "data"
KEPT = ROOT / "var" / "benchmarks" / "quality"
ENVIRONMENT = {"OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "PASSIVE", "HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false"}
ALL = 1_000_000_000
ROWS_ALONE = 1_000_000  # tokens: a batch is so many rows, as the Trainer counts it

Rows = list[dict[str, Any]]


def _starters() -> Any:
    from starters import build

    return build


def squad2(data: Path) -> Rows:
    parts = {"train": "train.json", "test": "dev.json"}
    return [{**row, "_split": part} for part, name in parts.items() for row in _starters().squad(data / "qa/squad2_small" / name)]


@dataclass(frozen=True)
class Contest:
    """One set, one base, one recipe; both sides take them."""

    rows: Callable[[Path], Rows]  # of the main set, with _split: test is what is held out, all else is learnt from
    train: int  # rows learnt from, evenly taken from all
    held_out: int
    starter: str = ""  # the base, below starters/; else MiniLM
    settings: dict[str, Any] = field(default_factory=dict)
    methods: tuple[str, ...] = ("full",)
    seeds: tuple[int, ...] = (13,)

    def base(self) -> Path:
        folder = ROOT / "starters" / self.starter
        if not self.starter or (folder / "model.safetensors").is_file():
            return folder if self.starter else Path(base_folder())
        whole = KEPT / self.starter  # it is kept as a difference to MiniLM
        if not whole.is_dir():
            _starters().unpack(folder, Path(base_folder()), whole)
        return whole


CONTESTS = {
    "classification": Contest(lambda data: _starters().goemotions(data), 2_000, ALL, methods=("full", "quick"), seeds=(13, 14, 15)),
    "translation": Contest(
        lambda data: _starters().tatoeba(data),
        3_000,
        500,
        starter="translator-en-zh",
        settings={"epochs": 1, "source_lang": "en", "target_lang": "zh", "both_ways": False},  # as the base has learnt
    ),
    "summarization": Contest(lambda data: _starters().scitldr(data), 600, 200, settings={"epochs": 1}),
    "question_answering": Contest(squad2, 600, 300, starter="answers-en", settings={"epochs": 1}),
    "generation": Contest(
        lambda data: _starters().shakespeare(data), 300, 75, starter="generator-en", settings={"epochs": 1, "window": 256, "batch_rows": 16}
    ),
}


def sample(slug: str) -> Any:
    """The rows of a contest as one frame whose splits are train and test."""
    import polars as pl

    contest, everything = CONTESTS[slug], bool(os.environ.get("TUNEBENCH_BENCH_FULL"))
    parts: dict[str, Rows] = {"train": [], "test": []}
    for row in contest.rows(DATA):
        part = "test" if row["_split"] == "test" else "train"
        parts[part].append({**row, "_split": part})
    taken: Rows = []
    for part, most in (("train", contest.train), ("test", contest.held_out)):
        most = len(parts[part]) if everything else min(most, len(parts[part]))
        taken += [parts[part][i * len(parts[part]) // most] for i in range(most)]
    return pl.DataFrame(taken).with_row_index("_row", offset=1)


def clocked(command: list[str]) -> float:
    """Run it to its end; its processor time in seconds, children included."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, cwd=ROOT, env={**os.environ, **ENVIRONMENT})
    if status := process.wait():
        raise SystemExit(f"{command} ended with status {status}.")
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def spec_of(slug: str, method: str, seed: int, folder: Path) -> Any:
    """What is to be done, for our trainer; the Trainer reads its rows and settings from it too."""
    from worker.nlp import TASKS
    from worker.spec import RunSpec

    contest, data, frame = CONTESTS[slug], folder / "rows.parquet", sample(slug)
    frame.write_parquet(data)
    given = {"seed": seed, "batch_tokens": ROWS_ALONE, **contest.settings}
    if "tried_rows" in {setting.name for setting in TASKS[slug].settings}:
        given["tried_rows"] = 0  # answers are asked of the finished folders
    return RunSpec(
        run=method,
        fence=1,
        task=slug,
        method=method,
        base=str(contest.base()),
        data=str(data),
        data_sha256=hashlib.sha256(data.read_bytes()).hexdigest(),
        out=str(folder),
        settings=given,
        labels=tuple(sorted(frame["label"].unique())) if "label" in frame.columns else (),
        lease_s=1e6,
    )


def tuned(slug: str, method: str, seed: int, folder: Path) -> dict[str, Any]:
    """One run of ours by the trainer process."""
    (folder / "spec.json").write_text(spec_of(slug, method, seed, folder).to_json())
    return finished(slug, folder, clocked([sys.executable, "-m", "worker.trainer", str(folder / "spec.json")]))


def reference(slug: str, seed: int, folder: Path) -> dict[str, Any]:
    """The same by the Trainer."""
    (folder / "spec.json").write_text(spec_of(slug, "full", seed, folder).to_json())
    return finished(slug, folder, clocked([sys.executable, "-m", "benchmarks.quality", str(folder / "spec.json")]))


def finished(slug: str, folder: Path, cpu_s: float) -> dict[str, Any]:
    return {"cpu_s": cpu_s, **judged(slug, folder / "model")}


def judged(slug: str, folder: Path) -> dict[str, Any]:
    """Scores of a folder on the held-out rows, and where they have labels what it says of each."""
    from worker.nlp import TASKS

    build, frame = _starters(), sample(slug).filter(_split="test")
    starter = next(s for s in build.STARTERS if s.task == slug)
    settings = chosen(TASKS[slug], CONTESTS[slug].settings)
    scores = build.scored(starter, folder, frame.to_dicts(), settings)
    predicted: list[str] = []
    if "label" in frame.columns:
        task = TASKS[slug]
        model, tokenizer, labels = task.open(str(folder))
        predicted = [a["label"] for a in task.answer(model, tokenizer, labels, [{"text": text} for text in frame["text"]], {})]
    return {"scores": scores, "predicted": predicted}


def trainer(file: Path) -> None:
    """What the process of the Trainer does."""
    import polars as pl
    import torch
    import transformers

    from worker.nlp import TASKS
    from worker.spec import RunSpec

    torch.set_num_threads(1)
    spec = RunSpec.from_json(file.read_text())
    task, frame = TASKS[spec.task], pl.read_parquet(spec.data)
    settings = chosen(task, spec.settings)
    transformers.set_seed(settings["seed"])
    train, held_out = (frame.filter(_split=part).drop("_split", "_row") for part in ("train", "test"))
    model, tokenizer, examples = encoded(task, spec.base, train, spec.labels, settings)
    kind = "Seq2Seq" if model.config.is_encoder_decoder else ""
    options = arguments(
        settings["batch_rows"],
        f"{kind}TrainingArguments",
        per_device_eval_batch_size=32,
        num_train_epochs=settings["epochs"],
        learning_rate=settings["learning_rate"],
        lr_scheduler_type=settings["schedule"],
        warmup_steps=settings["warmup"],
        weight_decay=settings["weight_decay"],
        max_grad_norm=settings["clip"],
        prediction_loss_only=True,
        seed=settings["seed"],
    )
    learner_class, collator = opponent(examples[0], f"{kind}Trainer", model, tokenizer)
    learner = learner_class(model=model, args=options, train_dataset=list(map(plain, examples)), data_collator=collator)
    learner.train()
    learner.evaluate(list(map(plain, task.encode(held_out, model, tokenizer, spec.labels, settings, learning=False))))
    model.save_pretrained(Path(spec.out) / "model")
    tokenizer.save_pretrained(Path(spec.out) / "model")


def plain(example: dict[str, Any]) -> dict[str, Any]:
    """An example under the names that the stock models know."""
    ids = example["input_ids"]
    row = {"input_ids": ids, "attention_mask": [1] * len(ids)}
    if "token_type_ids" in example:
        row["token_type_ids"] = example["token_type_ids"]
    if "label" in example:
        return {**row, "labels": example["label"]}
    if "target" in example:
        return {**row, "start_positions": example["target"][0], "end_positions": example["target"][1]}
    if "spans" in example:
        labels = [-100] * len(ids)
        for number, ((a, b), chosen) in enumerate(zip(example["spans"], example["chosen"], strict=True)):
            labels[a:b] = [2 * number + chosen] * (b - a)  # which sentence a token belongs to, and whether that is wanted
        return {**row, "labels": labels}
    return {**row, "labels": example["labels"]}


def opponent(example: dict[str, Any], kind: str, model: Any, tokenizer: Any) -> tuple[Any, Any]:
    """(Trainer class, collator with dynamic padding) for examples like this one."""
    import torch
    import transformers

    class Choosing(transformers.Trainer):
        """No stock head learns a yes or no for the mean of a sentence's tokens."""

        def compute_loss(self, model: Any, inputs: Any, return_outputs: bool = False, num_items_in_batch: Any = None) -> Any:
            labels = inputs.pop("labels")
            outputs, inside = model(**inputs), labels != -100
            rows = torch.arange(len(labels))[:, None].expand_as(labels)
            sentences, which = torch.unique(rows[inside] * 10_000 + labels[inside], return_inverse=True)
            sums = torch.zeros(len(sentences)).index_add(0, which, outputs.logits[..., 0][inside])
            scores, wanted = sums / torch.bincount(which), (sentences % 2).float()
            loss = torch.nn.functional.binary_cross_entropy_with_logits(scores, wanted)
            return (loss, outputs) if return_outputs else loss

    if "spans" in example:
        return Choosing, transformers.DataCollatorForTokenClassification(tokenizer)
    if "labels" in example:
        writer = model if model.config.is_encoder_decoder else None
        return getattr(transformers, kind), transformers.DataCollatorForSeq2Seq(tokenizer, model=writer)
    return getattr(transformers, kind), transformers.DataCollatorWithPadding(tokenizer)


def kept(slug: str, side: str, seed: int, make: Callable[[Path], dict[str, Any]]) -> dict[str, Any]:
    recipe = asdict(replace(CONTESTS[slug], rows=len))
    del recipe["seeds"]  # a run is of one of them
    told = repr(sorted(recipe.items())) + os.environ.get("TUNEBENCH_BENCH_FULL", "")
    path = KEPT / f"{slug}-{side}-{seed}-{hashlib.sha256(told.encode()).hexdigest()[:8]}.json"
    if not path.is_file():
        print(f"  {slug}, {side}, seed {seed} ...", flush=True)
        with tempfile.TemporaryDirectory(prefix="tb-quality-") as scratch:
            found = make(Path(scratch))
        KEPT.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(found))
    return json.loads(path.read_text())


def macro_f1(true: Any, predicted: Any) -> float:
    """In points; of class numbers, by counting (what scikit-learn's f1_score says, fast enough to be drawn 10,000 times)."""
    import numpy as np

    scores = []
    for label in range(true.max() + 1):
        hits = np.sum((true == label) & (predicted == label))
        scores.append(2 * hits / max(np.sum(true == label) + np.sum(predicted == label), 1))
    return 100 * float(np.mean(scores))


def interval(true: list[str], ones: list[list[str]], others: list[list[str]], draws: int = 10_000) -> str:
    """The 95 % interval of the mean macro-F1 of `ones` minus that of `others`, in points."""
    import numpy as np

    number = {label: at for at, label in enumerate(sorted(set(true)))}
    right, *each = (np.array([number[label] for label in labels]) for labels in (true, *ones, *others))
    random = np.random.default_rng(13)
    found = []
    for _draw in range(draws):
        rows = random.integers(0, len(right), len(right))
        scores = [macro_f1(right[rows], labels[rows]) for labels in each]
        found.append(np.mean(scores[: len(ones)]) - np.mean(scores[len(ones) :]))
    low, high = np.percentile(found, [2.5, 97.5])
    return f" [{low:+.1f}, {high:+.1f}]"


def contest(slug: str) -> list[dict[str, Any]]:
    """Scores of ours beside the Trainer's and beside what costs nothing; the processor time of the complete runs."""
    from worker.nlp import TASKS

    task, base, frame = TASKS[slug], CONTESTS[slug].base(), sample(slug)
    seeds = SEEDS or CONTESTS[slug].seeds
    theirs = [kept(slug, "Trainer", seed, partial(reference, slug, seed)) for seed in seeds]
    ours = {m: [kept(slug, m, seed, partial(tuned, slug, m, seed)) for seed in seeds] for m in CONTESTS[slug].methods}
    train, held_out = (frame.filter(_split=part) for part in ("train", "test"))
    free = task.baselines(train, held_out)
    if CONTESTS[slug].starter:
        free["the base untuned"] = kept(slug, "untuned", 0, lambda _folder: judged(slug, base))["scores"]
    true = held_out["label"].to_list() if theirs[0]["predicted"] else []
    found = []

    def beside(name: str, mine: list[float], other: list[float], metric: Any, chance: str = "") -> None:
        scale = 100 if metric.unit == "share" else 1
        a, b = fmean(mine) * scale, fmean(other) * scale
        top, bottom = (b, a) if metric.less_is_better else (a, b)
        ratio = 1.0 if top == bottom else top / bottom if bottom else 0.0
        what = f"{task.title}: {name}, {a - b:+.1f}{chance}"
        found.append({"name": what, "ours": a, "theirs": b, "unit": metric.title, "ratio": ratio})

    for method, runs in ours.items():
        for metric in task.metrics:
            if any(metric.name not in each["scores"] for each in (*runs, *theirs)):
                continue
            mine, other = ([each["scores"][metric.name] for each in side] for side in (runs, theirs))
            chance = ""
            if true and metric.name == task.primary_metric:
                chance = interval(true, *([each["predicted"] for each in side] for side in (runs, theirs)))
                apart = ", ".join(f"{100 * (a - b):+.1f}" for a, b in zip(mine, other, strict=True))
                chance += f" (by seed {apart})" if len(seeds) > 1 else ""
            beside(f"{method} - Trainer", mine, other, metric, chance)
        best = task.primary_metric
        for name, scores in free.items():
            if best in scores:
                beside(f"{method} - {name}", [each["scores"][best] for each in runs], [scores[best]], task.metric(best))
        what = f"{task.title}: complete run, {method} against Trainer, {len(train):,} rows"
        mine_s, other_s = (fmean(each["cpu_s"] for each in side) for side in (runs, theirs))
        found.append({"name": what, "ours": mine_s, "theirs": other_s, "unit": "CPU s", "ratio": other_s / mine_s})
    return found


def run(*names: str) -> list[dict[str, Any]]:
    from worker.nlp import slug_of

    slugs = [slug_of(name) for name in names] or list(CONTESTS)
    if unknown := set(slugs) - set(CONTESTS):
        raise SystemExit(f"There is no task called {unknown.pop()}; there are {', '.join(CONTESTS)}.")
    if not DATA.is_dir():
        print("  left out: the shared data is not on this machine")
        return []
    found = []
    for slug in slugs:
        if (CONTESTS[slug].base() / "config.json").is_file():
            found += contest(slug)
        else:
            print(f"  {slug} left out: there is no starters/{CONTESTS[slug].starter}")
    return found


if __name__ == "__main__":
    trainer(Path(sys.argv[1]))
