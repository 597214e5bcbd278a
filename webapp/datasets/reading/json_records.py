"""JSON documents and JSON Lines: the records are found wherever they lie, and flattened with dots."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from itertools import islice
from typing import Any, NoReturn

import numpy as np

from webapp.datasets.reading import MIB, Limits, Problem, ReadingError
from webapp.datasets.reading.staging import Desk

STRING = re.compile(rb'"[^"\\]*+(?:\\.[^"\\]*+)*+"?', re.DOTALL)
SENTENCE_ENDS = (*".!?…。！？，、；：,;:", '"', "”", "」", "』", ")", "）")
VERSE = 40  # characters of a line, in the middle
WHOLE = {"answers"}  # lists that stay lists, for all of them count
FIRST = 1_000  # records that decide which columns there are
Record = dict[str, Any]  # by dotted path


def refuse_number(name: str) -> NoReturn:
    raise ValueError(f"{name} is not a number that JSON knows")


def parse(text: bytes | str, depth: int) -> Any:
    """Raises ValueError with a short reason for what is no JSON, too deep, or not a number."""
    data = text if isinstance(text, bytes) else text.encode()
    if depth_of(data) > depth:
        raise ValueError(f"it is nested more than {depth} levels deep")
    try:
        return json.loads(data, parse_constant=refuse_number)
    except json.JSONDecodeError as error:
        raise ValueError(f"{error.msg} in column {error.colno}" if b"\n" not in data else f"{error.msg} in line {error.lineno}") from None
    except RecursionError:
        raise ValueError("it is nested too deep") from None


def depth_of(data: bytes) -> int:
    """Levels of brackets outside strings."""
    if data.count(b"[") + data.count(b"{") <= 8:
        return 8
    marks = np.frombuffer(STRING.sub(b"", data), np.uint8)
    steps = np.isin(marks, (91, 123)).astype(np.int8) - np.isin(marks, (93, 125)).astype(np.int8)
    return int(np.cumsum(steps, dtype=np.int32).max(initial=0))


def looks_like_lines(head: str) -> bool:
    """Whether this is one JSON value a line rather than one document."""
    lines = [line for line in head.split("\n") if line.strip()][:50]
    whole = sum(is_object(line) for line in lines)
    if len(lines) == 1 or lines[0].strip() in {"[", "{"}:
        return False
    return bool(lines) and lines[0].lstrip().startswith(("{", "[")) and whole >= 0.5 * len(lines[:-1] or lines)


def is_object(line: str) -> bool:
    try:
        return isinstance(json.loads(line), dict | list)
    except (ValueError, RecursionError):
        return False


# --- One document -------------------------------------------------------------------------------------------------------
def document(data: bytes, name: str, limits: Limits) -> list[Any]:
    """The records of a JSON document, wherever they lie."""
    try:
        value = parse(data, limits.depth)
    except ValueError as error:
        raise ReadingError("not_json", f"{name} starts like JSON but cannot be read: {error}. Export it again, or as CSV.", name) from None
    found = list(questions_of(value)) if is_squad(value) else records_in(value)
    if found is None:
        raise ReadingError(
            "no_records", f'{name} holds no list of records. Expected is a list such as [{{"text": "...", "label": "..."}}].', name
        )
    return found


def too_large(name: str, limits: Limits) -> ReadingError:
    text = f"{name} is one JSON document of more than {limits.json // MIB} MB. Save it as JSON Lines, one record a line."
    return ReadingError("too_large", text, name)


def is_squad(value: Any) -> bool:
    data = value.get("data") if isinstance(value, dict) else None
    return isinstance(data, list) and any(isinstance(d, dict) and isinstance(d.get("paragraphs"), list) for d in data[:10])


def questions_of(value: dict[str, Any]) -> Iterator[Record]:
    """The questions of a SQuAD file, each with its passage, its first answer and all of them; no answer: empty."""
    for article in value["data"]:
        if not isinstance(article, dict):
            continue
        for paragraph in article.get("paragraphs") or []:
            if not isinstance(paragraph, dict):
                continue
            for asked in paragraph.get("qas") or []:
                if isinstance(asked, dict):
                    known = {"context": paragraph.get("context"), "question": asked.get("question")}
                    answers = [] if asked.get("is_impossible") else asked.get("answers")
                    yield {**known, **answer_of(answers), "id": asked.get("id"), "title": article.get("title")}


def answer_of(answers: Any) -> Record:
    """SQuAD's answers, a list of {text, answer_start} or (as data sets on the hub have it) a dict of two lists."""
    if isinstance(answers, dict):
        texts, starts = answers.get("text"), answers.get("answer_start")
        pairs = list(zip(texts, starts, strict=False)) if isinstance(texts, list) and isinstance(starts, list) else []
    else:
        pairs = [(a.get("text"), a.get("answer_start")) for a in answers or [] if isinstance(a, dict)]
    text, start = pairs[0] if pairs else ("", "")
    return {"answer": text, "start": start, "answers": list(dict.fromkeys(as_text(text) for text, _ in pairs))}


