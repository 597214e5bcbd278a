"""CSV and its relatives. Whole blocks go through numpy and polars; a block that breaks the rules is read record by record."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from itertools import islice
from typing import Any

import numpy as np
import polars as pl

from webapp.datasets.reading import MIB, Problem
from webapp.datasets.reading import header as headers
from webapp.datasets.reading.staging import Desk, frames_of

QUOTE, NEWLINE = 34, 10
DELIMITERS = (",", "\t", ";", "|")
HEAD = 256 * 1024  # bytes that are tasted
MOST_FAULTS = 10_000  # broken quotes in one file
STARTS = re.compile(r'(?m)(?:^|\t)"')  # cells of a tab-separated table that begin with a quotation mark,
WHOLE = re.compile(r'(?:^|(?<=[\t\n]))"[^"\t]*(?:""[^"\t]*)*"(?=[\t\n]|$)')  # and those that also end with it
MOST_TASTED = 300  # records
WRAPPED = re.compile(r'"(?:[^"\n]|"")*+"')  # a line that is one quoted cell
SAYS = re.compile(r'"?sep=([,;|\t ])"?[,;|\t]*\n', re.IGNORECASE)  # a first line that Excel understands
RULE = re.compile(r"[|+:=\s-]*")  # drawn below the names of columns
LOOK = 30  # lines in which a rule may be found
R_LINES = re.compile(r'(?:"(?:[^"\n]|"")*+"|[\w.-]++)(?: (?:"(?:[^"\n]|"")*+"|[\w.-]++))++\n"')  # names between blanks, then a quoted cell
BEHIND_BLANKS = re.compile(r'\s+"')
CURLY = (("“", "”"), ("„", "“"), ("„", "”"), ("«", "»"), ("”", "”"))  # that a text processor puts where quotation marks were typed
TALL = 50  # lines in one record that make one wonder


@dataclass(frozen=True)
class Dialect:
    delimiter: str  # one ASCII character
    quoting: bool = True
    escapes: bool = False  # MySQL: a backslash takes its meaning from the next character, and \N is no value
    blanks: bool = False  # those around a cell do not count, and a quotation mark may stand behind them
    marks: tuple[str, str] = ('"', '"')  # before and behind a quoted cell
    ruled: bool = False  # Markdown and the like: bars around the cells, lines of dashes below the names

    @property
    def is_plain(self) -> bool:
        """Whether numpy and polars know it."""
        return not (self.escapes or self.blanks or self.ruled or self.marks[0] != '"')

    @property
    def body(self) -> str:
        """What stands between the quotation marks of a cell, and they themselves."""
        first, last = self.marks
        if self.escapes:
            return r'"([^"\\]*+(?:(?:\\[\s\S]|"")[^"\\]*+)*+)"'
        return r'"([^"]*+(?:""[^"]*+)*+)"' if first == '"' else f"{first}([^{last}]*+){last}"

    @property
    def field(self) -> re.Pattern[str]:
        """A quoted field that ends where fields end, else everything up to the next delimiter, quotes included."""
        d = re.escape(self.delimiter)
        plain = rf"((?:[^{d}\n\\]|\\[\s\S])*+)" if self.escapes else rf"([^{d}\n]*+)"
        blank = " *+" if self.blanks else ""
        return re.compile(rf"{blank}{self.body}{blank}(?=[{d}\n]|\Z)|{plain}" if self.quoting else rf"(?!x)x()|{plain}")

    def unquoted(self, cell: str) -> str:
        if self.escapes:
            return self.unescaped(cell.replace('""', '"'))
        return cell.replace('""', '"') if self.marks[0] == '"' else cell

    def bare(self, cell: str) -> str:
        if self.escapes:
            return "" if cell == r"\N" else self.unescaped(cell)
        return cell.strip() if self.blanks else cell

    def unescaped(self, cell: str) -> str:
        """Letters after a backslash stay as they are: not every program that escapes quotation marks escapes backslashes."""
        return re.sub(rf"\\([\"'\\\n{re.escape(self.delimiter)}])", r"\1", cell) if "\\" in cell else cell


@dataclass(frozen=True)
class Record:
    line: int
    lines: int
    cells: list[str]
    broken: bool = False  # a quotation mark that opens a field is never closed properly
    bytes: int = 0


def records(text: str, dialect: Dialect, line: int, width: int = 0, final: bool = True) -> Iterator[Record | str]:
    """The records of `text`, which consists of whole lines; then, as a str, what may go on in the next block.

    A record of several lines that has not `width` cells ends with its first line: an unclosed quote costs one line.
    """
    if dialect.ruled:
        yield from ruled(text, line)
        return
    field, at, end, first = dialect.field, 0, len(text), dialect.marks[0]
    while at < end:
        stop = text.find("\n", at)
        stop = end if stop < 0 else stop
        start = at
        if not dialect.quoting or (first not in (row := text[at:stop]) and not (dialect.escapes and "\\" in row)):
            cells, broken, at = text[at:stop].split(dialect.delimiter), False, stop
            cells = cells if dialect.is_plain else [dialect.bare(cell) for cell in cells]
        else:
            cells, broken, at, open_at_end = quoted(text, dialect, field, at, min(end, at + MIB))
            if open_at_end and not final and end - start < MIB:
                yield text[start:]
                return
            if broken or (at > stop and width and len(cells) != width):
                cells, broken, at, _ = quoted(text, dialect, field, start, stop)
                broken = True
            if width and (broken or len(cells) != width) and '\\"' in text[start:stop] and dialect.is_plain:
                cells, broken, at = escaped(text, dialect, start, min(end, start + MIB), width) or (cells, broken, at)
        lines = text.count("\n", start, at) + 1
        yield Record(line, lines, cells, broken, at - start)
        line += lines
        at += 1


def quoted(text: str, dialect: Dialect, field: re.Pattern[str], at: int, most: int) -> tuple[list[str], bool, int, bool]:
    """(cells, broken, where the record ends, whether a quote was still open at the end of the text)."""
    cells, broken, open_at_end, first = [], False, False, dialect.marks[0]
    while True:
        match = field.match(text, at, most)
        assert match
        if match.group(1) is not None:
            cells.append(dialect.unquoted(match.group(1)))
        else:
            cells.append(dialect.bare(match.group(2)))
            if match.group(2).lstrip(" " if dialect.blanks else "").startswith(first) or text.startswith(first, at):
                broken = True
                open_at_end = open_at_end or not re.compile(dialect.body).match(text, at, most)
        at = match.end()
        if at >= most or text[at] == "\n":
            return cells, broken, at, open_at_end
        at += 1


def escaped(text: str, dialect: Dialect, at: int, most: int, width: int) -> tuple[list[str], bool, int] | None:
    """A single record with backslashes before its quotation marks, in a table that has none where it was tasted."""
    other = replace(dialect, escapes=True)
    cells, broken, end, _ = quoted(text, other, other.field, at, most)
    return None if broken or len(cells) != width else (cells, False, end)


def ruled(text: str, line: int) -> Iterator[Record]:
    """Records between bars, without the lines that are drawn between them."""
    for number, row in enumerate(text.removesuffix("\n").split("\n"), line):
        if not is_rule(row):
            inner = row.strip().removeprefix("|").removesuffix("|")
            cells = [cell.strip().replace("\\|", "|") for cell in re.split(r"(?<!\\)\|", inner)]
            yield Record(number, 1, cells, False, len(row))


def is_rule(row: str) -> bool:
    return ("--" in row or "==" in row) and bool(RULE.fullmatch(row))


# --- What kind of table this is -----------------------------------------------------------------------------------------
@dataclass(frozen=True)
class Sniffed:
    dialect: Dialect
    header_row: int  # line, 0 for none
    names: list[str]
    width: int
    head: list[list[str]]
    guessed: bool
    sure: float  # share of records that have as many cells as most
    names_fit: bool = True  # else the header is one short, and where it begins is a guess


def sniff(text: str, options: dict[str, Any], named_csv: bool) -> Sniffed | None:
    """None: these are lines of plain text, not a table."""
    dialects = candidates(text, options.get("delimiter"))
    if is_one_column(text):
        dialects = [dialect for dialect in dialects if dialect.quoting]
    best, sure = max(((d, taste(text, d)) for d in dialects), key=lambda pair: pair[1])
    if best == Dialect("\t") and len(STARTS.findall(text)) > 2 * len(WHOLE.findall(text)):
        best = Dialect("\t", quoting=False)
    least = 0.0 if options.get("delimiter") else 0.4 if named_csv or best.ruled else 0.7 if best.delimiter == "\t" else 0.95
    if sure[0] <= least or (not named_csv and not sure[1] and is_fixed_width(text)):
        if not named_csv:
            return None
        best = Dialect(",")
    found = [r for r in records(text, best, 1) if isinstance(r, Record)][:400]
    rows = [r.cells for r in found]
    if options.get("header_row") is not None:
        line = int(options["header_row"])
        index = next((i for i, r in enumerate(found) if r.line <= line < r.line + r.lines), -1) if line else -1
    else:
        index = headers.guess(rows[1:]) if SAYS.match(text) else headers.guess(rows)
        index += bool(SAYS.match(text)) and index >= 0
    width = headers.width_of(rows[index + 1 :] or rows)
    names = rows[index] if index >= 0 else [""] * width
    is_sure = True
    if len(names) < width and index >= 0:
        lacking = [""] * (width - len(names))
        before, is_sure = headers.names_rows(rows[index + 1 :], names, width)
        names = lacking + names if before else names + lacking
    widths = Counter(len(row) for row in rows[index + 1 :])
    if index >= 0 and (len(names) > width or widths[len(rows[index])] == max(widths.values(), default=0)):
        width, names, is_sure = len(rows[index]), rows[index], True
    row = found[index].line if index >= 0 else 0
    return Sniffed(best, row, names, width, [c[:50] for c in rows[:12]], options.get("header_row") is None, sure[0], is_sure)


def candidates(text: str, delimiter: str | None) -> list[Dialect]:
    """The dialects worth tasting, the usual ones first; others where the text shows a sign of them."""
    said = SAYS.match(text)
    signs = [delimiter] if delimiter else [said[1]] if said else list(DELIMITERS)
    lines = text.split("\n", LOOK)[:LOOK]
    if (
        "|" in signs
        and any(is_rule(row) and re.search(r"[|+]", row.strip("|+ ")) for row in lines)
        and sum("|" in row for row in lines) > 1
    ):
        return [Dialect("|", ruled=True)]
    if not delimiter and not said and R_LINES.match(text):
        signs.append(" ")
    dialects = [Dialect(d, quoting) for quoting in (True, False) for d in signs]
    if '\\"' in text:
        dialects += [Dialect(d, escapes=True) for d in signs]
    if re.search(rf'(?:^|[{re.escape("".join(signs))}]) +"', text, re.MULTILINE):
        dialects += [Dialect(d, blanks=True) for d in signs if d != " "]
    for first, last in CURLY:
        cell = f"{first}[^{last}\n]*{last}"
        if re.match(rf"{cell}(?:[{re.escape(''.join(signs))}]{cell})+\n", text):  # the names themselves stand in such marks
            return [Dialect(d, marks=(first, last)) for d in signs]
        if re.search(rf"(?:^|[{re.escape(''.join(signs))}]){cell}(?:$|[{re.escape(''.join(signs))}])", text, re.MULTILINE):
            dialects += [Dialect(d, marks=(first, last)) for d in signs]
    return dialects


def is_one_column(text: str) -> bool:
    """Whether each record is one cell, and delimiters stand only within quotation marks."""

    def holds_in_one(sign: str) -> bool:
        found = [r for r in islice(records(text, Dialect(sign), 1, final=False), MOST_TASTED) if isinstance(r, Record)]
        return all(len(r.cells) <= 1 and not r.broken for r in found) and any(sign in cell for r in found for cell in r.cells)

    return '"' in text and any(map(holds_in_one, DELIMITERS))


def is_wrapped(text: str) -> bool:
    """Whether each line stands in quotation marks as a whole, which happens to a table that is saved as a table once more."""
    lines = [line for line in text.split("\n")[:LOOK] if line.strip()]
    if len(lines) < 3 or not all(map(WRAPPED.fullmatch, lines)):
        return False
    inside = unwrapped("\n".join(lines)).split("\n")
    named = [sign for sign in DELIMITERS if {name.strip(' "').lower() for name in inside[0].split(sign)} & headers.known_names()]
    return any(all(sign in line for line in inside) for sign in named)


def unwrapped(text: str) -> str:
    return "\n".join(line[1:-1].replace('""', '"') if WRAPPED.fullmatch(line) else line for line in text.split("\n"))


def is_torn(cells: list[str], dialect: Dialect) -> bool:
    """Whether quotation marks of another kind than the dialect's seem to hold the cells together."""
    if not dialect.blanks and any(map(BEHIND_BLANKS.match, cells)) and any(cell.rstrip().endswith('"') for cell in cells):
        return True
    return any(cell.startswith(first) and last not in cell and any(last in c for c in cells) for cell in cells for first, last in CURLY)


