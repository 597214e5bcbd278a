"""The rows of a version, a page at a time: walks the file window by window and stops at a page full of hits."""

from __future__ import annotations

import io
import json
import time
from collections.abc import AsyncIterator, Container, Iterator
from dataclasses import dataclass, field
from typing import Any

from asgiref.sync import sync_to_async

from webapp.datasets.models import DatasetVersion
from webapp.spreadsheet import Sheet
from worker.nlp import KINDS

PAGE = 100  # rows
WINDOW = 20_000  # rows held in memory at a time: four row groups
CELL = 10_000  # characters of a cell on a page
WHOLE = 0  # cells are not cut
PAGE_BYTES = 4 * 1024**2  # characters of a page; one row more than fits ends it
HELD = 64 * 1024**2  # characters in memory at a time
SAMPLED = 20  # rows that tell how long the others are
COMPARED = 1_000_000  # rows of a version in which rows are looked for that share their texts
SHOWS = ("conflicts", "duplicates")
AT_ONCE = 2_000  # of those rows, fetched together
PATIENCE = 2.0  # seconds that one search may take; the answer then says how far it came


@dataclass(frozen=True)
class Wanted:
    """Which rows: those that contain `q` in any column, with this label, in this split; `show`: those that stand twice
    ("duplicates"), or whose texts stand with another answer too ("conflicts"), one group after the other."""

    q: str = ""
    label: str | None = None
    split: str = ""
    show: str = ""

    def __bool__(self) -> bool:
        return bool(self.q or self.split or self.show or self.label is not None)


@dataclass(frozen=True)
class Page:
    rows: list[dict[str, Any]] = field(default_factory=list)  # {"at": position, "row": number in the source, "split", "values": {..}}
    next: int | None = None  # what `after` must be for the following page: a position, or with `show` a place in that order
    searched: int | None = None  # rows looked at, when patience ended before the page was full


def page_of(
    version: DatasetVersion, wanted: Wanted, after: int = -1, limit: int = PAGE, patience: float = PATIENCE, cell: int = CELL
) -> Page:
    """The first `limit` rows behind position `after` that are wanted, or fewer where they are long: no page is larger than
    PAGE_BYTES. Cells are cut after `cell` characters; `row_at` has the whole."""
    if wanted.show:
        return page_of_alike(version, wanted, after, limit, cell)
    hits: list[dict[str, Any]] = []
    room = PAGE_BYTES
    at, deadline = max(after, -1) + 1, time.monotonic() + patience
    for frame, end in windows(version, wanted, at, limit + 1, cell):
        for row in frame.iter_rows(named=True):
            if len(hits) == limit or room < 0:
                return Page(hits, next=hits[-1]["at"])
            hits.append(as_row(row, version, cell))
            room -= sum(len(value) for value in row.values() if isinstance(value, str))
        if time.monotonic() > deadline and end < version.rows:
            return Page(hits, next=end - 1, searched=end)
    return Page(hits)


