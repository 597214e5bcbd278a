"""Bytes on disk: parts that still arrive, and whole files under their hash."""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, Protocol

from django.conf import settings

PIECE = 1024 * 1024  # bytes read at a time
RESERVE = 256 * 1024**2  # bytes that an upload may not take: the database and the logs need room too


class Readable(Protocol):
    def read(self, size: int = ..., /) -> bytes: ...


def path_of(sha256: str) -> Path:
    return Path(settings.FILES / "blobs" / sha256[:2] / sha256)


def part_path(key: object) -> Path:
    return Path(settings.FILES / "uploads" / str(key))


def has_room(bytes_wanted: int) -> bool:
    settings.FILES.mkdir(parents=True, exist_ok=True)
    return shutil.disk_usage(settings.FILES).free - RESERVE >= bytes_wanted


@contextmanager
def locked(path: Path) -> Iterator[BinaryIO]:
    """The part, open for reading and writing, held by nobody else. A lock of the file and not of the row: SQLite has
    one lock for the whole database, which must not wait for a slow disk."""
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    with os.fdopen(descriptor, "r+b") as file:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield file


def sync(file: BinaryIO) -> None:
    file.flush()
    os.fsync(file.fileno())


def pieces(stream: Readable) -> Iterator[bytes]:
    while piece := stream.read(PIECE):
        yield piece


def hash_of(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def keep(source: Path, target: Path) -> None:
    """Move `source` to `target` whole or not at all; a target that is there already has the same bytes and stays, as young as
    `source`: whoever clears away what no row names leaves young files alone."""
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        os.utime(target)
    except FileNotFoundError:
        pass
    else:
        source.unlink(missing_ok=True)
        return
    os.replace(source, target)
    folder = os.open(target.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def forget(path: Path, is_wanted: Callable[[Path], bool]) -> None:
    """Delete a whole file unless it is wanted; `is_wanted` is told where it lies. It is put aside before that is asked again:
    who keeps the same bytes just now has either said so already, or finds none there and brings its own."""
    aside = path.with_name(f"{path.name}.{os.getpid()}.{time.monotonic_ns()}")
    if is_wanted(path):
        return
    try:
        os.rename(path, aside)
    except FileNotFoundError:
        return
    if is_wanted(aside):
        keep(aside, path)
    aside.unlink(missing_ok=True)
