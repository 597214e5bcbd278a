"""What every reader leaves: a Parquet file of text columns with `_row`, and the rows that it had to reject."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path

import polars as pl
from polars.io.plugins import register_io_source

from webapp.datasets.reading import GROUP_BYTES, MOST_PROBLEMS, ROW_GROUP, Finding, Limits, Problem, ReadingError
from webapp.spreadsheet import Sheet

Progress = Callable[[str, int, int], None]
BATCH = 20_000
SAMPLED = 100  # rows that tell how long the others are
MOST_TEXT = 4 * Limits().plain  # bytes of text that one file may become


@dataclass
class Desk:
    """Where one file is worked on: its limits, its problems, its rejected rows."""

    name: str
    part: str
    out: Path
    limits: Limits
    progress: Progress
    problems: list[Problem] = field(default_factory=list)
    counts: Counter[str] = field(default_factory=Counter)
    rejected: int = 0
    blank: int = 0  # records without anything in their cells
    most_text: int = MOST_TEXT  # bytes of text that the file may become
    originals: dict[str, str] = field(default_factory=dict)  # unique name: name in the file
    invented: set[str] = field(default_factory=set)  # columns that say where a row is from: the name of its sheet or file
    holds_records: bool = False  # its cells were read as what they are, lists and objects included
    labels: set[str] = field(default_factory=set)  # columns of which the file itself says that they hold labels
    findings: list[Finding] = field(default_factory=list)  # about the whole file
    place: str = ""  # tells it from other desks of the same part

    def __post_init__(self) -> None:
        self._rejects = self.rejects_path.open("w", newline="", encoding="utf-8")
        self._writer = Sheet(self._rejects)

    @property
    def staged_path(self) -> Path:
        return self.out / f"staged-{self.part}{self.place}.parquet"

    @property
    def rejects_path(self) -> Path:
        return self.out / f"rejected-{self.part}{self.place}.csv"

    def name_columns(self, originals: list[str]) -> list[str]:
        names = unique_names(originals)
        self.originals = dict(zip(names, originals, strict=True))
        return names

    def note(self, problem: Problem) -> None:
        self.counts[problem.code] += 1
        if len(self.problems) < MOST_PROBLEMS:
            self.problems.append(Problem(**{**problem.__dict__, "file": self.name}))

    def reject(self, row: int, code: str, message: str, cells: Iterable[str], column: str = "") -> None:
        self.rejected += 1
        self.note(Problem(row, code, message, column))
        self._writer.writerow([row, self.name, message, *cells])

    def close(self) -> None:
        self._rejects.close()

    def clear(self) -> None:
        """Leave nothing behind of what turned out to be no table."""
        self.rejects_path.unlink(missing_ok=True)
        self.staged_path.unlink(missing_ok=True)

    def fail(self, code: str, message: str, row: int | None = None) -> ReadingError:
        return ReadingError(code, message, file=self.name, row=row)


def bare_name(original: str) -> str:
    """A column's name as it is shown: without blanks around it, one between its words, of a bearable length."""
    return " ".join(original.split())[:200]


def unique_names(originals: list[str]) -> list[str]:
    """Names that tell columns apart: "text", "text_2", "column_4" for one without a name."""
    taken: set[str] = set()
    names = []
    for number, original in enumerate(originals, 1):
        base = bare_name(original) or f"column_{number}"
        base = f"column{base}" if base in {"_row", "_part", "_file", "_split"} else base
        name, again = base, 1
        while name in taken:
            again += 1
            name = f"{base}_{again}"
        taken.add(name)
        names.append(name)
    return names


def shared_columns(tables: list[pl.LazyFrame]) -> list[str]:
    """The columns that all have, in the order of the first: others may have more, or have them in another order."""
    first, *others = (table.collect_schema().names() for table in tables)
    return [name for name in first if all(name in names for names in others)]


def size_of(frame: pl.DataFrame) -> int:
    """Bytes of all its texts."""
    return sum(int(frame[name].str.len_bytes().cast(pl.UInt64).sum()) for name, kind in frame.schema.items() if kind == pl.String)


def beginnings(rows: pl.LazyFrame, count: int, chars: int) -> pl.DataFrame:
    """The first `count` rows with no more than `chars` characters of each text. Copied: a polars text that was cut holds on to
    the memory of the whole."""
    cut = rows.head(count).with_columns(pl.col(pl.String).str.slice(0, chars))
    parts = [pl.DataFrame(frame.to_dict(as_series=False), schema=frame.schema) for frame in cut.collect_batches(maintain_order=True)]
    return pl.concat(parts) if parts else cut.collect()


def first_rows(rows: pl.LazyFrame, most: int) -> pl.DataFrame:
    """The first `most` rows, whole; fewer where they are so long that they would fill the memory."""
    sample = rows.head(SAMPLED).collect(engine="streaming")
    return rows.head(max(SAMPLED, min(most, 4 * GROUP_BYTES * SAMPLED // max(1, size_of(sample))))).collect(engine="streaming")


def rows_in(room: int, frame: pl.DataFrame) -> int:
    """How many rows like these take `room` bytes; at most ROW_GROUP."""
    return max(1, min(ROW_GROUP, room * max(1, frame.height) // max(1, size_of(frame))))


def write(frames: Iterator[pl.DataFrame], columns: list[str], path: Path, group: int = 0) -> int:
    """Stream frames of `_row` and text columns into Parquet, in row groups that fit into memory with ease, or of `group` rows;
    the number of rows. Raises ReadingError when they are far more text than any file may hold, however small it was."""
    schema = pl.Schema({"_row": pl.Int64(), **{name: pl.String() for name in columns}})
    first = next(frames, pl.DataFrame(schema=schema))
    group, frames = group or rows_in(GROUP_BYTES, first), chain([first], frames)
    done, size = 0, 0

    def source(_with: list[str] | None, _where: pl.Expr | None, _n: int | None, _size: int | None) -> Iterator[pl.DataFrame]:
        nonlocal done, size
        for frame in frames:
            done += frame.height
            size += size_of(frame)
            if size > MOST_TEXT:
                gigabytes = MOST_TEXT // 1024**3
                raise ReadingError("bomb", f"After row {done:,} there are more than {gigabytes} GB of text. Upload a part of the file.")
            yield frame.select(schema.names())

    failure: list[BaseException] = []

    def guarded(*args: object) -> Iterator[pl.DataFrame]:
        try:
            yield from source(*args)  # type: ignore[arg-type]
        except BaseException as error:  # polars would wrap it; the real one is raised below
            failure.append(error)

    register_io_source(guarded, schema=schema, validate_schema=False, is_pure=False).sink_parquet(
        path, compression="zstd", row_group_size=group
    )
    if failure:
        raise failure[0]
    return done


def frames_of(rows: Iterator[tuple[int, list[str]]], columns: list[str], size: int = BATCH) -> Iterator[pl.DataFrame]:
    """Rows of cells, as many as columns each, gathered into frames."""
    schema = {"_row": pl.Int64, **dict.fromkeys(columns, pl.String)}
    chars = 0
    numbers: list[int] = []
    cells: list[list[str]] = []

    def frame() -> pl.DataFrame:
        values = list(zip(*cells, strict=True)) or [()] * len(columns)
        return pl.DataFrame({"_row": numbers, **dict(zip(columns, values, strict=True))}, schema=schema)

    for row, values in rows:
        numbers.append(row)
        cells.append(values)
        chars += sum(map(len, values))
        if len(numbers) == size or chars > 2 * GROUP_BYTES:
            yield frame()
            numbers, cells, chars = [], [], 0
    yield frame()
