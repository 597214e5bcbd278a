"""Workbooks of Excel and LibreOffice: values only, no macros, no formulas run."""

from __future__ import annotations

import datetime as dt
import re
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from html import unescape
from itertools import islice
from pathlib import Path
from typing import IO, Any

from python_calamine import CalamineError, CalamineWorkbook, SheetVisibleEnum

from webapp.datasets.reading import MIB, Limits, Problem, ReadingError
from webapp.datasets.reading import header as headers
from webapp.datasets.reading.staging import Desk

MOST_ERRORS = 1_000  # cells
ERROR = re.compile(rb'<c r="([A-Z]+)(\d+)"[^>]*\bt="e"[^>]*>(?:<f[^>]*>[^<]*</f>|<f[^>]*/>)?<v>([^<]{1,40})</v>')
SHEET = re.compile(r'<sheet\b[^>]*?\bname="([^"]*)"[^>]*?\br:id="([^"]*)"')
TARGET = re.compile(r'<Relationship\b(?=[^>]*\bId="([^"]*)")(?=[^>]*\bTarget="([^"]*)")')


@dataclass(frozen=True)
class Sheet:
    name: str
    names: list[str]  # of all visible sheets
    rows: list[list[str]]
    header_row: int  # from 1, 0 for none
    head: list[list[str]]
    originals: list[str]


@dataclass(frozen=True)
class Book:
    together: list[Sheet]  # have the same columns, in the order of the workbook
    others: list[str]  # names of sheets that hold another table


def open_book(path: Path, name: str, limits: Limits, options: dict[str, Any]) -> Book:
    """The chosen sheet, or the visible one that looks most like a table with all that have the same columns."""
    check_size(path, name, limits)
    try:
        book = CalamineWorkbook.from_path(str(path))
        visible = [s.name for s in book.sheets_metadata if s.visible == SheetVisibleEnum.Visible] or list(book.sheet_names)
        tables = {sheet: cells_of(book, sheet, name, limits) for sheet in visible}
    except (CalamineError, OSError, ValueError):
        text = f"The workbook {name} cannot be read. Open it and save it again, or save it as CSV."
        raise ReadingError("damaged", text, file=name) from None
    wanted = options.get("sheet")
    if wanted and wanted not in tables:
        raise ReadingError("no_sheet", f"{name} has no visible sheet called {wanted}. There are: {', '.join(visible)}.", file=name)
    best = wanted or max(tables, key=lambda sheet: size_of_table(tables[sheet]))
    if not any(any(row) for row in tables[best]):
        raise ReadingError("no_rows", f"The sheet {best} of {name} is empty.", file=name)
    chosen = [best] if wanted else [sheet for sheet in visible if sheet == best or size_of_table(tables[sheet])]
    sheets = [sheet_of(each, visible, tables[each], options) for each in chosen]
    columns = next(sheet.originals for sheet in sheets if sheet.name == best)
    together = [sheet for sheet in sheets if sheet.name == best or (sheet.header_row and sheet.originals == columns)]
    return Book(together, [sheet.name for sheet in sheets if sheet not in together])


def sheet_of(name: str, visible: list[str], rows: list[list[str]], options: dict[str, Any]) -> Sheet:
    filled = [i for i, row in enumerate(rows) if any(row)][:400]
    if options.get("header_row") is not None:
        header = int(options["header_row"])
    else:
        found = headers.guess([trimmed(rows[i]) for i in filled])
        header = filled[found] + 1 if found >= 0 else 0
    width = max(len(trimmed(row)) for row in rows[header:] or rows)
    originals = rows[header - 1] if 0 < header <= len(rows) else []
    width = max(width, len(trimmed(originals)))
    originals = (originals + [""] * width)[:width]
    return Sheet(name, visible, rows, header, [row[:50] for row in rows[:12]], originals)


