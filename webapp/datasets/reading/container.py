"""What is inside an upload that is packed. Everything is counted while it comes out, and nothing is ever written under its own name."""

from __future__ import annotations

import bz2
import contextlib
import errno
import gzip
import lzma
import stat
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, cast

import zstandard

from webapp.datasets.reading import MIB, Limits, ReadingError, signs

FLOOR = 64 * MIB  # a small archive of repetitive text may unpack more than `ratio` times up to here
TORN = (
    *(zipfile.BadZipFile, tarfile.TarError, zlib.error, lzma.LZMAError, zstandard.ZstdError),
    *(EOFError, ValueError, OverflowError, RuntimeError, OSError),
)
OPENERS: dict[str, Callable[[IO[bytes]], Any]] = {
    "gzip": lambda packed: gzip.GzipFile(fileobj=packed),
    "bzip2": bz2.BZ2File,
    "xz": lzma.LZMAFile,
    "zstd": lambda packed: zstandard.ZstdDecompressor().stream_reader(packed, read_across_frames=True),
}
ENDINGS = {"gzip": ".gz", "bzip2": ".bz2", "xz": ".xz", "zstd": ".zst"}


@dataclass(frozen=True)
class Member:
    name: str  # with its folders, as the archive has it
    size: int
    handle: zipfile.ZipInfo | tarfile.TarInfo

    @property
    def folders(self) -> list[str]:
        return [folder for folder in self.name.split("/")[:-1] if folder not in {"", ".", ".."}]

    @property
    def last(self) -> str:
        return self.name.rsplit("/", 1)[-1]


class Archive:
    """The plain files of a zip or tar that have something in them. Links and the litter of file managers are passed over."""

    def __init__(self, opened: zipfile.ZipFile | tarfile.TarFile, packed: IO[bytes], size: int, name: str, limits: Limits) -> None:
        self.opened, self.packed, self.size, self.name, self.limits = opened, packed, size, name, limits
        self.done = 0  # bytes of all members that came out
        members: list[Member] = []
        for number, member in enumerate(self._all(), 1):
            if number > limits.members:
                text = f"{name} holds more than {limits.members:,} files. Put the texts into one table, or upload a part of them."
                raise ReadingError("too_many_members", text, file=name)
            if member and member.size > 0 and not is_litter(member.name):
                members.append(member)
        self.members = members

    def _all(self) -> Iterator[Member | None]:
        if isinstance(self.opened, zipfile.ZipFile):
            for info in self.opened.infolist():
                plain = not info.is_dir() and not stat.S_ISLNK(info.external_attr >> 16)
                yield Member(name_in_zip(info), info.file_size, info) if plain else None
        else:
            for entry in self.opened:
                yield Member(entry.name, entry.size, entry) if entry.isreg() and not entry.issparse() else None

    def pour(self, member: Member, out: IO[bytes]) -> None:
        """Write the member's bytes. Raises ReadingError for what is encrypted, damaged or more than an honest archive would hold."""
        most = min(self.limits.plain, max(self.limits.ratio * self.size, FLOOR)) - self.done
        with whole(self.name):
            if isinstance(self.opened, zipfile.ZipFile):
                info: Any = member.handle
                if info.flag_bits & 1:
                    raise ReadingError("encrypted", f"{self.name} is protected with a password. Upload it without one.", file=self.name)
                with self.opened.open(info) as inner:
                    self.done += pour(inner, out, self.name, lambda: self.packed.tell() - info.header_offset, self.limits, most)
            elif plain := self.opened.extractfile(cast(tarfile.TarInfo, member.handle)):
                with plain:
                    self.done += pour(plain, out, self.name, lambda: self.size, self.limits, most)


@dataclass(frozen=True)
class Opened:
    """An upload that is packed no more: a file, or an archive whose members can be poured."""

    path: Path
    kind: str
    packed: str = ""
    archive: Archive | None = None