def page_of_alike(version: DatasetVersion, wanted: Wanted, after: int, limit: int, cell: int) -> Page:
    import polars as pl

    order, hits = alike(version, wanted.show), list[tuple[int, dict[str, Any]]]()
    table, conditions = table_of(version, wanted)
    texts = [name for name, kind in table.collect_schema().items() if kind == pl.String and not name.startswith("_")]
    at_once, room = max(1, min(AT_ONCE, HELD // max(1, len(texts) * cell))), PAGE_BYTES
    for start in range(max(after, -1) + 1, len(order), at_once):
        place = {at: start + n for n, at in enumerate(order[start : start + at_once])}
        cut = table.filter(pl.col("_at").is_in(list(place)), *conditions).with_columns(pl.col(texts).str.slice(0, cell + 1))
        found = cut.collect(engine="streaming").iter_rows(named=True)
        for at, row in sorted(((place[row["_at"]], row) for row in found), key=lambda hit: hit[0]):
            if len(hits) == limit or room < 0:
                return Page([shown for _, shown in hits], next=hits[-1][0])
            hits.append((at, as_row(row, version, cell)))
            room -= sum(len(value) for value in row.values() if isinstance(value, str))
    return Page([row for _, row in hits])


def alike(version: DatasetVersion, show: str) -> list[int]:
    """The positions of the rows that share their texts with others, those that do so next to each other."""
    import polars as pl

    from webapp.datasets.reading import roles

    task = KINDS[version.task]
    table = table_of(version, Wanted())[0]
    schema = table.collect_schema()
    here = {role.name: role.name for role in task.roles if role.name in schema}
    row, texts = (pl.struct([role.name for role in some]).hash(13) for some in (roles.mapped(task, here), roles.texts_of(task, here)))
    group, has_others = ("t", pl.col("r").n_unique() > 1) if show == "conflicts" else ("r", pl.len() > 1)
    found = table.head(COMPARED).select("_at", row.alias("r"), texts.alias("t")).collect(engine="streaming")
    found = found.filter(has_others.over(group)).sort(pl.col("_at").min().over(group), "_at")
    positions: list[int] = found["_at"].to_list()
    return positions


def row_at(version: DatasetVersion, position: int) -> dict[str, Any] | None:
    """One row, whole."""
    found = page_of(version, Wanted(), position - 1, 1, cell=WHOLE).rows if 0 <= position < version.rows else []
    return found[0] if found else None


def windows(version: DatasetVersion, wanted: Wanted, at: int, most: int = 0, cell: int = 0) -> Iterator[tuple[Any, int]]:
    """(wanted rows of a window as a polars frame, position of its end) from position `at` on. A window has as many rows as can
    be held in memory, `most` hits at most, and ends at a multiple of WINDOW, so that each row group is decoded once. `cell`
    cuts texts; one character more says that they were cut."""
    import polars as pl

    table, conditions = table_of(version, wanted)
    if wanted.show:
        conditions.append(pl.col("_at").is_in(alike(version, wanted.show)))
    texts = [name for name, kind in table.collect_schema().items() if kind == pl.String and not name.startswith("_")]
    long = cell or mean_chars(table.slice(at, SAMPLED).select(texts).collect())
    room = max(1, min(most or WINDOW, HELD // max(1, len(texts) * long)))
    while at < version.rows:
        end = min((at // WINDOW + 1) * WINDOW, version.rows)
        window = table.slice(at, end - at)
        found = (window.filter(conditions) if conditions else window).head(room)
        frame = (found.with_columns(pl.col(texts).str.slice(0, cell + 1)) if cell else found).collect(engine="streaming")
        if frame.height == room:
            end = int(frame["_at"][-1]) + 1
        yield frame, end
        at = end


def table_of(version: DatasetVersion, wanted: Wanted) -> tuple[Any, list[Any]]:
    """(the rows as a lazy polars frame with their position as `_at`, what single ones must fulfil to be wanted)."""
    import polars as pl

    table = pl.scan_parquet(version.path, row_index_name="_at", glob=False)  # a home may have brackets in its path
    schema = table.collect_schema()
    texts = [name for name, kind in schema.items() if kind == pl.String and not name.startswith("_")]
    conditions = []
    if wanted.split:
        conditions.append(pl.col("_split") == wanted.split)
    if wanted.label is not None and version.label_role in schema:
        conditions.append(pl.col(version.label_role) == wanted.label)
    if wanted.q:
        needle = wanted.q.lower()
        conditions.append(pl.any_horizontal(pl.col(name).str.to_lowercase().str.contains(needle, literal=True) for name in texts))
    return table, conditions


def mean_chars(frame: Any) -> int:
    """Of a cell."""
    import polars as pl

    total = sum(frame.select(pl.all().str.len_bytes().sum()).row(0)) if frame.width and frame.height else 0
    return int(total // max(1, frame.width * frame.height)) + 1


def as_row(row: dict[str, Any], version: DatasetVersion, cell: int = 0) -> dict[str, Any]:
    values = {shown(name, row): shortened(value, cell) for name, value in row.items() if name not in ("_at", "_row", "_split")}
    cut = [shown(name, row) for name, value in row.items() if cell and isinstance(value, str) and len(value) > cell]
    return {"at": row["_at"], "row": row["_row"], "split": row["_split"], "values": values, "cut": cut}


def shortened(value: Any, cell: int) -> Any:
    return f"{value[:cell]}…" if cell and isinstance(value, str) and len(value) > cell else value


def shown(column: str, columns: Container[str]) -> str:
    """A role goes by its name, another column of the file by the name that it had there, unless that is a role's."""
    bare = column.removeprefix("x_")
    return column if bare in columns else bare


async def as_csv(version: DatasetVersion, wanted: Wanted) -> AsyncIterator[str]:
    """For spreadsheets: what they would take for a formula gets an apostrophe before it."""
    is_first = True
    async for frame in frames(version, wanted):
        text = io.StringIO()
        writer = Sheet(text)
        if is_first:
            writer.writerow(["row", "split", *(shown(name, frame.columns) for name in frame.columns[3:])])
            is_first = False
        for row in frame.iter_rows():
            writer.writerow(row[1:])
        yield text.getvalue()


async def as_jsonl(version: DatasetVersion, wanted: Wanted) -> AsyncIterator[str]:
    async for frame in frames(version, wanted):
        rows = (as_row(row, version) for row in frame.iter_rows(named=True))
        yield "".join(json.dumps({"row": r["row"], "split": r["split"], **r["values"]}, ensure_ascii=False) + "\n" for r in rows)


async def frames(version: DatasetVersion, wanted: Wanted) -> AsyncIterator[Any]:
    """Every window, read in a thread: the event loop serves others meanwhile."""
    walk = windows(version, wanted, 0)
    while step := await sync_to_async(lambda: next(walk, None))():
        frame = step[0]
        yield frame.select("_at", "_row", "_split", *(name for name in frame.columns if name not in ("_at", "_row", "_split")))
