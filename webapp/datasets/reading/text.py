"""Bytes in any usual encoding to UTF-8 with \\n at each line end, without NUL, a block at a time."""

from __future__ import annotations

import codecs
import re
import unicodedata
from collections.abc import Callable, Iterator
from pathlib import Path

from webapp.datasets.reading import MIB, Problem, ReadingError, encodings
from webapp.datasets.reading.encodings import Guess, title

BLOCK = 8 * MIB
SAMPLE = 4 * MIB
LOOKED_AT = 20_000  # characters
LINE = 8 * MIB  # longest line that is still looked at
BOMS = (
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF32_LE, "utf-32-le"),
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)
WITH_STATE = ("utf-16", "utf-32", "iso2022", "hz")  # encodings of which a line cannot be read alone
CONTROL = bytes(set(range(32)) - set(b"\0\t\n\v\f\r\x1a\x1b")) + b"\x7f"
Note = Callable[[Problem], None]


def detect(path: Path, name: str) -> Guess:
    """The encoding, by byte order mark, by being valid UTF-8, else by how readable the text would be."""
    with path.open("rb") as file:
        sample = file.read(SAMPLE)
    for bom, encoding in BOMS:
        if sample.startswith(bom):
            return Guess(encoding)
    if wide := without_bom(sample):
        return Guess(wide, 0.9, ("utf-8",))
    if shifted := encodings.escaped(sample[: sample.rfind(b"\n", 0, 65_536) + 1 or None]):
        return Guess(shifted)
    odd = len(sample) - len(sample.translate(None, CONTROL)) + max(0, sample.count(0) - 8)
    if odd > len(sample) / 50:
        raise ReadingError("binary", f"{name} is not text: it holds bytes that no text has. Export the data as CSV.", file=name)
    whole = sample[: sample.rfind(b"\n") + 1 or None]
    lines = [line for line in whole.splitlines() if not line.isascii()]
    good = sum(is_utf8(line) for line in lines)
    if len(lines) == good:
        return Guess("utf-8")
    some = b"\n".join(lines)[:65_536]
    if good >= (0.2 if paired(some) else 0.02) * len(lines):  # by chance a line of GBK is valid UTF-8, hardly one of Latin-1
        return Guess("utf-8", 0.6, ("cp1252", "gb18030"))
    return encodings.guess(some[: some.rfind(b"\n")] if len(some) == 65_536 else some)