def is_question(record: Record) -> bool:
    """A record with SQuAD's answers in it."""
    answers = record.get("answers")
    if isinstance(answers, dict):
        return {"text", "answer_start"} == answers.keys()
    return isinstance(answers, list) and bool(answers) and all(isinstance(a, dict) and "answer_start" in a for a in answers)


def records_in(value: Any, level: int = 0) -> list[Any] | None:
    """A list of records; columns beside each other; lists by part; records by key; or one of these below a key."""
    if isinstance(value, list):
        return value if any(isinstance(item, dict | list) for item in value[:100]) or level == 0 else None
    if not isinstance(value, dict) or level > 4 or not value:
        return None
    lists = {key: v for key, v in value.items() if isinstance(v, list) and v}
    if (
        isinstance(names := value.get("columns"), list)
        and isinstance(rows := value.get("data"), list)
        and all(isinstance(n, str) for n in names)
    ):
        return [dict(zip(names, row, strict=False)) for row in rows if isinstance(row, list)]
    if len(lists) > 1 and len({len(v) for v in lists.values()}) == 1 and not any(isinstance(v[0], dict | list) for v in lists.values()):
        return [dict(zip(lists, cells, strict=True)) for cells in zip(*lists.values(), strict=True)]
    tables = {key: v for key, v in lists.items() if isinstance(v[0], dict | list)}
    if len(tables) > 1:
        return [{**as_record(record), "split": key} for key, v in tables.items() for record in v]
    if tables:
        return next(iter(tables.values()))
    inner = [v for v in value.values() if isinstance(v, dict)]
    if len(inner) > 1 and len(inner) == len(value) and len({tuple(sorted(v)) for v in inner[:50]}) <= len(inner[:50]) / 2:
        return [{"key": key, **v} for key, v in value.items()]
    below = [found for v in inner if (found := records_in(v, level + 1))]
    return max(below, key=len) if below else None


def as_record(value: Any) -> dict[str, Any]:
    """A pair or a longer list is a record of columns without names; a bare value has one column."""
    if isinstance(value, dict):
        return {**value, **answer_of(value["answers"])} if is_question(value) else value
    cells = value if isinstance(value, list) else [value]
    return {f"column_{number}": cell for number, cell in enumerate(cells, 1)}


def flatten(value: dict[str, Any], prefix: str = "") -> Record:
    flat: Record = {}
    for key, cell in value.items():
        if isinstance(cell, dict) and cell:
            flat |= flatten(cell, f"{prefix}{key}.")
        else:
            flat[f"{prefix}{key}"] = cell
    return flat


@dataclass(frozen=True)
class Lists:
    """How cells that are lists become text, column by column, as the first records show them."""

    pairs: dict[str, int] = field(default_factory=dict)  # always a list of the same few bare values: columns of their own
    joints: dict[str, str] = field(default_factory=dict)  # sentences or lines of verse: one text, with this in between

    @classmethod
    def of(cls, records: list[Record]) -> Lists:
        lengths, texts, mixed = dict[str, set[int]](), dict[str, list[str]](), set[str]()
        for record in records:
            for key, cell in record.items():
                bare = isinstance(cell, list) and not any(isinstance(c, dict | list) for c in cell)
                lengths.setdefault(key, set()).add(len(cell) if bare else 0)
                if bare and all(isinstance(c, str) for c in cell):
                    texts.setdefault(key, []).extend(cell)
                elif cell:
                    mixed.add(key)
        joints = {key: joint for key, found in texts.items() if key not in WHOLE | mixed and (joint := joint_of(found))}
        pairs = {
            key: n
            for key, found in lengths.items()
            if len(found) == 1 and 0 < (n := min(found)) <= 5 and key not in WHOLE and not (n > 2 and key in joints)
        }
        return cls(pairs, {key: joint for key, joint in joints.items() if key not in pairs})

    def spread(self, record: Record) -> dict[str, str]:
        """The record as text."""
        flat: dict[str, str] = {}
        for key, cell in record.items():
            if not isinstance(cell, list):
                flat[key] = as_text(cell)
            elif key in self.pairs and len(cell) == self.pairs[key]:
                flat |= {f"{key}.{i}" if len(cell) > 1 else key: as_text(c) for i, c in enumerate(cell)}
            elif key in self.joints or (key in self.pairs and all(isinstance(c, str) for c in cell)):
                flat[key] = self.joints.get(key, " ").join(as_text(c).strip() for c in cell)
            else:
                flat[key] = as_json(cell) if key in WHOLE else as_text(cell)
        return flat


