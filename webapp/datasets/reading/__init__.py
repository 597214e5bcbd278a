"""From a file that somebody dropped to rows of a task: `limited.run("read" | "publish" | "baselines", job)`.

Pure Python without Django: everything here runs in a child process with capped memory, time and file sizes
(`python -m webapp.datasets.reading`, JSON on its standard input, JSON lines on its standard output).

    read       {"files": [{"part": "file"|"train"|"validation"|"test", "name", "path"}], "task": slug or "", "out": folder,
                "options": {header_row?, encoding?, delimiter?, sheet?, member?, several_labels?}, "mapping": {role: column}?,
                "limits": {..}?}                                                                     -> Report as JSON
    publish    {"staged": [{"part", "path", "file"}] (of the report), "task", "mapping": {role: column}, "labels": {from: to},
                "several_labels"?, "accept_rejected": bool, "seed": 13, "shares": [0.8, 0.1, 0.1], "out": folder,
                "problems": the report's problems?, "kept": [label] of the report?}                  -> Published as JSON
    baselines  {"path": a version's Parquet file, "task"}
                                      -> {"split", "rows", "scores": {name: {metric: value}}, "intervals": {name: {metric: [low, high]}}}

In `mapping` a column goes by its unique name (`Column.name`), and several by a template (templates.py); the key "split" names a
column that says which part a row belongs to. In `labels` a label joined to "" is dropped: its rows are rejected. One joined to itself is a label even if it usually says
that there is none ("NA"). `accept_rejected` says that the person has
seen that some rows cannot be used; without it, publishing with a single rejected row is refused.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any

MIB = 1024**2
PARTS = ("train", "validation", "test")
SPLIT = "split"  # beside the task's roles, the one column that every task knows
MOST_PROBLEMS = 1_000  # listed one by one; `counts` still tells all of them
ROW_GROUP = 5_000
GROUP_BYTES = 16 * MIB  # of texts in one row group, and so in memory at a time, where rows are long


@dataclass(frozen=True)
class Limits:
    """What one reading may use; every excess is a ReadingError that names the limit and the remedy."""

    memory: int = 3 * 1024 * MIB  # bytes of address space of the child
    cpu_s: int = 1_800
    silent_cpu_s: float = 60  # of a processor's time without a word of progress
    wall_s: float = 2_400.0
    file: int = 8 * 1024 * MIB  # bytes of any file written
    plain: int = 2 * 1024 * MIB  # bytes after unpacking
    ratio: int = 200  # bytes after unpacking for each byte before
    members: int = 100_000  # in an archive
    tables: int = 1_000  # of them that are read as tables
    columns: int = 2_000
    rows: int = 50_000_000
    cell: int = MIB  # bytes in one cell
    line: int = MIB  # bytes in one line of JSON Lines
    json: int = 256 * MIB  # bytes of one JSON document, which is held in memory as a whole
    depth: int = 32  # levels of JSON
    workbook: int = 512 * MIB  # bytes of a workbook after unpacking
    cells: int = 10_000_000  # in one sheet


class ReadingError(Exception):
    """The file cannot be used as it is. The message says what is wrong where, and what to do about it."""

    def __init__(self, code: str, message: str, file: str | None = None, row: int | None = None, column: str | None = None) -> None:
        super().__init__(message)
        self.code, self.message, self.file, self.row, self.column = code, message, file, row, column

    def to_json(self) -> dict[str, Any]:
        return {"code": self.code, "message": self.message, "file": self.file, "row": self.row, "column": self.column}


@dataclass(frozen=True)
class Problem:
    """Something about one row. level "error": the row is rejected; "warning": it is kept."""

    row: int  # line of the file where the record begins (record number in a Parquet file, row in a sheet), from 1
    code: str
    message: str
    column: str = ""
    level: str = "error"
    file: str = ""


@dataclass(frozen=True)
class Finding:
    """Something about the whole. level "error" forbids a version, "warning" is worth a look, "info" is good to know.

    A finding that `asks` holds the version back. It names the option that answers it beforehand ("encoding", "sheet", "mapping",
    "labels", "accept_rejected", ...); "confirmation" is answered by nothing but a person who has seen it.
    """

    code: str
    message: str
    level: str = "warning"
    count: int = 0
    column: str = ""
    asks: str = ""
    rows: list[dict[str, Any]] = field(default_factory=list)  # the first that it is about, where it is about some: [{"row", "file"}]


@dataclass(frozen=True)
class Column:
    name: str  # unique in the report: "text", "text_2", "column_4" when the file gives none
    original: str
    type: str  # text | number | date | empty
    missing: int
    distinct: int
    mean_chars: float
    examples: list[str]
    histogram: list[dict[str, Any]] = field(default_factory=list)  # [{"name", "rows"}], most first, when at most 1,000 values
    role: str = ""  # suggested: a role of the task, "split" or nothing
    reason: str = ""  # why, for people: "3 distinct values, short"
    sure: bool = False  # its name says so
    prose: float = 0.0  # share of the cells that read as sentences
    is_label: bool = False  # the file itself says that it holds labels, as exports of labelling tools do


@dataclass(frozen=True)
class FileReport:
    """How one table was understood: an upload, or a member or sheet of it. Each choice is a guess that `options` may overrule."""

    part: str
    name: str  # of the upload
    # csv | json | jsonl | parquet | arrow | workbook | html | tmx | lines (one text each) | documents (texts between blank lines) | fasttext
    # | conll | texts (a file each, in folders called as their classes) | pairs (two files, line by line)
    format: str
    title: str = ""  # what messages call it: the name, with the member or sheet where several were read
    packed: str = ""  # gzip | bzip2 | xz | zstd | zip | tar | tar.gz | ...
    member: str = ""  # the file inside the archive
    members: list[str] = field(default_factory=list)  # those that could be chosen, told by the first file of an upload
    encoding: str = ""
    encoding_confidence: float = 1.0
    encodings: list[str] = field(default_factory=list)  # other plausible ones
    readings: list[dict[str, Any]] = field(default_factory=list)  # of a guess: [{"encoding", "language", "score", "lines"}], the best first
    delimiter: str = ""
    header_row: int = 0  # line of the column names, from 1; 0 when there are none
    header_guessed: bool = True
    head: list[list[str]] = field(default_factory=list)  # the first lines as cells, to choose the header row from
    sheet: str = ""
    sheets: list[str] = field(default_factory=list)
    lines: int = 0  # lines of text, rows of the sheet, or records
    rows_in: int = 0  # rows_read + rows_rejected + rows_blank
    rows_read: int = 0
    rows_rejected: int = 0
    rows_blank: int = 0  # with nothing in any cell: left out, and counted
    staged: str = ""  # Parquet: _row and every column as text


@dataclass(frozen=True)
class Report:
    task: str  # the one asked for, else a guess
    fits_better: str  # another task that this file seems to be for, or empty
    files: list[FileReport]  # several of one upload that holds several tables
    columns: list[Column]
    mapping: dict[str, str]  # {role: column} that was looked at: the one asked for if the file has its columns, else a suggestion
    preview: list[dict[str, Any]]  # the first rows: {"_row", "_part", column: text}
    rows: int  # rows_in of all files
    rows_read: int
    rows_rejected: int
    rows_blank: int
    rows_unusable: int | None  # read, but refused by the task with this mapping; None when they were not all looked at
    problems: list[Problem]
    counts: dict[str, int]  # of problems by code, all of them
    findings: list[Finding]
    labels: list[dict[str, Any]] = field(default_factory=list)  # [{"name", "rows", "missing": it stands for "no label"}]
    joins: dict[str, str] = field(default_factory=dict)  # suggested {label as written: label}; "" leaves its rows out
    kept: list[str] = field(default_factory=list)  # labels that stand for "no label" elsewhere, and are classes here
    statistics: dict[str, Any] = field(default_factory=dict)  # lengths, duplicates, ...; see findings.py
    several: dict[str, Any] = field(default_factory=dict)  # rows with several labels: {"column", "rows", "example", "chosen", "gives"}

    @property
    def plain(self) -> bool:
        """Nothing is left to doubt: a version may be made without asking."""
        return not any(finding.asks for finding in self.findings)

    @property
    def staged(self) -> list[dict[str, str]]:
        return [{"part": f.part, "path": f.staged, "file": f.title} for f in self.files]

    def to_json(self) -> dict[str, Any]:
        return {**asdict(self), "staged": self.staged, "plain": self.plain}


@dataclass(frozen=True)
class Published:
    """A version's file, complete and on disk, in the layout that docs/internals.md gives."""

    path: str
    sha256: str
    rows: int
    rejected: int
    rejected_path: str  # rejected.csv, or empty when no row was rejected
    splits: dict[str, int]
    labels: list[dict[str, Any]]  # [{"name", "rows"}]; the order fixes class numbers
    statistics: dict[str, Any]
    problems: list[Problem]
    findings: list[Finding]

    def to_json(self) -> dict[str, Any]:
        return asdict(self)
