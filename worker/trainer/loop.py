"""Training, from a spec to a model folder, in the order in which it happens. It yields what happened, as messages.

It knows torch; it does not know that a web or a queue exists. `list(train(spec))` is a whole training.
"""

from __future__ import annotations

import json
import math
import os
import time
from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import polars as pl
import torch

from worker.nlp import TASKS, Example, Task, families, texts
from worker.nlp.recipe import read_settings
from worker.spec import Method, Point, RunSpec, Trouble, Wish
from worker.spec import gettext_noop as _
from worker.trainer import batches
from worker.trainer.adapters import with_adapters
from worker.trainer.checkpoints import Checkpoints, Progress, sha256
from worker.trainer.control import Control
from worker.trainer.device import device_name, memory_mb, pick_device, seed_all
from worker.trainer.frozen import Upper, freeze_bottom, frozen_layers
from worker.trainer.result import save_result
from worker.trainer.rows import ROWS, TOKENS, Flat, choose_pass, layout_of, length_of, reading

Message = dict[str, Any]
CHUNK = 5_000  # rows tokenised between two looks at the wishes
MOST_LOGITS = 2**26  # numbers that scoring may hold at a time, where every token gives one for each word of the vocabulary
ROWS_LOOKED_AT = 500  # for characters that the model does not know
TELL_S = 1.0  # scoring says so often how far it is; a trainer that is silent for long is taken for hung


class Leave(Exception):
    """The supervisor wants this training to end now, with nothing to be saved."""

    def __init__(self, wish: Wish) -> None:
        super().__init__(wish)
        self.wish = wish


def train(spec: RunSpec, control: Control | None = None) -> Iterator[Message]:
    """Raises Trouble, and LeaseOver; whatever else it raises is a fault of ours or of the machine."""
    progress = Progress()
    try:
        yield from _train(spec, control or Control(), progress)
    except Leave as leave:
        yield {"kind": "stopped", "step": progress.step, "wish": leave.wish}


def settings_of(spec: RunSpec) -> dict[str, Any]:
    """All settings that the task, the recipe and the kind of base know. Raises SpecError."""
    shape = families.shape_of(json.loads((Path(spec.base) / "config.json").read_text("utf-8")))
    return read_settings(TASKS[spec.task].known_settings(spec.method, shape), spec.settings, spec.method)


def rows_of(spec: RunSpec) -> pl.DataFrame:
    """The columns that the task reads, and `_split`."""
    there = pl.scan_parquet(spec.data).collect_schema().names()
    return pl.read_parquet(spec.data, columns=["_split", *(role.name for role in TASKS[spec.task].roles if role.name in there)])


def learner_of(model: Any, method: str, settings: dict[str, Any]) -> Any:
    """`model` as the recipe trains it: whole, with its lower layers frozen, or inside adapters."""
    if method == Method.QUICK:
        freeze_bottom(model, frozen_layers(model.base_model, settings["frozen_share"]))
    return with_adapters(model, settings) if method == Method.LORA else model