def joint_of(texts: list[str]) -> str:
    """What to put between such texts: a line break where they are lines of verse, a blank where they are sentences; nothing: neither."""
    texts = [text for text in texts if text.strip()]
    if not texts or sum(text.rstrip().endswith(SENTENCE_ENDS) for text in texts) < 0.5 * len(texts):
        return ""
    return "\n" if sorted(map(len, texts))[len(texts) // 2] <= VERSE else " "


def as_text(cell: Any) -> str:
    if cell is None:
        return ""
    if isinstance(cell, str):
        return cell.replace("\0", "").encode("utf-8", "replace").decode()
    if isinstance(cell, bool):
        return "true" if cell else "false"
    if isinstance(cell, list | dict):
        return as_json(cell) if cell else ""
    return str(cell)


def as_json(cell: Any) -> str:
    return json.dumps(cell, ensure_ascii=False, separators=(",", ":"), default=written).encode("utf-8", "replace").decode()


def written(value: Any) -> str:
    """What only Parquet has inside a cell: bytes, dates and the like."""
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)


# --- JSON Lines -----------------------------------------------------------------------------------------------------------
def lines(blocks: Iterable[bytes], desk: Desk) -> Iterator[tuple[int, Any]]:
    """(line, value) of each line that is JSON; the others are rejected by name."""
    number = 0
    for block in blocks:
        for line in block.split(b"\n")[: None if not block.endswith(b"\n") else -1]:
            number += 1
            if not line.strip():
                continue
            if len(line) > desk.limits.line:
                desk.reject(
                    number,
                    "too_long",
                    f"Line {number:,} is longer than {desk.limits.line // MIB} MB.",
                    [line[:500].decode("utf-8", "replace")],
                )
                continue
            try:
                value = parse(line, desk.limits.depth)
            except ValueError as error:
                desk.reject(number, "not_json", f"Line {number:,} is no JSON: {error}.", [line.decode("utf-8", "replace")])
                continue
            if isinstance(value, dict | list) and value:
                yield number, value
            else:
                desk.reject(
                    number, "no_record", f'Line {number:,} is no record such as {{"text": "...", "label": "..."}}.', [line.decode()]
                )


# --- Records to rows of cells -----------------------------------------------------------------------------------------------
def rows(values: Iterator[tuple[int, Any]], desk: Desk) -> tuple[list[str], list[str], Iterator[tuple[int, list[str]]]]:
    """(original names, unique names, rows). The first records say which columns there are; a rare other key is named."""
    raw = [(number, flatten(as_record(value))) for number, value in islice(values, FIRST)]
    lists = Lists.of([record for _, record in raw])
    first = [(number, lists.spread(record)) for number, record in raw]
    seen = Counter(key for _, record in first for key in record)
    least = max(1, len(first) // 100) if len(first) >= 20 else 0
    keys = [key for key, times in seen.items() if times > least]
    if len(keys) > desk.limits.columns:
        raise desk.fail("too_many_columns", f"{desk.name} has {len(keys):,} columns; at most {desk.limits.columns:,} can be read.")

    def each() -> Iterator[tuple[int, list[str]]]:
        for number, value in first:
            yield from row(number, value)
        for number, value in values:
            yield from row(number, lists.spread(flatten(as_record(value))))

    def row(number: int, record: dict[str, str]) -> Iterator[tuple[int, list[str]]]:
        strange = [key for key in record if key not in seen or seen[key] <= least]
        if strange and not any(record.get(key, "").strip() for key in keys):
            desk.reject(number, "unknown_key", f"Record {number:,} has none of the usual columns, only {strange[0][:80]}.", record.values())
            return
        if strange:
            text = f"Record {number:,} has a column of its own, {strange[0][:80]}, which was left out."
            desk.note(Problem(number, "unknown_key", text, strange[0][:80], "warning"))
        yield number, [record.get(key, "") for key in keys]

    originals = ["" if re.fullmatch(r"column_\d+", key) else key for key in keys]
    return originals, desk.name_columns(originals), each()