@contextlib.contextmanager
def opened(path: Path, name: str, room: Path, limits: Limits) -> Iterator[Opened]:
    """Unpack one layer (a compressed tar counts as one) into `room`, which is gone afterwards."""
    if not path.stat().st_size:
        raise ReadingError("empty", "This file is empty (0 bytes). Save it again and check its size before the upload.", file=name)
    kind, packed, size = signs.checked(signs.kind_of(path), name), "", path.stat().st_size
    try:
        if kind in signs.COMPRESSED:
            decompress(path, kind, room, name, limits)
            path, packed, kind = room, kind, signs.checked(signs.kind_of(room), name) if room.stat().st_size else "nothing"
            if kind in signs.COMPRESSED or kind in {"zip", "nothing"}:
                what = "is empty" if kind == "nothing" else "holds another archive"
                raise ReadingError("nested", f"The archive {name} {what}. Upload the file itself, or packed once.", file=name)
        if kind in signs.ARCHIVES:
            with archive_at(path, kind, size, name, limits) as archive:
                yield Opened(path, kind, f"{kind}{ENDINGS[packed]}" if packed else kind, archive)
        else:
            yield Opened(path, kind, packed)
    finally:
        room.unlink(missing_ok=True)


@contextlib.contextmanager
def archive_at(path: Path, kind: str, size: int, name: str, limits: Limits) -> Iterator[Archive]:
    with path.open("rb") as packed:
        with whole(name):
            archive: zipfile.ZipFile | tarfile.TarFile = zipfile.ZipFile(packed) if kind == "zip" else tarfile.TarFile(fileobj=packed)
            members = Archive(archive, packed, size, name, limits)
        with archive:
            yield members


@contextlib.contextmanager
def whole(name: str) -> Iterator[None]:
    """What the libraries say about broken archives, in words; a full disk is another matter."""
    try:
        yield
    except NotImplementedError:
        text = f"{name} is packed in a way that few programs read. Pack it again as an ordinary zip."
        raise ReadingError("damaged", text, file=name) from None
    except TORN as error:
        if isinstance(error, OSError) and error.errno in {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}:
            raise
        raise ReadingError("damaged", f"The archive {name} is damaged or cut short. Pack it again.", file=name) from None


def decompress(path: Path, kind: str, room: Path, name: str, limits: Limits) -> None:
    """All members of a compressed file, one after the other."""
    with whole(name), path.open("rb") as packed, OPENERS[kind](packed) as file, room.open("wb") as out:
        pour(file, out, name, packed.tell, limits, limits.plain)


def name_in_zip(info: zipfile.ZipInfo) -> str:
    """Many programs write UTF-8 without saying so, and Windows its own separator."""
    name = info.filename
    if not info.flag_bits & 0x800 and not name.isascii():
        with contextlib.suppress(UnicodeError):
            name = name.encode("cp437").decode()
    return name.replace("\\", "/")


def is_litter(name: str) -> bool:
    """What file managers leave in archives: __MACOSX, ._name, .DS_Store, Thumbs.db."""
    last = name.rsplit("/", 1)[-1]
    return last.startswith(".") or "__MACOSX" in name.split("/") or last in {"Thumbs.db", "desktop.ini"}


def pour(source: IO[bytes], out: IO[bytes], name: str, taken: Callable[[], int], limits: Limits, most: int) -> int:
    """Write what comes out, and stop as soon as it is more than an honest file would hold. `taken` counts packed bytes."""
    done = 0
    while data := source.read(MIB):
        done += len(data)
        if done > most or done > max(limits.ratio * taken(), FLOOR):
            out.seek(0)
            out.truncate()
            size = f"{limits.plain // MIB:,} MB" if done > limits.plain else f"{limits.ratio} times its own size"
            raise ReadingError("bomb", f"{name} unpacks to more than {size}. Upload the data itself, in parts if need be.", file=name)
        out.write(data)
    return done