def _train(spec: RunSpec, control: Control, progress: Progress) -> Iterator[Message]:
    def go_on(leave_at: tuple[Wish, ...] = (Wish.CANCEL,)) -> None:
        if (wish := control.wish()) in leave_at:
            raise Leave(wish)

    unstarted = (Wish.CANCEL, Wish.PAUSE)  # before the first step a pause has nothing to save

    # --- what is to be done, with what ---
    task, settings = TASKS[spec.task], settings_of(spec)
    accelerator = pick_device(spec.device, spec.threads, settings["deterministic"])
    seed_all(settings["seed"])
    hashing = ThreadPoolExecutor(1).submit(sha256, Path(spec.data))  # beside the work: the first step does not wait for it
    frame = rows_of(spec)
    labels = spec.labels or tuple(sorted(frame["label"].unique().to_list() if "label" in frame.columns else ()))
    facts = task.facts(frame.filter(pl.col("_split") == "train"), settings)

    def load() -> tuple[Any, Any]:
        model, tokenizer = task.load(spec.base, labels, settings, spec.method, facts)
        model.config.tunebench = facts
        return model.to(accelerator.device), tokenizer

    model, tokenizer = load()

    def encoded(rows: pl.DataFrame, learning: bool) -> Generator[Message, None, list[Example]]:
        found: list[Example] = []
        for start in range(0, len(rows), CHUNK):
            go_on(unstarted)
            more = task.encode(rows[start : start + CHUNK], model, tokenizer, labels, settings, learning)
            found += [{**e, "row": start + e["row"]} if "row" in e else e for e in more]
            if len(rows) > CHUNK:
                yield {"kind": "progress", "what": "tokenising", "done": start + CHUNK, "total": len(rows)}
        return found

    train_rows = yield from encoded(frame.filter(pl.col("_split") == "train"), learning=True)
    validation = yield from encoded(frame.filter(pl.col("_split") == "validation"), learning=False)
    if not train_rows:
        raise Trouble("no_rows", _("There is no row to train on."), _("Give some rows the split “train”."))
    lengths = [length_of(e) for e in train_rows]

    # --- the model, the way it is called, what of it learns ---
    layout, vocabulary = layout_of(model), model.config.get_text_config().vocab_size
    stock_attention = model.config._attn_implementation
    forward, note = choose_pass(model, tokenizer.pad_token_id or 0)
    notes = [note] if note else []
    if cut := len({e.get("row", at) for at, e in enumerate(train_rows) if e.get("cut")}):
        notes.append(
            f"{cut:,} of {(frame['_split'] == 'train').sum():,} rows are longer than what a step reads; the rest of them is not learnt. "
            "Raise “Longest text” or, where answers are written, “Longest answer” to learn all of it."
        )
    unknown = _unknown(task, tokenizer, frame.filter(pl.col("_split") == "train"))
    if unknown >= texts.MUCH_UNKNOWN:
        notes.append(
            f"The base model does not know the characters of these rows: {unknown:.0%} of their text means nothing to it. "
            "Choose a base model that reads their language."
        )
    learner, upper = learner_of(model, spec.method, settings).to(accelerator.device), None
    if spec.method == Method.QUICK and isinstance(forward, Flat):
        depth = frozen_layers(model.base_model, settings["frozen_share"])
        upper = Upper(forward, depth, train_rows + validation, Path(spec.out) / str(spec.fence) / "kept.f32")
    learn = [p for p in learner.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(
        [
            {"params": [p for p in learn if p.ndim > 1], "weight_decay": settings["weight_decay"]},
            {"params": [p for p in learn if p.ndim <= 1], "weight_decay": 0.0},
        ],
        lr=0.0,
        fused=True,
    )
    criterion = task.criterion(train_rows, labels, settings)

    # --- the plan, and where to begin ---
    def plan(epoch: int) -> list[list[int]]:
        return batches.plan(
            lengths,
            seed=settings["seed"],
            epoch=epoch,
            rows=settings["batch_rows"],
            tokens=settings["batch_tokens"],
            padded=forward.is_padded,
        )

    steps = sum(len(plan(epoch)) for epoch in range(settings["epochs"]))
    checkpoints = Checkpoints(spec, control.still_mine)
    if spec.resume:
        resumed, differs = checkpoints.resume(learner, optimizer)
        progress.__dict__.update(resumed.__dict__)
        notes += differs
    learner.train(settings["dropout"])
    resumed_step = progress.step if spec.resume else None
    yield {
        "kind": "ready",
        "device": device_name(accelerator),
        "steps": steps,
        "resumed_step": resumed_step,
        "pid": os.getpid(),
        "notes": notes,
    }
    yield _log(f"{len(train_rows):,} rows to learn from, {len(validation):,} to validate, {steps:,} steps, {forward.name} passes.")
    for text in notes:
        yield _log(text, "warning")

    # --- Quick: the lower layers once ---
    if upper is not None:
        learner.eval()
        for done in upper.keep(accelerator.autocast):
            go_on(unstarted)
            yield {"kind": "progress", "what": "caching", "done": done, "total": len(upper.examples)}
        learner.train(settings["dropout"])

    def outputs_of(numbers: Sequence[int]) -> Any:
        """Outputs for training rows; validation rows are numbered behind them."""
        if upper is not None:
            return upper.outputs_of(numbers)
        return forward.outputs([train_rows[i] if i < len(train_rows) else validation[i - len(train_rows)] for i in numbers])

    def scored(
        rows: list[Example], outputs: Callable[[Sequence[int]], Any], is_last: bool = False
    ) -> Generator[Message, None, tuple[float, dict[str, float], dict[str, Any]]]:
        """(loss, metrics, evaluation) of `rows`; `outputs` takes their numbers. The last scoring says too how sure it is."""
        losses: list[float] = []

        def look(numbers: Sequence[int]) -> list[Any]:
            group = [rows[i] for i in numbers]
            found = outputs(numbers)
            losses.append(criterion(found, group).item() * _weight(group))
            return task.read(found, group, criterion)

        most_tokens = 4096 if layout in (ROWS, TOKENS) else max(256, min(4096, MOST_LOGITS // vocabulary))
        work = reading(look, [length_of(e) for e in rows], most_tokens, accelerator.autocast)
        told_at = time.monotonic()
        while True:
            go_on()
            try:
                done = next(work)
            except StopIteration as end:
                metrics, evaluation = task.score(end.value, rows, labels)
                if is_last:
                    evaluation["intervals"] = task.intervals(end.value, rows, labels)
                return sum(losses) / max(_weight(rows), 1), metrics, evaluation
            if time.monotonic() - told_at >= TELL_S:
                told_at = time.monotonic()
                yield {"kind": "progress", "what": "scoring", "done": done, "total": len(rows)}

    def tried(
        model: Any, tokenizer: Any, rows: pl.DataFrame, note: str
    ) -> Generator[Message, None, tuple[dict[str, float], dict[str, Any]]]:
        """(metrics, evaluation) of the model as people will use it."""
        work = task.trial(model, tokenizer, labels, rows, settings)
        while work is not None:
            go_on()
            try:
                done, total = next(work)
            except StopIteration as end:
                found: tuple[dict[str, float], dict[str, Any]] = end.value
                return found
            yield {"kind": "progress", "what": note, "done": done, "total": total}
        return {}, {}

    def evaluate() -> Generator[Message, None, dict[str, float]]:
        learner.eval()
        loss, metrics, _evaluation = yield from scored(validation, lambda numbers: outputs_of([len(train_rows) + i for i in numbers]))
        learner.train(settings["dropout"])
        return {"eval_loss": loss, **{f"eval_{name}": value for name, value in metrics.items() if name != "rows"}}

    picked_by = task.picked_by or task.primary_metric
    picked = task.metric(picked_by)
    sign = -1 if picked_by == "loss" or (picked and picked.less_is_better) else 1

    measured: dict[str, float] = {}  # by the last evaluation of this attempt

    def judge(values: dict[str, float], patience: int) -> None:
        measured.update(values)
        _judge(progress, sign * values[f"eval_{picked_by}"], values["eval_loss"], patience)

    def untuned(held_out: list[Example], rows: pl.DataFrame) -> Generator[Message, None, dict[str, float]]:
        """Metrics of the base model as it came, on the same rows; it is opened anew."""
        base, its_tokenizer = load()
        base.eval()
        its_pass, _note = choose_pass(base, its_tokenizer.pad_token_id or 0)
        _loss, metrics, _evaluation = yield from scored(held_out, lambda numbers: its_pass.outputs([held_out[i] for i in numbers]))
        base.set_attn_implementation(stock_attention)
        more, _drawn = yield from tried(base, its_tokenizer, rows, "comparing")
        return {**metrics, **more}

    def save() -> Message:
        _check_rows(hashing, spec, wait=True)
        saved = checkpoints.save(learner, optimizer, progress)
        is_measured = bool(measured) and progress.evaluated_step == progress.step
        return {
            "kind": "checkpoint",
            "step": progress.step,
            "path": str(saved.path),
            "manifest_sha256": saved.manifest_sha256,
            "bytes": saved.bytes,
            "best": progress.best is not None and progress.best_step == progress.step,
            "metric": measured[f"eval_{picked_by}"] if is_measured else None,
        }

    # --- the steps ---
    before_s, began = progress.elapsed_s, time.monotonic()
    finish = False
    for epoch in range(progress.epoch, settings["epochs"]):
        todo = plan(epoch)
        evaluations = {math.ceil(len(todo) * i / settings["evaluations"]) for i in range(1, settings["evaluations"] + 1)}
        for batch in todo[progress.position :]:
            wish = control.wish()
            if wish is Wish.CANCEL:
                raise Leave(wish)
            if wish is Wish.PAUSE:
                if checkpoints.last_step != progress.step:
                    yield save()
                yield {"kind": "stopped", "step": progress.step, "wish": wish}
                return
            finish = wish is Wish.FINISH
            if finish or progress.over:
                break
            _check_rows(hashing, spec, wait=False)

            step_began = time.monotonic()
            rate = settings["learning_rate"] * slope(progress.step, steps, settings["warmup"], settings["schedule"])
            for group in optimizer.param_groups:
                group["lr"] = rate
            loss_sum, weight = 0.0, _weight([train_rows[i] for i in batch])
            for part in batches.parts(batch, settings["accumulation"]):
                with accelerator.autocast():
                    found = outputs_of(part)
                learnt = [train_rows[i] for i in part]
                loss = criterion(found, learnt) * (_weight(learnt) / weight)
                accelerator.backward(loss)
                loss_sum += loss.item()
            norm = float(torch.nn.utils.clip_grad_norm_(learn, settings["clip"]))
            if not math.isfinite(loss_sum) or not math.isfinite(norm):
                raise Trouble(
                    "diverged",
                    _("The loss is no longer a number: the training has run away."),
                    _("Lower the learning rate, to a third for example, and start again."),
                )
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)

            tokens = sum(lengths[i] for i in batch)
            progress.step += 1
            progress.position += 1
            progress.elapsed_s = before_s + time.monotonic() - began
            here = epoch + progress.position / len(todo)
            values = {
                "loss": loss_sum,
                "learning_rate": rate,
                "grad_norm": norm,
                "tokens_per_s": tokens / max(time.monotonic() - step_began, 1e-9),
                "padding": forward.padding([train_rows[i] for i in batch]),
                "memory_mb": memory_mb(),
            }
            yield _point(progress, here, values)

            due = time.monotonic() - checkpoints.last_at >= settings["checkpoint_s"]
            if validation and progress.position in evaluations:
                values = yield from evaluate()
                due = True
                judge(values, settings["patience"])
                yield _point(progress, here, values)
                yield _log(f"Epoch {here:.2f}: {_said(values)}.")
            if due:
                if progress.position == len(todo):
                    progress.epoch, progress.position = epoch + 1, 0
                yield save()
                if progress.epoch > epoch:
                    break
        if finish or progress.over:
            break
        progress.epoch, progress.position = epoch + 1, 0
    if progress.over:
        yield _log(f"Stopped early: {progress.fruitless} evaluations without a better score.")

    # --- the best state, its scores, its folder ---
    if finish and validation and 0 < progress.step != progress.evaluated_step:
        values = yield from evaluate()
        judge(values, 0)
        yield _point(progress, progress.epoch + progress.position / len(plan(progress.epoch)), values)
        yield save()
    if progress.best is not None:
        checkpoints.put_best(learner)
    learner.eval()
    split = next((s for s in ("test", "validation") if (frame["_split"] == s).any()), "train")
    rows = frame.filter(pl.col("_split") == split)
    held_out = yield from encoded(rows, learning=False)
    _loss, metrics, evaluation = yield from scored(held_out, lambda numbers: forward.outputs([held_out[i] for i in numbers]), is_last=True)
    model.set_attn_implementation(stock_attention)
    intervals = evaluation["intervals"]
    more, drawn = yield from tried(model, tokenizer, rows, "answering")
    metrics, evaluation = {**metrics, **more}, {"split": split, **evaluation, **drawn, "of_answers": sorted(more), "unknown": unknown}
    evaluation["intervals"] = intervals | drawn.get("intervals", {})
    _check_rows(hashing, spec, wait=True)
    yield _log(f"Held-out rows ({split}): {_said({name: metrics[name] for name in metrics if name != 'rows'})}. Saving the model.")
    saved = save_result(spec, learner, tokenizer, labels, settings, metrics, evaluation, control.still_mine)
    if task.compares_untuned(model):
        model = learner = forward = upper = optimizer = learn = None  # type: ignore[assignment]  # make room: the base is opened anew
        try:
            evaluation["untuned"] = yield from untuned(held_out, rows)
        except (MemoryError, RuntimeError) as problem:  # the run is done; a comparison is not worth its loss
            yield _log(f"The base model could not be scored beside it: {type(problem).__name__}.", "warning")
    yield {
        "kind": "done",
        "step": progress.step,
        "metrics": metrics,
        "evaluation": evaluation,
        "model": str(saved.path),
        "model_sha256": saved.manifest_sha256,
        "bytes": saved.bytes,
    }


def _unknown(task: Task, tokenizer: Any, rows: pl.DataFrame) -> float:
    """The share of the rows' texts that the tokenizer does not know, counted in rows from all over the table."""
    some = rows.gather_every(max(1, len(rows) // ROWS_LOOKED_AT))
    columns = [role.name for role in task.roles if role.kind == "text" and role.name in some.columns]
    return texts.unknown_share(tokenizer, [text for name in columns for text in some[name].to_list() if text])


def _weight(examples: Sequence[Example]) -> int:
    """How many answers are learnt from `examples`: rows, or tokens where the task learns tokens."""
    return sum(e.get("weight", 1) for e in examples)


def slope(step: int, steps: int, warmup: float, schedule: str) -> float:
    """The share of the learning rate that step number `step` (from 0) takes."""
    warm = math.ceil(warmup * steps)
    if step < warm:
        return (step + 1) / (warm + 1)
    left = (steps - step) / max(steps - warm, 1)
    return {"linear": left, "cosine": 0.5 * (1 - math.cos(math.pi * left)), "constant": 1.0}[schedule]


def _judge(progress: Progress, metric: float, loss: float, patience: int) -> None:
    """Of two states with the same score the one with the lower loss is kept: few rows reach their top score
    long before the model is sure of its answers. Early stopping looks at the score alone."""
    progress.evaluated_step = progress.step
    better = progress.best is None or metric > progress.best
    surer = metric == progress.best and progress.best_loss is not None and loss < progress.best_loss
    if better or surer:
        progress.best, progress.best_loss, progress.best_step = metric, loss, progress.step
    if better:
        progress.fruitless = 0
    else:
        progress.fruitless += 1
        progress.over = 0 < patience <= progress.fruitless


def _check_rows(hashing: Future[str], spec: RunSpec, *, wait: bool) -> None:
    """The rows must be the ones that the run was asked for; looked at as soon as the hash is there, at the latest before saving."""
    if spec.data_sha256 and (wait or hashing.done()) and hashing.result() != spec.data_sha256:
        raise Trouble("rows_changed", _("The dataset's file is not the one this run was started with."), _("Import the dataset again."))


def _point(progress: Progress, epoch: float, values: dict[str, float]) -> Message:
    return {"kind": "point", **Point(progress.step, epoch, progress.elapsed_s, values).to_wire()}


def _log(text: str, level: str = "info") -> Message:
    return {"kind": "log", "level": level, "text": text}


def _said(values: dict[str, float]) -> str:
    return ", ".join(f"{name} {value:.3f}" for name, value in values.items())