def check_size(path: Path, name: str, limits: Limits) -> None:
    if not zipfile.is_zipfile(path):
        return
    try:
        with zipfile.ZipFile(path) as archive:
            size = sum(info.file_size for info in archive.infolist())
    except (zipfile.BadZipFile, ValueError, NotImplementedError):
        size = 0
    if size > limits.workbook:
        text = f"The workbook {name} unpacks to more than {limits.workbook // MIB} MB. Save the sheet as CSV."
        raise ReadingError("bomb", text, file=name)


def cells_of(book: CalamineWorkbook, name: str, of: str, limits: Limits) -> list[list[str]]:
    sheet = book.get_sheet_by_name(name)
    cells = sheet.total_height * sheet.total_width
    if cells > limits.cells or sheet.total_width > limits.columns:
        text = f"The sheet {name} has {cells:,} cells; at most {limits.cells:,} can be read. Save it as CSV."
        raise ReadingError("too_large", text, file=of)
    rows = [[as_text(cell) for cell in row] for row in sheet.to_python(skip_empty_area=False)]
    for (top, left), (bottom, right) in sheet.merged_cell_ranges or []:
        for row in rows[top + 1 : bottom + 1] if left == right else []:  # one that reaches across columns is a title
            row[left] = rows[top][left]
    return rows


def size_of_table(rows: list[list[str]]) -> int:
    return sum(sum(map(bool, row)) for row in rows if sum(map(bool, row)) > 1)


def trimmed(row: list[str]) -> list[str]:
    last = max((i for i, cell in enumerate(row) if cell), default=-1)
    return row[: last + 1]


def as_text(cell: Any) -> str:
    if isinstance(cell, bool):
        return "true" if cell else "false"
    if isinstance(cell, float) and cell.is_integer() and abs(cell) < 1e15:
        return str(int(cell))
    if isinstance(cell, dt.datetime) and cell.time() == dt.time():
        return cell.date().isoformat()
    if isinstance(cell, dt.datetime | dt.date | dt.time):
        return cell.isoformat()
    return str(cell).replace("\0", "").replace("\r\n", "\n")


def rows(sheet: Sheet, desk: Desk) -> Iterator[tuple[int, list[str]]]:
    width = len(sheet.originals)
    last = max(i for i, row in enumerate(sheet.rows) if any(row))
    for index in range(sheet.header_row, last + 1):
        cells = (sheet.rows[index] + [""] * width)[:width]
        number = index + 1
        if not any(cell.strip() for cell in cells):
            desk.blank += 1
            continue
        if index == last and headers.is_total(cells):
            desk.reject(number, "total_line", f"Row {number:,} looks like a line of totals, not a record.", cells)
            continue
        yield number, cells


def note_errors(path: Path, sheet: Sheet, desk: Desk) -> None:
    """Cells that hold an error such as #N/A come out empty; the modern Excel format says where they are."""
    try:
        with zipfile.ZipFile(path) as archive:
            ids = {unescape(name): key for name, key in SHEET.findall(archive.read("xl/workbook.xml").decode("utf-8", "replace"))}
            parts = dict(TARGET.findall(archive.read("xl/_rels/workbook.xml.rels").decode("utf-8", "replace")))
            with archive.open("xl/" + parts[ids[sheet.name]].removeprefix("/xl/")) as xml:
                for column, row, error in islice(errors_in(xml), MOST_ERRORS):
                    message = f"Row {row:,}, column {column}: the cell holds the error {error} and was read as empty."
                    desk.note(Problem(row, "error_cell", message, column, "warning"))
    except (KeyError, OSError, ValueError, zipfile.BadZipFile, NotImplementedError):
        return  # another format of workbook; a missing text or label is named all the same


def errors_in(xml: IO[bytes]) -> Iterator[tuple[str, int, str]]:
    rest = b""
    while data := xml.read(MIB):
        rest += data
        end = 0
        for match in ERROR.finditer(rest):
            yield match[1].decode(), int(match[2]), match[3].decode("utf-8", "replace")
            end = match.end()
        rest = rest[max(end, len(rest) - 2_000) :]
