"""Bytes in any usual encoding to UTF-8 with \\n at each line end, without NUL, a block at a time."""

from __future__ import annotations

import codecs
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from webapp.datasets.reading import MIB, Problem, ReadingError

BLOCK = 8 * MIB
SAMPLE = 4 * MIB
LINE = 8 * MIB  # longest line that is still looked at
BOMS = (
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF32_LE, "utf-32-le"),
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)
EAST = ("gb18030", "big5", "cp932", "euc_kr", "euc_jp")
WEST = ("cp1252", "mac_roman", "cp1250")  # mostly ASCII letters
OTHER = ("cp1251", "koi8_r", "cp1253", "cp1255", "cp1256", "cp874")  # mostly others
STRANGE = 0.35
FEW = 10  # bytes above ASCII; fewer prove nothing
NAMES = {"utf-8": "UTF-8", "utf-16-le": "UTF-16", "utf-16-be": "UTF-16", "gb18030": "GB18030", "cp1252": "Windows-1252"}
CONTROL = bytes(set(range(32)) - set(b"\0\t\n\v\f\r\x1a\x1b")) + b"\x7f"
Note = Callable[[Problem], None]


@dataclass(frozen=True)
class Guess:
    encoding: str
    confidence: float = 1.0
    others: list[str] = field(default_factory=list)


def title(encoding: str) -> str:
    return NAMES.get(encoding, encoding)


def detect(path: Path, name: str) -> Guess:
    """The encoding, by byte order mark, by being valid UTF-8, else by how readable the text would be."""
    with path.open("rb") as file:
        sample = file.read(SAMPLE)
    for bom, encoding in BOMS:
        if sample.startswith(bom):
            return Guess(encoding)
    if wide := without_bom(sample):
        return Guess(wide, 0.9, ["utf-8"])
    odd = len(sample) - len(sample.translate(None, CONTROL)) + max(0, sample.count(0) - 8)
    if odd > len(sample) / 50:
        raise ReadingError("binary", f"{name} is not text: it holds bytes that no text has. Export the data as CSV.", file=name)
    lines = [line for line in sample[: sample.rfind(b"\n") + 1 or None].splitlines() if not line.isascii()]
    good = sum(is_utf8(line) for line in lines)
    if len(lines) == good:
        return Guess("utf-8")
    some = b"\n".join(lines)[:65_536]
    if good >= (0.2 if paired(some) else 0.02) * len(lines):  # by chance a line of GBK is valid UTF-8, hardly one of Latin-1
        return Guess("utf-8", 0.6, ["cp1252", "gb18030"])
    return legacy(some)


def without_bom(sample: bytes) -> str:
    """UTF-16 without its mark: nearly every second byte of Western text is NUL."""
    half = max(1, len(sample) // 2)
    if sample[1::2].count(0) > 0.4 * half and sample[::2].count(0) < 0.05 * half:
        return "utf-16-le"
    if sample[::2].count(0) > 0.4 * half and sample[1::2].count(0) < 0.05 * half:
        return "utf-16-be"
    return ""


def is_utf8(line: bytes) -> bool:
    try:
        line.decode()
    except UnicodeDecodeError:
        return False
    return True


def legacy(sample: bytes) -> Guess:
    """One of the encodings from before UTF-8. East Asian ones show by pairs of high bytes, others by how many letters are high."""
    many = len(re.findall(rb"[\x80-\xff]", sample))
    if (pairs := paired(sample)) and many >= FEW:
        east = sorted((strangeness(sample.decode(e, "replace"), e), e) for e in EAST if decodes(sample, e))
        if east and east[0][0] < STRANGE:
            return Guess(east[0][1], 0.9 if len(sample) > 200 else pairs * 0.7, [*(e for _, e in east[1:]), "cp1252"])
    high = many / max(1, len(re.findall(rb"[A-Za-z\x80-\xff]", sample)))
    candidates = WEST if high < 0.3 or many < FEW else tuple(reversed(OTHER))
    found = candidates[0]
    if not decodes(sample, found) or candidates is not WEST:
        from charset_normalizer import from_bytes

        found = next((m.encoding for m in from_bytes(sample, cp_isolation=list(candidates)) if m.encoding in candidates), candidates[-1])
    return Guess(found, 0.8, [e for e in (*WEST, *OTHER, "gb18030") if e != found])


def paired(sample: bytes) -> float:
    """Share of high bytes that stand in runs of two or more; in Western text a high byte mostly stands alone."""
    high = len(re.findall(rb"[\x80-\xff]", sample))
    alone = len(re.findall(rb"(?<![\x80-\xff])[\x80-\xff](?![\x80-\xff])", sample))
    share = 1 - alone / max(1, high)
    return share if share > 0.5 else 0.0


def decodes(sample: bytes, encoding: str) -> bool:
    try:
        codecs.getincrementaldecoder(encoding)().decode(sample)
    except UnicodeDecodeError:
        return False
    return True


def strangeness(text: str, encoding: str) -> float:
    """How unlikely this text is, as shares of characters: the usual ones of each script cost nothing."""
    wide = [c for c in text if c > "\x7f"]
    if not wide:
        return 1.0
    kana = sum("\u3040" <= c <= "\u30ff" for c in wide)
    hangul = sum("\uac00" <= c <= "\ud7a3" for c in wide)
    common = sum(is_common(c, encoding) for c in wide)
    punctuation = sum(c in "，。！？、；：“”‘’《》（）…—「」·￥　" for c in wide)
    at_home = {"cp932": kana, "euc_jp": kana, "euc_kr": hangul}.get(encoding, 0)
    return 1 - (common + punctuation + at_home) / len(wide)


def is_common(c: str, encoding: str) -> bool:
    """A character of the first, everyday level of its national standard."""
    if not "\u4e00" <= c <= "\u9fff":
        return False
    first = {
        "gb18030": ("gb2312", 0xB0, 0xD7),
        "big5": ("big5", 0xA4, 0xC6),
        "cp932": ("cp932", 0x88, 0x98),
        "euc_jp": ("euc_jp", 0xB0, 0xCF),
    }
    if encoding not in first:
        return False
    codec, low, high = first[encoding]
    try:
        return low <= c.encode(codec)[0] <= high
    except UnicodeEncodeError:
        return False


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
    wide = codecs.getincrementaldecoder(encoding)("replace") if encoding.startswith(("utf-16", "utf-32")) else None
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