def says_delimiter(head: list[list[str]]) -> bool:
    """Whether the first line names the delimiter, for Excel."""
    return bool(head and head[0] and head[0][0].strip('"').lower().startswith("sep="))


def taste(text: str, dialect: Dialect) -> tuple[float, bool, float, int]:
    """How well the dialect fits: share of records of the usual width (with more than one cell), whether the first one has it or
    lacks one cell as a header may, few broken quotes, width."""
    widths: Counter[int] = Counter()
    broken = first = 0
    for number, record in enumerate(records(text, dialect, 1)):
        if number == MOST_TASTED or isinstance(record, str):
            break
        if any(record.cells) and not (number == 0 and SAYS.match(text)):
            widths[len(record.cells)] += 1
            first = first or len(record.cells)
            broken += record.broken or (dialect.quoting and is_torn(record.cells, dialect))
    total = sum(widths.values())
    width = max(widths, key=lambda w: (widths[w], w), default=1)
    if width == 1 or not total:
        return (0.0, False, 0.0, 0)
    share = widths[width] / total
    quoted_right = 1 - broken / total if dialect.quoting else 0.5  # quotes may be letters when many are no quotes
    quoted_right = quoted_right if quoted_right > 0.8 or not dialect.quoting else 0.1
    return (round(share, 1) if share < 1 else 1.0, first > 1 and first >= width - 1, quoted_right, width)


