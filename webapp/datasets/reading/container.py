"""What a file really is, by its first bytes, and what is inside when it is packed."""

from __future__ import annotations

import gzip
import stat
import zipfile
import zlib
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

from webapp.datasets.reading import MIB, Limits, ReadingError

FLOOR = 64 * MIB  # a small archive of repetitive text may unpack more than `ratio` times up to here
USABLE = (".csv", ".tsv", ".tab", ".txt", ".json", ".jsonl", ".ndjson", ".parquet", ".xlsx", ".xls", ".ods")
SIGNS: tuple[tuple[bytes, str], ...] = (
    (b"\x1f\x8b", "gzip"),
    (b"PK\x03\x04", "zip"),
    (b"PK\x05\x06", "zip"),
    (b"PAR1", "parquet"),
    (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", "workbook"),
    (b"BZh", "a bzip2 archive"),
    (b"\xfd7zXZ\x00", "an xz archive"),
    (b"\x28\xb5\x2f\xfd", "a Zstandard archive"),
    (b"7z\xbc\xaf\x27\x1c", "a 7-Zip archive"),
    (b"Rar!", "a RAR archive"),
    (b"%PDF", "a PDF document"),
    (b"\x89PNG", "a picture"),
    (b"\xff\xd8\xff", "a picture"),
    (b"GIF8", "a picture"),
    (b"\x7fELF", "a program"),
    (b"MZ\x90\x00", "a program"),
    (b"SQLite format 3", "a SQLite database"),
    (b"ARROW1", "an Arrow file"),
    (b"FEA1", "a Feather file"),
    (b"\x89HDF", "an HDF5 file"),
    (b"\x80\x04\x95", "a Python pickle, which is never opened"),
)
FORMATS = "CSV, TSV, JSON, JSON Lines, Parquet, Excel or plain text, as it is or packed with gzip or zip"


@dataclass
class Plain:
    """A file that is not packed any more. `kind` is parquet, workbook or text."""

    path: Path
    kind: str
    packed: str = ""
    member: str = ""
    members: list[str] = field(default_factory=list)


def kind_of(path: Path) -> str:
    with path.open("rb") as file:
        head = file.read(16)
    found = next((kind for sign, kind in SIGNS if head.startswith(sign)), "text")
    return "workbook" if found == "zip" and is_workbook(path) else found


def is_workbook(path: Path) -> bool:
    try:
        with zipfile.ZipFile(path) as archive:
            names = set(archive.namelist())
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError):
        return False
    return bool(names & {"xl/workbook.xml", "xl/workbook.bin"}) or {"content.xml", "mimetype"} <= names


def unpack(path: Path, name: str, room: Path, limits: Limits, member: str = "") -> Plain:
    """The file itself, or what its one gzip or zip layer holds, written to `room`."""
    if not path.stat().st_size:
        raise ReadingError("empty", "This file is empty (0 bytes). Save it again and check its size before the upload.", file=name)
    kind = kind_of(path)
    if kind == "gzip":
        plain = Plain(room, "", packed="gzip", member=name.removesuffix(".gz"))
        gunzip(path, room, name, limits)
    elif kind == "zip":
        plain = unzip(path, name, room, limits, member)
    else:
        return Plain(path, checked(kind, name))
    inner = kind_of(room)
    if inner in {"gzip", "zip"} or not room.stat().st_size:
        what = "is empty" if not room.stat().st_size else "holds another archive"
        raise ReadingError("nested", f"The archive {name} {what}. Upload the file itself, or packed once.", file=name)
    plain.kind = checked(inner, name)
    return plain


def checked(kind: str, name: str) -> str:
    if kind not in {"text", "parquet", "workbook"}:
        raise ReadingError("not_data", f"{name} is {kind}. Tunebench reads {FORMATS}.", file=name)
    return kind


def gunzip(path: Path, room: Path, name: str, limits: Limits) -> None:
    """All members of a gzip file, one after the other."""
    try:
        with path.open("rb") as packed, gzip.GzipFile(fileobj=packed) as file:
            pour(file, room, name, packed.tell, limits)
    except (OSError, EOFError, zlib.error):
        raise ReadingError("damaged", f"The archive {name} is damaged or cut short. Pack it again.", file=name) from None


def unzip(path: Path, name: str, room: Path, limits: Limits, member: str) -> Plain:
    try:
        with path.open("rb") as packed, zipfile.ZipFile(packed) as archive:
            infos = archive.infolist()
            if len(infos) > limits.members:
                raise ReadingError("too_many_members", f"{name} holds {len(infos):,} files, more than {limits.members:,}.", file=name)
            usable = [i for i in infos if is_usable(i)]
            usable.sort(key=lambda i: not i.filename.lower().endswith(USABLE))
            chosen = next((i for i in usable if i.filename == member), usable[0] if usable else None)
            if chosen is None:
                raise ReadingError(
                    "nothing_inside", f"There is no file in {name} that could be read. Tunebench reads {FORMATS}.", file=name
                )
            if chosen.flag_bits & 1:
                raise ReadingError("encrypted", f"{name} is protected with a password. Upload it without one.", file=name)
            with archive.open(chosen) as inner:
                pour(inner, room, name, lambda: packed.tell() - chosen.header_offset, limits)
            data_files = [i.filename for i in usable if i.filename.lower().endswith(USABLE)]
            return Plain(room, "", "zip", chosen.filename, data_files or [chosen.filename])
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, ValueError, OverflowError, RuntimeError):
        raise ReadingError("damaged", f"The archive {name} is damaged or cut short. Pack it again.", file=name) from None


def is_usable(info: zipfile.ZipInfo) -> bool:
    """A plain file with something in it; links and the litter of file managers are passed over."""
    last = info.filename.rsplit("/", 1)[-1]
    link = stat.S_ISLNK(info.external_attr >> 16)
    return not (info.is_dir() or link or last.startswith(".") or info.filename.startswith("__MACOSX/")) and info.file_size > 0


def pour(source: IO[bytes] | gzip.GzipFile, target: Path, name: str, taken: Callable[[], int], limits: Limits) -> None:
    """Write what comes out, and stop as soon as it is more than an honest file would hold. `taken` counts packed bytes."""
    done = 0
    with target.open("wb") as out:
        while data := source.read(MIB):
            done += len(data)
            if done > limits.plain or done > max(limits.ratio * taken(), FLOOR):
                out.truncate(0)
                size = f"{limits.plain // MIB:,} MB" if done > limits.plain else f"{limits.ratio} times its own size"
                raise ReadingError("bomb", f"{name} unpacks to more than {size}. Upload the data itself, in parts if need be.", file=name)
            out.write(data)
