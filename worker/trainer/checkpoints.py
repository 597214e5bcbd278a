"""Checkpoints that are whole or not there: temporary folder, fsync, manifest with hashes, rename, fsync of the parent.

Tensors are safetensors and everything else is JSON, so nothing that is read back can run code. Every file is
hashed against the manifest, and the manifest against what the supervisor recorded, before anything is opened.
"""

# mypy: disable-error-code="no-untyped-call"
# (torch leaves many of its functions untyped)

from __future__ import annotations

import errno
import hashlib
import json
import os
import random
import shutil
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from worker.spec import Exit, RunSpec, Trouble
from worker.spec import gettext_noop as _

FORMAT = 1
KEPT, KEPT_S = 3, 120  # an attempt prunes its own checkpoints but for the newest ones and the young ones
LIBRARIES = ("torch", "transformers", "peft", "accelerate", "safetensors", "numpy", "tokenizers")


@dataclass
class Progress:
    """Where training stands, between two steps."""

    step: int = 0
    epoch: int = 0
    position: int = 0  # batches of this epoch that are done
    elapsed_s: float = 0.0
    best: float | None = None
    best_loss: float | None = None  # of the best state; it decides between equal scores
    best_step: int = 0
    fruitless: int = 0  # evaluations since the best
    evaluated_step: int = -1
    over: bool = False  # early stopping has ended the training


@dataclass(frozen=True)
class Saved:
    path: Path
    manifest_sha256: str
    bytes: int


def sha256(file: Path) -> str:
    with file.open("rb") as content:
        return hashlib.file_digest(content, "sha256").hexdigest()


def sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def write_text(path: Path, text: str) -> None:
    with open(path, "x", encoding="utf-8") as file:
        file.write(text)


def seal(folder: Path, about: dict[str, Any]) -> tuple[str, int]:
    """Sync all files of `folder`, then write its manifest: (the manifest's hash, bytes in all)."""
    names = sorted(str(p.relative_to(folder)) for p in folder.rglob("*") if p.is_file())
    files = {}
    for name in names:
        sync(folder / name)
        files[name] = {"sha256": sha256(folder / name), "size": (folder / name).stat().st_size}
    write_text(folder / "manifest.json", json.dumps({**about, "format": FORMAT, "files": files}, indent=1, sort_keys=True))
    sync(folder / "manifest.json")
    for below in sorted({(folder / name).parent for name in names} | {folder}):
        sync(below)
    return sha256(folder / "manifest.json"), sum(int(str(f["size"])) for f in files.values())


def verify(folder: Path, manifest_sha256: str = "") -> dict[str, Any]:
    """The manifest of a folder all of whose files are as they were written. Raises Trouble otherwise."""
    try:
        if manifest_sha256 and sha256(folder / "manifest.json") != manifest_sha256:
            raise ValueError("manifest")
        manifest: dict[str, Any] = json.loads((folder / "manifest.json").read_text("utf-8"))
        if manifest["format"] != FORMAT:
            raise ValueError("format")
        for name, what in manifest["files"].items():
            if (folder / name).stat().st_size != what["size"] or sha256(folder / name) != what["sha256"]:
                raise ValueError(name)
    except (OSError, ValueError, KeyError, TypeError) as problem:
        raise Trouble(
            "checkpoint_damaged",
            _("A checkpoint is damaged or not whole, so the run cannot go on from it."),
            _("The run goes on from the checkpoint before; if there is none, it starts again."),
            Exit.DAMAGED,
        ) from problem
    return manifest


def _random_state() -> tuple[dict[str, Any], dict[str, Tensor]]:
    kind, python, gauss = random.getstate()
    name, keys, at, has_gauss, cached = np.random.get_state()
    numbers = {"python": [kind, list(python), gauss], "numpy": [name, [int(k) for k in keys], at, has_gauss, cached]}
    tensors = {"torch": torch.get_rng_state()}
    if torch.cuda.is_available() and torch.cuda.is_initialized():
        tensors["cuda"] = torch.cuda.get_rng_state()
    return numbers, tensors


def _set_random_state(numbers: dict[str, Any], tensors: dict[str, Tensor]) -> None:
    kind, python, gauss = numbers["python"]
    random.setstate((kind, tuple(python), gauss))
    name, keys, at, has_gauss, cached = numbers["numpy"]
    np.random.set_state((name, np.array(keys, dtype=np.uint32), at, has_gauss, cached))
    torch.set_rng_state(tensors["torch"])
    if "cuda" in tensors and torch.cuda.is_available():
        torch.cuda.set_rng_state(tensors["cuda"])


def learning(model: torch.nn.Module) -> dict[str, Tensor]:
    """The weights that change, by name: all that a checkpoint must hold beside the base model."""
    return {name: p.detach() for name, p in model.named_parameters() if p.requires_grad}