# --- Reading it ---------------------------------------------------------------------------------------------------------
class Table:
    """Frames of a delimited text, blocks of whole lines going in."""

    def __init__(self, sniffed: Sniffed, desk: Desk) -> None:
        self.dialect, self.width, self.desk = sniffed.dialect, sniffed.width, desk
        self.header_row = sniffed.header_row
        self.header = [cell.strip() for cell in sniffed.names] if sniffed.header_row else []
        self.columns = desk.name_columns(sniffed.names)
        self.line, self.faults, self.read, self.slow = 1, 0, 0, False
        self.last: tuple[int, list[str]] | None = None

    def frames(self, blocks: Iterable[bytes]) -> Iterator[pl.DataFrame]:
        """All good rows. The very last one is held back until it is known not to be a line of totals."""
        held: pl.DataFrame | None = None
        for frame in self._frames(blocks):
            good = self._without_headers(frame)
            if not good.height:
                continue
            if held is not None:
                yield held
            self.read += good.height
            held = good
        if held is not None:
            yield self._without_total(held)

    def _frames(self, blocks: Iterable[bytes]) -> Iterator[pl.DataFrame]:
        rest = b""
        for block in blocks:
            frame, rest = self._block(rest + block, final=False)
            yield frame
            if len(rest) > 16 * MIB:
                raise self.desk.fail("line_too_long", f"The record in line {self.line:,} never ends. Check its quotation marks.", self.line)
        if rest:
            yield self._block(rest if rest.endswith(b"\n") else rest + b"\n", final=True)[0]

    def _block(self, data: bytes, final: bool) -> tuple[pl.DataFrame, bytes]:
        if not final and not data.endswith(b"\n"):
            cut = data.rfind(b"\n") + 1
            frame, rest = self._block(data[:cut], final) if cut else (self._empty(), b"")
            return frame, rest + data[cut:]
        if not self.dialect.is_plain:
            return self._slowly(data, final)
        laid = layout(np.frombuffer(data, np.uint8), ord(self.dialect.delimiter), self.dialect.quoting)
        if laid is None or (final and laid.end < len(data)) or len(data) - laid.end > MIB:
            return self._slowly(data, final)
        return self._quickly(data, laid)

    def _quickly(self, data: bytes, laid: Layout) -> tuple[pl.DataFrame, bytes]:
        lines = self.line + laid.lines
        body = lines > self.header_row
        blank = laid.starts == laid.ends
        long = laid.ends - laid.starts > self.desk.limits.cell
        good = body & ~blank & ~long & (laid.widths == self.width)
        bad = np.flatnonzero(body & ~blank & ~good)
        kept = data[: laid.end] if good.all() else b"".join(data[a:b] for a, b in runs(good, laid))
        frame = self._parse(kept)
        if frame.height != int(good.sum()):
            return self._slowly(data, final=False)
        for index in bad:
            text = data[laid.starts[index] : laid.ends[index]].decode()
            self._judge(next(r for r in records(text, self.dialect, int(lines[index])) if isinstance(r, Record)))
        self.line += laid.newlines
        return frame.insert_column(0, pl.Series("_row", lines[good], pl.Int64)), data[laid.end :]

    def _parse(self, data: bytes) -> pl.DataFrame:
        if not data:
            return pl.DataFrame(schema=dict.fromkeys(self.columns, pl.String))
        try:
            frame = pl.read_csv(
                data,
                has_header=False,
                schema=dict.fromkeys(self.columns, pl.String),
                separator=self.dialect.delimiter,
                quote_char='"' if self.dialect.quoting else None,
            )
        except pl.exceptions.PolarsError:
            return self._empty()  # the count will not fit, and the slow way is taken
        return frame.with_columns(pl.all().fill_null(""))

    def _empty(self) -> pl.DataFrame:
        return pl.DataFrame(schema={"_row": pl.Int64, **dict.fromkeys(self.columns, pl.String)})

    def _slowly(self, data: bytes, final: bool) -> tuple[pl.DataFrame, bytes]:
        self.slow = True
        rest = ""
        good: list[tuple[int, list[str]]] = []
        for record in records(data.decode(), self.dialect, self.line, self.width, final):
            if isinstance(record, str):
                rest = record
                break
            self.line = record.line + record.lines
            if record.line > self.header_row and self._judge(record):
                good.append((record.line, record.cells))
        return pl.concat([self._empty(), *frames_of(iter(good), self.columns)]), rest.encode()

    def _judge(self, record: Record) -> bool:
        """Whether the record may be kept; if not, it is put down with its reason."""
        has, line = len(record.cells), record.line
        if has == 1 and not record.cells[0].strip():  # a line with nothing in it is no record, unless records are lines
            self.desk.blank += self.width == 1 and record.bytes > 0
            return False
        if record.bytes > self.desk.limits.cell:
            size = self.desk.limits.cell // MIB
            self.desk.reject(line, "too_long", f"Line {line:,} is longer than {size} MB.", [cell[:500] for cell in record.cells[:20]])
            return False
        if record.broken and self.dialect.quoting:
            self.faults += 1
            if self.faults > MOST_FAULTS:
                raise self.desk.fail("quotes", f"More than {MOST_FAULTS:,} lines have broken quotation marks. Export the file again.", line)
        if has != self.width:
            if record.broken:
                self.desk.reject(line, "unclosed_quote", f"Line {line:,} opens a quotation mark that is not closed.", record.cells)
            else:
                self.desk.reject(
                    line,
                    "ragged",
                    f"Line {line:,} has {has} {'cell' if has == 1 else 'cells'} where {self.width} are expected.",
                    record.cells,
                )
            return False
        if record.broken:
            message = f"Line {line:,} has a quotation mark that is not closed; it was kept as it stands. Check its cells."
            self.desk.note(Problem(line, "unclosed_quote", message, level="warning"))
        if record.lines > TALL:
            message = f"The record in line {line:,} spans {record.lines} lines: is a quotation mark missing?"
            self.desk.note(Problem(line, "tall_cell", message, level="warning"))
        return True

    def _without_headers(self, frame: pl.DataFrame) -> pl.DataFrame:
        """Without rows of blanks, and without the header where it stands again."""
        full = frame.filter(pl.any_horizontal(pl.col(self.columns).str.strip_chars() != ""))
        self.desk.blank += frame.height - full.height
        frame = full
        if not self.header or not frame.height:
            return frame
        again = pl.all_horizontal(pl.col(n).str.strip_chars() == h for n, h in zip(self.columns, self.header, strict=True))
        for row in frame.filter(again).iter_rows():
            self.desk.reject(row[0], "repeated_header", f"Line {row[0]:,} repeats the column names.", row[1:])
        return frame.filter(~again)

    def _without_total(self, frame: pl.DataFrame) -> pl.DataFrame:
        last = frame.row(-1)
        if headers.is_total([*last[1:]]):
            self.read -= 1
            self.desk.reject(last[0], "total_line", f"Line {last[0]:,} looks like a line of totals, not a record.", last[1:])
            return frame.head(-1)
        return frame


