"""The two kinds of markup that hold rows: a page with one table, and a translation memory (TMX). Nothing is fetched, no entity is followed."""

from __future__ import annotations

import codecs
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lxml import etree, html

from webapp.datasets.reading import MIB, ReadingError, text
from webapp.datasets.reading import header as headers
from webapp.datasets.reading.staging import Desk

LARGEST = 64 * MIB  # of a page, which is held in memory as a whole, many times its size
CHARSET = re.compile(rb"<meta[^>]{0,200}?charset\s*=\s*[\"']?([\w.:-]{1,40})", re.IGNORECASE)
LANG = "{http://www.w3.org/XML/1998/namespace}lang"
CODES = {"ph", "bpt", "ept", "it", "ut"}  # of a segment: formatting of the program that wrote it
SPANS = 100  # cells that one cell may stand for


@dataclass(frozen=True)
class Table:
    cells: list[tuple[int, list[str]]]  # row of the table, from 1
    header_row: int  # 0 for none
    head: list[list[str]]
    originals: list[str]

    def rows(self, desk: Desk) -> Iterator[tuple[int, list[str]]]:
        for number, row in self.cells:
            if number <= self.header_row:
                continue
            if not any(cell.strip() for cell in row):
                desk.blank += 1
            elif len(row) > len(self.originals):
                text = f"Row {number:,} has {len(row)} cells where {len(self.originals)} are expected."
                desk.reject(number, "ragged", text, row)
            else:
                yield number, row + [""] * (len(self.originals) - len(row))


def table(path: Path, desk: Desk, options: dict[str, Any]) -> Table:
    """The one table of a page. Raises ReadingError that says what the page is when it has none or several."""
    page = parsed(path, desk)
    tables = [found for each in page.iter("table") if each.find(".//table") is None and is_data(found := cells_of(each))]
    if not tables:
        raise desk.fail("not_data", f"{desk.name} is a web page (HTML markup) without a table{about(page)}. Download the file itself.")
    if len(tables) > 1:
        text = f"{desk.name} is a web page (HTML markup) with {len(tables)} tables. Copy the one that is meant into a workbook or CSV file."
        raise desk.fail("not_data", text)
    cells = tables[0]
    chosen = options.get("header_row")
    header = headers.guess([row for _, row in cells][:400]) + 1 if chosen is None else int(chosen)
    width = headers.width_of([row for _, row in cells])
    names = cells[header - 1][1] if 0 < header <= len(cells) else []
    width = max(width, len(names))
    if width > desk.limits.columns:
        raise desk.fail("too_many_columns", f"{desk.name} has {width:,} columns; at most {desk.limits.columns:,} can be read.")
    return Table(cells, header, [row[:50] for _, row in cells[:12]], names + [""] * (width - len(names)))


def parsed(path: Path, desk: Desk) -> Any:
    if path.stat().st_size > LARGEST:
        raise desk.fail("too_large", f"{desk.name} is a web page (HTML markup) of more than {LARGEST // MIB} MB. Save its table as CSV.")
    data = path.read_bytes()
    said = CHARSET.search(data[:4096])
    try:
        encoding = codecs.lookup(said[1].decode()).name if said else text.detect(path, desk.name).encoding
    except LookupError:
        encoding = text.detect(path, desk.name).encoding
    decoded = data.decode(encoding, "replace").lstrip("\ufeff").replace("\0", "")
    parser = html.HTMLParser(encoding="utf-8", no_network=True, huge_tree=False, remove_comments=True, remove_pis=True)
    try:
        page = html.document_fromstring(decoded.encode("utf-8", "replace"), parser=parser)
    except (etree.LxmlError, ValueError, AssertionError):
        raise desk.fail("not_data", f"{desk.name} is a web page (HTML markup) that cannot be read. Download the file itself.") from None
    for each in page.xpath("//script|//style|//template"):
        each.drop_tree()
    return page


