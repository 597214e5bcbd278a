"""Training, from a spec to a model folder, in the order in which it happens. It yields what happened, as messages.

It knows torch; it does not know that a web or a queue exists. `list(train(spec))` is a whole training.
"""

from __future__ import annotations

import math
import os
import time
from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import polars as pl
import torch

from worker.nlp import TASKS
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
from worker.trainer.rows import Flat, choose_pass, outputs

Message = dict[str, Any]
CHUNK = 5_000  # rows tokenised between two looks at the wishes
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


def _train(spec: RunSpec, control: Control, progress: Progress) -> Iterator[Message]:
    def go_on(leave_at: tuple[Wish, ...] = (Wish.CANCEL,)) -> None:
        if (wish := control.wish()) in leave_at:
            raise Leave(wish)

    unstarted = (Wish.CANCEL, Wish.PAUSE)  # before the first step a pause has nothing to save

    # --- what is to be done, with what ---
    task = TASKS[spec.task]
    settings: dict[str, Any] = read_settings(task.settings, spec.settings, spec.method)
    accelerator = pick_device(spec.device, spec.threads, settings["deterministic"])
    seed_all(settings["seed"])
    hashing = ThreadPoolExecutor(1).submit(sha256, Path(spec.data))  # beside the work: the first step does not wait for it
    frame = pl.read_parquet(spec.data, columns=["_split", *(role.name for role in task.roles)])
    labels = spec.labels or tuple(sorted(frame["label"].unique().to_list() if "label" in frame.columns else ()))
    model, tokenizer = task.load(spec.base, labels, settings, spec.method)

    examples: dict[str, list[dict[str, Any]]] = {"train": [], "validation": []}
    for split, found in examples.items():
        rows = frame.filter(pl.col("_split") == split)
        for start in range(0, len(rows), CHUNK):
            go_on(unstarted)
            found += task.encode(rows[start : start + CHUNK], tokenizer, labels, settings)
            if len(rows) > CHUNK:
                yield {"kind": "progress", "what": "tokenising", "done": len(found), "total": len(rows)}
    train_rows, validation = examples["train"], examples["validation"]
    if not train_rows:
        raise Trouble("no_rows", _("There is no row to train on."), _("Give some rows the split “train”."))
    lengths = [len(e["input_ids"]) for e in train_rows]

    # --- the model, the way it is called, what of it learns ---
    model.to(accelerator.device)
    forward, note = choose_pass(model, tokenizer.pad_token_id or 0)
    notes = [note] if note else []
    learner, upper = model, None
    if spec.method == Method.QUICK:
        depth = frozen_layers(model.base_model, settings["frozen_share"])
        freeze_bottom(model, depth)
        if isinstance(forward, Flat):
            upper = Upper(forward, depth, train_rows + validation, Path(spec.out) / str(spec.fence) / "kept.f32")
    elif spec.method == Method.LORA:
        learner = with_adapters(model, settings)
        learner.to(accelerator.device)
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
        padded = not isinstance(forward, Flat)
        return batches.plan(
            lengths,
            seed=settings["seed"],
            epoch=epoch,
            rows=settings["batch_rows"],
            tokens=settings["batch_tokens"],
            padded=padded,
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
            yield {"kind": "progress", "what": "caching", "done": done, "total": len(upper.rows)}
        learner.train(settings["dropout"])

    def logits_of(numbers: list[int]) -> torch.Tensor:
        """Logits of training rows; validation rows are numbered behind them."""
        if upper is not None:
            return upper.logits_of(numbers)
        both = [train_rows[i] if i < len(train_rows) else validation[i - len(train_rows)] for i in numbers]
        return forward.logits([e["input_ids"] for e in both])

    def scored(rows: list[dict[str, Any]], logits: Callable[[Sequence[int]], torch.Tensor]) -> Generator[Message, None, torch.Tensor]:
        work = outputs(logits, [len(e["input_ids"]) for e in rows], 4096, accelerator.autocast)
        told_at = time.monotonic()
        while True:
            go_on()
            try:
                done = next(work)
            except StopIteration as end:
                found: torch.Tensor = end.value
                return found
            if time.monotonic() - told_at >= TELL_S:
                told_at = time.monotonic()
                yield {"kind": "progress", "what": "scoring", "done": done, "total": len(rows)}

    def evaluate() -> Generator[Message, None, dict[str, float]]:
        learner.eval()
        found = yield from scored(validation, lambda numbers: logits_of([len(train_rows) + i for i in numbers]))
        learner.train(settings["dropout"])
        loss = criterion(found, torch.tensor([e["label"] for e in validation])).item()
        scores = task.score(found, validation, labels)[0]
        return {"eval_loss": loss, **{f"eval_{name}": value for name, value in scores.items() if name != "rows"}}

    def save() -> Message:
        _check_rows(hashing, spec, wait=True)
        saved = checkpoints.save(learner, optimizer, progress)
        best = progress.best is not None and progress.best_step == progress.step
        return {
            "kind": "checkpoint",
            "step": progress.step,
            "path": str(saved.path),
            "manifest_sha256": saved.manifest_sha256,
            "bytes": saved.bytes,
            "best": best,
            "metric": progress.best if best else None,
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
            loss_sum = 0.0
            for part in batches.parts(batch, settings["accumulation"]):
                with accelerator.autocast():
                    logits = logits_of(part)
                targets = torch.tensor([train_rows[i]["label"] for i in part], device=logits.device)
                loss = criterion(logits, targets) * (len(part) / len(batch))
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
                "padding": forward.padding([train_rows[i]["input_ids"] for i in batch]),
                "memory_mb": memory_mb(),
            }
            yield _point(progress, here, values)

            due = time.monotonic() - checkpoints.last_at >= settings["checkpoint_s"]
            if validation and progress.position in evaluations:
                values = yield from evaluate()
                due = True
                _judge(progress, values[f"eval_{task.primary_metric}"], values["eval_loss"], settings["patience"])
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
        _judge(progress, values[f"eval_{task.primary_metric}"], values["eval_loss"], 0)
        yield _point(progress, progress.epoch + progress.position / len(plan(progress.epoch)), values)
        yield save()
    if progress.best is not None:
        checkpoints.put_best(learner)
    learner.eval()
    split = next((s for s in ("test", "validation") if (frame["_split"] == s).any()), "train")
    held_out = task.encode(frame.filter(pl.col("_split") == split), tokenizer, labels, settings)
    answers = yield from scored(held_out, lambda numbers: forward.logits([held_out[i]["input_ids"] for i in numbers]))
    metrics, evaluation = task.score(answers, held_out, labels)
    evaluation = {"split": split, **evaluation}
    _check_rows(hashing, spec, wait=True)
    yield _log(f"Held-out rows ({split}): {_said({name: metrics[name] for name in metrics if name != 'rows'})}. Saving the model.")
    saved = save_result(spec, learner, tokenizer, labels, settings, metrics, evaluation, control.still_mine)
    yield {
        "kind": "done",
        "step": progress.step,
        "metrics": metrics,
        "evaluation": evaluation,
        "model": str(saved.path),
        "model_sha256": saved.manifest_sha256,
        "bytes": saved.bytes,
    }


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