class Checkpoints:
    """The checkpoints of one attempt. `still_mine` raises when the lease is over: then nothing is renamed into place."""

    def __init__(self, spec: RunSpec, still_mine: Callable[[], None]) -> None:
        self.spec, self.still_mine = spec, still_mine
        self.folder = Path(spec.out) / str(spec.fence) / "checkpoints"
        self.best: Path | None = None  # weights of the best evaluation so far, in a checkpoint of this attempt or another
        self.last_step, self.last_at = -1, time.monotonic()

    def save(self, model: torch.nn.Module, optimizer: torch.optim.Optimizer, progress: Progress) -> Saved:
        """Commit the state. Raises Trouble (disk full) with the older checkpoints untouched."""
        self.folder.mkdir(parents=True, exist_ok=True)
        draft, place = self.folder / f".{progress.step}.tmp", self.folder / str(progress.step)
        shutil.rmtree(draft, ignore_errors=True)
        try:
            saved = self._write(draft, place, model, optimizer, progress)
        except Exception as problem:
            shutil.rmtree(draft, ignore_errors=True)
            if is_disk_full(problem):
                raise disk_full() from problem
            raise
        self.last_step, self.last_at = progress.step, time.monotonic()
        self._prune(progress.best_step)
        return saved

    def _write(self, draft: Path, place: Path, model: torch.nn.Module, optimizer: torch.optim.Optimizer, progress: Progress) -> Saved:
        os.mkdir(draft)
        save_file({n: t.cpu().contiguous() for n, t in learning(model).items()}, draft / "model.safetensors")
        best = self.best
        if progress.best_step == progress.step and progress.best is not None:
            best = place / "model.safetensors"
        elif best is not None:
            _link(best, draft / "best.safetensors")  # each checkpoint stands alone; a link costs nothing
            best = place / "best.safetensors"  # the one it came from may be cleared away from now on
        numbers, tensors = _random_state()
        names = {id(p): n for n, p in model.named_parameters()}
        for parameter, moments in optimizer.state.items():
            tensors |= {f"{names[id(parameter)]}|{kind}": t.cpu().contiguous() for kind, t in moments.items()}
        save_file(tensors, draft / "optimizer.safetensors")
        write_text(draft / "state.json", json.dumps({"progress": asdict(progress), "random": numbers}))
        hash_, size = seal(draft, {"step": progress.step, **_identity(self.spec), "versions": {n: version(n) for n in LIBRARIES}})
        self.still_mine()
        os.rename(draft, place)
        self.best = best
        sync(place.parent)
        return Saved(place, hash_, size)

    def _prune(self, best_step: int) -> None:
        steps = sorted(int(p.name) for p in self.folder.iterdir() if p.name.isdigit())
        for step in steps[:-KEPT]:
            old = self.folder / str(step)
            if time.time() - old.stat().st_mtime > KEPT_S and step != best_step:
                shutil.rmtree(old, ignore_errors=True)

    def resume(self, model: torch.nn.Module, optimizer: torch.optim.Optimizer) -> tuple[Progress, list[str]]:
        """Put model, optimizer and random numbers back where `spec.resume` left them: (progress, what differs)."""
        folder = Path(self.spec.resume)
        manifest = verify(folder, self.spec.resume_sha256)
        differs = [key for key, value in _identity(self.spec).items() if manifest.get(key) != value]
        if differs:
            raise Trouble(
                "resume_mismatch",
                _("The checkpoint belongs to other rows, another base model or another recipe."),
                _("Start a new run."),
            )
        state = json.loads((folder / "state.json").read_text("utf-8"))
        put(model, load_file(folder / "model.safetensors"))
        tensors = load_file(folder / "optimizer.safetensors")
        parameters = dict(model.named_parameters())
        for key, tensor in tensors.items():
            name, _bar, kind = key.rpartition("|")
            if name:
                owner = parameters[name]
                optimizer.state[owner][kind] = tensor if kind == "step" and not _fused(optimizer) else tensor.to(owner.device)
        _set_random_state(state["random"], {k: t for k, t in tensors.items() if "|" not in k})
        progress = Progress(**state["progress"])
        if progress.best is not None:
            own = progress.best_step == progress.step
            self.best = folder / ("model.safetensors" if own else "best.safetensors")
        notes = [
            f"{name} was {was} when the checkpoint was written and is {version(name)} now; the result may differ in the last digits."
            for name, was in manifest["versions"].items()
            if was != version(name)
        ]
        return progress, notes

    def put_best(self, model: torch.nn.Module) -> None:
        if self.best is not None:
            put(model, load_file(self.best))


def _fused(optimizer: torch.optim.Optimizer) -> bool:
    return any(group["fused"] is True for group in optimizer.param_groups)


def put(model: torch.nn.Module, tensors: dict[str, Tensor]) -> None:
    """Copy `tensors` into the learning weights of the same names. All must be there."""
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if parameter.requires_grad:
                parameter.copy_(tensors[name])


def _identity(spec: RunSpec) -> dict[str, Any]:
    return {"run": spec.run, "task": spec.task, "method": spec.method, "data_sha256": spec.data_sha256, "labels": list(spec.labels)}


def _link(source: Path, target: Path) -> None:
    try:
        os.link(source, target)
    except OSError as problem:
        if problem.errno not in {errno.EXDEV, errno.EPERM, errno.EMLINK, errno.EOPNOTSUPP}:
            raise
        shutil.copyfile(source, target)


def committed(folder: Path) -> Iterator[Path]:
    """The whole checkpoints of an attempt's folder, newest first."""
    for step in sorted((int(p.name) for p in folder.glob("*") if p.name.isdigit()), reverse=True):
        try:
            verify(folder / str(step))
        except Trouble:
            continue
        yield folder / str(step)


def is_disk_full(problem: BaseException) -> bool:
    return getattr(problem, "errno", None) in {errno.ENOSPC, errno.EDQUOT} or "No space left" in str(problem)


def disk_full() -> Trouble:
    return Trouble(
        "disk_full",
        _("The disk is full, so the state could not be saved."),
        _("Free some space; the run then goes on from its last checkpoint."),
        Exit.DISK_FULL,
    )
