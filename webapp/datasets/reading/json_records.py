"""JSON documents and JSON Lines: the records are found wherever they lie, and flattened with dots."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import dataclass, field
from itertools import islice
from typing import Any

from webapp.datasets.reading import MIB, Finding, Limits, Problem, ReadingError, layouts, shapes
from webapp.datasets.reading.layouts import Laid, as_record
from webapp.datasets.reading.shapes import is_chat
from webapp.datasets.reading.staging import Desk
from webapp.datasets.reading.values import as_json, as_text, one_after_another, parse, python_value
from worker.nlp import TASKS

BOM = b"\xef\xbb\xbf"
SENTENCE_ENDS = (*".!?…。！？，、；：,;:", '"', "”", "」", "』", ")", "）")
COMMENTS = re.compile(r"(?:\s*(?://[^\n]*\n|#[^\n]*\n|/\*.*?\*/))+(?=\s*[\[{])", re.DOTALL)
VERSE = 40  # characters of a line, in the middle
DIALOGUES = {"messages", "conversation", "conversations", "dialog", "dialogs", "turns", "utterances", "chat"}
WHOLE = {"answers", *DIALOGUES}  # lists that stay lists, for all of them count
SPOKEN = ({"role", "content"}, {"from", "value"})  # what a message has: one alone stays a message, as many as lists beside each other do
FIRST = 1_000  # records that decide which columns there are
Record = dict[str, Any]  # by dotted path
Notation = Callable[[bytes, int], Any]  # the value of a line; raises ValueError


def begins(head: str) -> bool:
    """Whether this may be JSON. Comments before it are refused by whoever parses it; JSON written down as a JSON text begins with a quote."""
    bare = COMMENTS.sub("", head.lstrip("\ufeff")).lstrip()
    return bare[:1] in {"{", "["} or (bare[:2] in {'"{', '"['} and '\\"' in bare[:200])


def notation_of_lines(head: str, depth: int) -> Notation | None:
    """How the lines are to be read if this is one value a line; None for one document. A line that is unlike most is a damaged one."""
    lines = [line.encode("utf-8", "replace") for line in head.split("\n") if line.strip()][:50]
    if len(lines) < 2:
        return None
    for notation in (strict, with_comma, like_python):
        whole = [is_record(line, notation, depth) for line in lines]
        starts_a_document = not whole[0] and lines[0].rstrip().endswith((b",", b"[", b"{"))
        if sum(whole) >= 0.5 * len(lines[:-1]) and not starts_a_document:
            return notation
    return None


def is_record(line: bytes, notation: Notation, depth: int) -> bool:
    try:
        return isinstance(notation(line, depth), dict | list)
    except ValueError:
        return False


def strict(line: bytes, depth: int) -> Any:
    return parse(line.strip().removeprefix(BOM), depth)


def with_comma(line: bytes, depth: int) -> Any:
    return strict(line.strip().removesuffix(b","), depth)


def like_python(line: bytes, depth: int) -> Any:
    try:
        return with_comma(line, depth)
    except ValueError:
        return python_value(line.strip().removeprefix(BOM).removesuffix(b",").decode("utf-8", "replace"), depth)


# --- One document -------------------------------------------------------------------------------------------------------
def document(data: bytes, desk: Desk) -> Laid:
    """The records of a JSON document, wherever they lie."""
    found = layouts.laid_out(whole_value(data, desk.name, desk.limits))
    if found is None:
        example = '[{"text": "...", "label": "..."}]'
        raise desk.fail("no_records", f"{desk.name} holds no list of records. Expected is a list such as {example}.")
    laid = layouts.named_by_first(found)
    desk.labels |= set(laid.labels)
    if laid.title:
        desk.findings.append(Finding("layout", f"{desk.name} was read as {laid.title}.", "info"))
    if laid.cut:
        text = f"{desk.name} is a part of a data set: {laid.cut}. Download the whole one as Parquet if you want all of it."
        desk.findings.append(Finding("part_of_data", text, asks="confirmation"))
    return laid


def whole_value(data: bytes, name: str, limits: Limits) -> Any:
    """One value, or a list of those that follow each other."""
    try:
        value = parse(data, limits.depth)
        return parse(value, limits.depth) if isinstance(value, str) else value  # JSON that was written down as JSON once more
    except ValueError as error:
        why = error
    text = data.decode("utf-8", "replace")
    for other in (one_after_another, python_value) if "comment" not in str(why) else ():
        try:
            return other(text, limits.depth)
        except ValueError:
            continue
    raise ReadingError("not_json", f"{name} starts like JSON but cannot be read: {why}. Export it again, or as CSV.", name)


def too_large(name: str, limits: Limits) -> ReadingError:
    text = f"{name} is one JSON document of more than {limits.json // MIB} MB. Save it as JSON Lines, one record a line."
    return ReadingError("too_large", text, name)


def flatten(value: dict[str, Any], prefix: str = "") -> Record:
    flat: Record = {}
    for key, cell in value.items():
        if isinstance(cell, dict) and cell and not any(keys <= cell.keys() for keys in SPOKEN):
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
    def of(cls, records: list[Record], labels: Collection[str] = ()) -> Lists:
        """`labels`: columns of labels; of these even a pair is several labels."""
        lengths, texts, mixed = dict[str, set[int]](), dict[str, list[str]](), set[str]()
        for record in records:
            for key, cell in record.items():
                bare = isinstance(cell, list) and not any(isinstance(c, dict | list) for c in cell)
                lengths.setdefault(key, set()).add(len(cell) if bare else 0)
                if bare and all(isinstance(c, str) for c in cell):
                    texts.setdefault(key, []).extend(cell)
                elif cell:
                    mixed.add(key)
        of_labels = {key for key in lengths if key in labels or is_label(key)}
        joints = {key: joint for key, found in texts.items() if key not in WHOLE | mixed | set(labels) and (joint := joint_of(found))}
        pairs = {
            key: n
            for key, found in lengths.items()
            if len(found) == 1
            and 0 < (n := min(found)) <= 5
            and key not in WHOLE
            and not (n > 1 + (not is_short(key)) and key in joints)
            and not (n > 1 and key in of_labels)
        }
        return cls(pairs, joints)

    def spread(self, record: Record) -> dict[str, str]:
        """The record as text."""
        flat: dict[str, str] = {}
        for key, cell in record.items():
            if not isinstance(cell, list):
                flat[key] = as_text(cell)
            elif key in self.pairs and len(cell) == self.pairs[key]:
                flat |= {f"{key}.{i}" if len(cell) > 1 else key: as_text(c) for i, c in enumerate(cell)}
            elif key in self.joints:
                flat[key] = self.joints[key].join(as_text(c).strip() for c in cell)
            else:
                flat[key] = as_json(cell) if key in WHOLE else as_text(cell)
        return flat


def is_label(key: str) -> bool:
    """Whether a column is called as labels are, one or several."""
    hints = {hint for task in TASKS.values() for role in task.roles if role.is_label for hint in role.hints}
    name = key.rsplit(".", 1)[-1].strip().lower()
    return bool({name, name.removesuffix("s"), name.removesuffix("es"), re.sub("ies$", "y", name)} & hints)


def is_short(key: str) -> bool:
    """Whether a column is called as summaries are, whose sentences belong together however few they are."""
    hints = {hint for task in TASKS.values() for role in task.roles if role.shorter for hint in role.hints}
    return key.rsplit(".", 1)[-1].strip().lower() in hints


def joint_of(texts: list[str]) -> str:
    """What to put between such texts: a line break where they are lines of verse, a blank where they are sentences; nothing: neither."""
    texts = [text for text in texts if text.strip()]
    if not texts or sum(text.rstrip().endswith(SENTENCE_ENDS) for text in texts) < 0.5 * len(texts):
        return ""
    return "\n" if sorted(map(len, texts))[len(texts) // 2] <= VERSE else " "


# --- JSON Lines -----------------------------------------------------------------------------------------------------------
def lines(blocks: Iterable[bytes], notation: Notation, desk: Desk) -> Iterator[tuple[int, Any]]:
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
                value = notation(line, desk.limits.depth)
            except ValueError as error:
                desk.reject(number, "not_json", f"Line {number:,} is no JSON: {error}.", [line.decode("utf-8", "replace")])
                continue
            if isinstance(value, list) and value and all(isinstance(each, dict) for each in value) and not is_chat(value):
                yield from ((number, each) for each in value)
            elif isinstance(value, dict | list) and value:
                yield number, value
            else:
                desk.reject(
                    number, "no_record", f'Line {number:,} is no record such as {{"text": "...", "label": "..."}}.', [line.decode()]
                )


# --- Records to rows of cells -----------------------------------------------------------------------------------------------
def rows(
    values: Iterator[tuple[int, Any]], desk: Desk, by_line: bool = True
) -> tuple[list[str], list[str], Iterator[tuple[int, list[str]]]]:
    """(original names, unique names, rows). The first records say which shape they have and which columns there are; a rare
    other key is named. Rows of a document, which has no lines that count, are numbered as they come."""
    sample = list(islice(values, FIRST))
    shape = shapes.recognised([value for _, value in sample])

    count = 0

    def flat(records: Iterable[tuple[int, Any]]) -> Iterator[tuple[int, Record]]:
        nonlocal count
        for line, value in records:
            number = line if by_line else count + 1
            try:
                for record in shape.rows(value):
                    count += 1
                    yield line if by_line else count, flatten(record)
            except shapes.LeftOut as reason:
                desk.reject(
                    number, "not_labelled", f"Record {number:,} is left out: {reason}.", map(as_text, flatten(as_record(value)).values())
                )
                count += 1

    raw = list(flat(sample))
    lists = Lists.of([record for _, record in raw], shape.labels)
    first = [(number, lists.spread(record)) for number, record in raw]
    seen = Counter(key for _, record in first for key in record)
    least = max(1, len(first) // 100) if len(first) >= 20 else 0
    keys = [key for key, times in seen.items() if times > least]
    if len(keys) > desk.limits.columns:
        raise desk.fail("too_many_columns", f"{desk.name} has {len(keys):,} columns; at most {desk.limits.columns:,} can be read.")

    def each() -> Iterator[tuple[int, list[str]]]:
        for number, value in first:
            yield from row(number, value)
        for number, record in flat(values):
            yield from row(number, lists.spread(record))
        desk.findings += shape.findings(desk.name)

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
    names = desk.name_columns(originals)
    desk.labels |= {name for name, original in zip(names, originals, strict=True) if original in shape.labels}
    return originals, names, each()