def is_fixed_width(text: str) -> bool:
    """Whether blanks, and nothing else, keep the columns apart: texts begin at the same place in nearly every line."""
    lines = [line for line in text.split("\n")[:50] if line.strip()]
    starts = Counter(match.end() for line in lines for match in re.finditer(r"(?<=\S) {2,}(?=\S)", line))
    return len(lines) >= 4 and max(starts.values(), default=0) >= 0.9 * len(lines)


@dataclass(frozen=True)
class Layout:
    """Where the records of a block lie, by byte."""

    starts: np.ndarray
    ends: np.ndarray
    widths: np.ndarray  # cells
    lines: np.ndarray  # physical line of each start, from 0
    newlines: int  # physical lines up to `end`
    end: int  # after the last whole record


def layout(data: np.ndarray, delimiter: int, quoting: bool) -> Layout | None:
    """None: quotation marks stand where the rules do not allow them, so counting cells would be guesswork."""
    breaks = all_breaks = np.flatnonzero(data == NEWLINE)
    cells = np.flatnonzero(data == delimiter)
    quotes = np.flatnonzero(data == QUOTE) if quoting else breaks[:0]
    if quotes.size:
        opening, closing = quotes[0::2], quotes[1::2]
        before = data[np.maximum(opening - 1, 0)]
        after = data[np.minimum(closing + 1, data.size - 1)]
        if not ((opening == 0) | (before == delimiter) | (before == NEWLINE) | (before == QUOTE)).all():
            return None
        if not ((closing == data.size - 1) | (after == delimiter) | (after == NEWLINE) | (after == QUOTE)).all():
            return None
        breaks = breaks[np.searchsorted(quotes, breaks) % 2 == 0]
        cells = cells[np.searchsorted(quotes, cells) % 2 == 0]
    starts = np.concatenate(([0], breaks[:-1] + 1)) if breaks.size else breaks
    widths = np.diff(np.searchsorted(cells, breaks), prepend=0) + 1
    end = int(breaks[-1]) + 1 if breaks.size else 0
    lines = np.searchsorted(all_breaks, starts)
    return Layout(starts, breaks, widths, lines, int(np.searchsorted(all_breaks, end)), end)


def runs(good: np.ndarray, laid: Layout) -> Iterator[tuple[int, int]]:
    """Byte ranges of neighbouring good records."""
    edges = np.flatnonzero(np.diff(good.astype(np.int8), prepend=0, append=0))
    for first, after in zip(edges[0::2], edges[1::2], strict=True):
        yield int(laid.starts[first]), int(laid.ends[after - 1]) + 1