def cells_of(each: Any) -> list[tuple[int, list[str]]]:
    rows, below = [], dict[int, tuple[int, str]]()  # what reaches down from the rows above: {column: (rows, text)}
    for number, row in enumerate(each.iter("tr"), 1):
        cells: list[str] = []
        above, below = below, {at: (left - 1, text) for at, (left, text) in below.items() if left > 1}
        for cell in row.iterchildren("td", "th"):
            while len(cells) in above:
                cells.append(above[len(cells)][1])
            for line_break in cell.iter("br"):
                line_break.tail = "\n" + (line_break.tail or "")
            inside = "\n".join(" ".join(line.split()) for line in cell.text_content().split("\n"))
            if (rows_below := span_of(cell, "rowspan") - 1) > 0:
                below[len(cells)] = (rows_below, inside.strip())
            cells += [inside.strip(), *[""] * (span_of(cell, "colspan") - 1)]
        while len(cells) in above:
            cells.append(above[len(cells)][1])
        rows.append((number, cells))
    return rows


def span_of(cell: Any, name: str) -> int:
    said = cell.get(name, "1").strip()
    return min(max(1, int(said)), SPANS) if said.isascii() and said.isdigit() else 1


def is_data(cells: list[tuple[int, list[str]]]) -> bool:
    """Rather than a frame for the layout of a page: rows of the same width, more than one cell in each."""
    widths = Counter(len(row) for _, row in cells if any(row))
    width, times = widths.most_common(1)[0] if widths else (0, 0)
    return width > 1 and times > 1 and times >= 0.5 * widths.total()


def about(page: Any) -> str:
    title = " ".join("".join(page.xpath("//title//text()")[:5]).split())[:80]
    asks = page.xpath("boolean(//input[@type='password'])") or re.search(r"sign in|log ?in|anmelden|登录", title, re.IGNORECASE)
    return (f", called “{title}”" if title else "") + (", which asks to sign in" if asks else "")


# --- Translation memories -----------------------------------------------------------------------------------------------
def elements(path: Path, desk: Desk) -> Iterator[Any]:
    """The header and each unit, forgotten as soon as the next one is asked for."""
    try:
        with path.open("rb") as file:
            safe = {"resolve_entities": False, "load_dtd": False, "no_network": True, "huge_tree": False}
            for _, element in etree.iterparse(file, events=("end",), tag=("header", "tu"), **safe):
                yield element
                element.clear()
                while element.getprevious() is not None:
                    del element.getparent()[0]
    except (etree.LxmlError, ValueError) as error:
        line = getattr(error, "lineno", None)
        where = f" in line {line:,}" if line else ""
        raise ReadingError(
            "damaged", f"{desk.name} is a translation memory (TMX) that is broken{where}. Export it again.", desk.name, line
        ) from None


def languages(path: Path, desk: Desk) -> list[str]:
    """Of all units, the one that the header calls the source first."""
    source, seen = "", dict[str, None]()
    for element in elements(path, desk):
        if element.tag == "header":
            source = (element.get("srclang") or "").lower()
        else:
            seen |= dict.fromkeys(language_of(each) for each in element.iterchildren("tuv"))
    names = [name for name in seen if name]
    if len(names) < 2:
        raise desk.fail("no_rows", f"{desk.name} is a translation memory (TMX) without texts in two languages. Export it again.")
    if len(names) > desk.limits.columns:
        raise desk.fail("too_many_columns", f"{desk.name} has {len(names):,} languages; at most {desk.limits.columns:,} can be read.")
    return sorted(names, key=lambda name: not (source and name.lower().split("-")[0] == source.split("-")[0]))


def language_of(each: Any) -> str:
    return (each.get(LANG) or each.get("lang") or "").strip()


def units(path: Path, names: list[str], desk: Desk) -> Iterator[tuple[int, list[str]]]:
    number = 0
    for element in elements(path, desk):
        if element.tag != "tu":
            continue
        number += 1
        texts: dict[str, str] = {}
        for each in element.iterchildren("tuv"):
            segment = each.find("seg")
            if segment is not None:
                texts.setdefault(language_of(each), said(segment))
        cells = [texts.get(name, "") for name in names]
        if any(len(cell.encode("utf-8", "replace")) > desk.limits.cell for cell in cells):
            desk.reject(number, "too_long", f"Unit {number:,} is longer than {desk.limits.cell // MIB} MB.", [c[:500] for c in cells])
        elif any(cells):
            yield number, cells
        else:
            desk.blank += 1


def said(segment: Any) -> str:
    """The words of a segment without the codes in between."""
    parts = [segment.text or ""]
    for child in segment:
        if isinstance(child.tag, str) and child.tag not in CODES:
            parts.append(said(child))
        parts.append(child.tail or "")
    return "".join(parts).strip()