def without_bom(sample: bytes) -> str:
    """UTF-16 without its mark: nearly every second byte of Western text is NUL."""
    half = max(1, len(sample) // 2)
    if sample[1::2].count(0) > 0.4 * half and sample[::2].count(0) < 0.05 * half:
        return "utf-16-le"
    if sample[::2].count(0) > 0.4 * half and sample[1::2].count(0) < 0.05 * half:
        return "utf-16-be"
    if sample.count(0):  # East Asian text: NUL bytes only in line ends and marks
        fits = [name for name in ("utf-16-le", "utf-16-be") if is_text(encodings.decoded(sample[: len(sample) // 2 * 2], name))]
        return fits[0] if len(fits) == 1 else ""
    return ""


def is_text(text: str | None) -> bool:
    """Lines of letters, without characters that nobody writes."""
    if not text or "\n" not in text or "\0" in text:
        return False
    strange = sum(unicodedata.category(c) in {"Cn", "Co", "Cc"} and c not in "\t\r\n" for c in text[:LOOKED_AT])
    everyday = sum(
        c.isascii() or "\u3000" <= c <= "\u30ff" or "\u4e00" <= c <= "\u9fff" or "\uac00" <= c <= "\ud7a3" for c in text[:LOOKED_AT]
    )
    return not strange and everyday > 0.8 * len(text[:LOOKED_AT])


def is_utf8(line: bytes) -> bool:
    try:
        line.decode()
    except UnicodeDecodeError:
        return False
    return True


def paired(sample: bytes) -> float:
    """Share of high bytes that stand in runs of two or more; in Western text a high byte mostly stands alone."""
    high = len(re.findall(rb"[\x80-\xff]", sample))
    alone = len(re.findall(rb"(?<![\x80-\xff])[\x80-\xff](?![\x80-\xff])", sample))
    share = 1 - alone / max(1, high)
    return share if share > 0.5 else 0.0


def taste(path: Path, encoding: str, size: int) -> str:
    """The first lines, as well as they can be read."""
    with path.open("rb") as file:
        skip_bom(file.read(4), encoding, file.seek)
        data = file.read(size)
    text = codecs.getincrementaldecoder(encoding)("replace").decode(data).replace("\r\n", "\n").replace("\r", "\n").replace("\0", "")
    return text if len(data) < size else text[: text.rfind("\n") + 1] or text


def blocks(
    path: Path, name: str, encoding: str, note: Note, progress: Callable[[str, int, int], None], longest: int = LINE
) -> Iterator[bytes]:
    """The text as UTF-8, whole lines at a time. Lines that do not fit the encoding are read as well as can be, and named."""
    total, line, rest = path.stat().st_size, 1, b""
    wide = codecs.getincrementaldecoder(encoding)("replace") if encoding.startswith(WITH_STATE) else None
    with path.open("rb") as file:
        skip_bom(file.read(4), encoding, file.seek)
        while True:
            data = file.read(BLOCK)
            progress("reading", file.tell(), total)
            raw = (wide.decode(data, not data).encode("utf-8", "replace") if wide else data) if data or wide else b""
            rest += raw
            if data:
                cut = max(rest.rfind(b"\n"), rest.rfind(b"\r", 0, len(rest) - 1)) + 1  # a \r at the very end may be half of \r\n
                whole, rest = rest[:cut], rest[cut:]
                if len(rest) > longest:
                    where = line + whole.count(b"\n")
                    raise ReadingError(
                        "line_too_long", f"Line {where:,} of {name} is longer than {longest // MIB} MB: is this a table?", name, where
                    )
            else:
                whole, rest = rest, b""
            clean = tidy(whole.replace(b"\r\n", b"\n").replace(b"\r", b"\n"), "utf-8" if wide else encoding, line, note)
            line += clean.count(b"\n")
            if b"\xef" in clean and codecs.BOM_UTF8 in clean:  # files that were joined have one at the beginning of each
                clean = clean.removeprefix(codecs.BOM_UTF8).replace(b"\n" + codecs.BOM_UTF8, b"\n")
            if clean:
                yield clean
            if not data:
                return


def skip_bom(head: bytes, encoding: str, seek: Callable[[int], object]) -> None:
    seek(next((len(bom) for bom, of in BOMS if of == encoding and head.startswith(bom)), 0))


def tidy(data: bytes, encoding: str, line: int, note: Note) -> bytes:
    """`data` as UTF-8 without NUL, what was odd being noted with its line."""
    if 0 in data:
        for number, one in enumerate(data.split(b"\n"), line):
            if 0 in one:
                note(Problem(number, "nul", f"Line {number:,} held NUL bytes, which were removed.", level="warning"))
        data = data.replace(b"\0", b"")
    try:
        text = data.decode(encoding)
    except UnicodeDecodeError:
        return b"\n".join(rescue(t, encoding, n, note) for n, t in enumerate(data.split(b"\n"), line))
    return data if encoding == "utf-8" else text.encode()


def rescue(data: bytes, encoding: str, line: int, note: Note) -> bytes:
    try:
        return data.decode(encoding).encode()
    except UnicodeDecodeError:
        other = "cp1252" if encoding == "utf-8" else encoding
        message = f"Line {line:,} is not {title(encoding)}; it was read as {title(other)}. Check its special characters."
        note(Problem(line, "spoilt_encoding", message, level="warning"))
        return data.decode(other, "replace").encode()
