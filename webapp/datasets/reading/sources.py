"""The tables in one upload, each as a file of its own to be read, and how they become one again."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import polars as pl

from webapp.datasets.reading import FileReport, Finding, Limits, ReadingError, agree, container, corpora, members, signs, workbook
from webapp.datasets.reading.roles import FEW_VALUES
from webapp.datasets.reading.staging import Desk

FEW_NAMES = 5  # in one sentence


@dataclass(frozen=True)
class Source:
    """Something that becomes one staged table."""

    path: Path
    kind: str  # one of signs.READ, "texts" or "pairs"
    part: str
    title: str  # what messages call it
    packed: str = ""
    member: str = ""
    members: list[str] = field(default_factory=list)
    sheet: workbook.Sheet | None = None
    rows: corpora.Rows | None = None  # of texts and pairs
    findings: list[Finding] = field(default_factory=list)
    error: ReadingError | None = None  # why it cannot be read
    is_alone: bool = True
    piece: str = ""  # the same for pieces of one table, which differ by a number in their names


def of(path: Path, name: str, part: str, room: Path, limits: Limits, options: dict[str, Any]) -> Iterator[Source]:
    """What is to be read, one after the other; what was unpacked for one is gone when the next one comes."""
    with container.opened(path, name, room, limits) as opened:
        if opened.archive is None:
            inside = name.removesuffix(container.ENDINGS[opened.packed]) if opened.packed else ""
            yield from sheets(Source(opened.path, opened.kind, part, name, opened.packed, inside), name, limits, options)
            return
        plan = members.plan(opened.archive.members, options.get("member") or "", name, limits.tables)
        inner, second = (room.with_name(f"{room.name}-{which}") for which in ("member", "second"))
        source = Source(inner, "text", part, name, opened.packed, members=plan.choices, findings=beside(plan, name))
        try:
            if plan.texts:
                rows = corpora.texts(opened.archive, plan.texts, inner, with_parts=part == "file")
                yield replace(source, kind="texts", rows=rows)
            elif plan.pairs:
                for pair in plan.pairs:
                    title = name if len(plan.pairs) == 1 else f"{name}: {pair.sides[0].name}"
                    rows = corpora.pairs(opened.archive, pair, (inner, second))
                    yield replace(source, kind="pairs", rows=rows, part=pair.part if part == "file" else part, title=title)
            else:
                yield from tables(source, opened.archive, plan, limits, options)
        finally:
            inner.unlink(missing_ok=True)
            second.unlink(missing_ok=True)


def tables(source: Source, archive: container.Archive, plan: members.Plan, limits: Limits, options: dict[str, Any]) -> Iterator[Source]:
    alone = len(plan.tables) == 1
    for part, member in plan.tables:
        with source.path.open("wb") as out:
            archive.pour(member, out)
        title = source.title if alone else f"{source.title}: {member.name}"
        each = replace(
            source,
            part=part if source.part == "file" else source.part,
            title=title,
            member=member.name,
            is_alone=alone,
            piece=members.shard_of(member),
        )
        try:
            yield from list(sheets(replace(each, kind=plain_kind(source.path, member, archive.name)), source.title, limits, options))
        except ReadingError as error:
            if alone:
                raise
            yield replace(each, error=error)


def plain_kind(path: Path, member: container.Member, name: str) -> str:
    kind = signs.checked(signs.kind_of(path), f"{member.name} in {name}")
    if kind in {*signs.COMPRESSED, *signs.ARCHIVES}:
        text = f"{name} holds another archive, {member.name}. Upload that one by itself, or its files packed once."
        raise ReadingError("nested", text, file=name)
    return kind


def sheets(source: Source, name: str, limits: Limits, options: dict[str, Any]) -> Iterator[Source]:
    """A workbook as its sheets, everything else as it is."""
    if source.kind != "workbook":
        yield source
        return
    book = workbook.open_book(source.path, source.title, limits, options)
    parts = [members.part_named(sheet.name) for sheet in book.together]
    for part, sheet in zip(parts, book.together, strict=True):
        several = len(book.together) > 1
        yield replace(
            source,
            part=part if all(parts) and several and source.part == "file" else source.part,
            title=f"{source.title}: {sheet.name}" if several else source.title,
            sheet=sheet,
            is_alone=source.is_alone and not several,
            findings=[*source.findings, *unread_sheets(source.title, book, sheet)],
        )


def unread_sheets(title: str, book: workbook.Book, sheet: workbook.Sheet) -> list[Finding]:
    if not book.others or sheet is not book.together[0]:
        return []
    read = ", ".join(each.name for each in book.together)
    text = f"{title} has sheets with other columns, which were not read: {listed(book.others)}. Read: {read}."
    return [Finding("several_sheets", text, count=len(book.others), asks="sheet")]


def beside(plan: members.Plan, name: str) -> list[Finding]:
    """What of an archive was not read, and what else is to be known about it."""
    found = []
    if plan.unread:
        text = f"Files in {name} that were not read: {listed(plan.unread)}. Choose one of them if it holds the rows."
        found.append(Finding("unread_files", text, count=len(plan.unread), asks="member"))
    if plan.missing:
        text = f"{name} lacks {plan.missing}: the other pieces count it. Download it too, or go on without it."
        found.append(Finding("missing_piece", text, asks="confirmation"))
    if plan.beside:
        found.append(Finding("no_rows_beside", f"Files in {name} that hold no rows: {listed(plan.beside)}.", "info", len(plan.beside)))
    for pair in plan.pairs[:1]:
        if not pair.is_said:
            first, second = (side.last for side in pair.sides)
            text = f"{first} was taken for the source and {second} for its translation: no name says which way. Check it in the table."
            found.append(Finding("pair_order", text, asks="mapping"))
    return found


def listed(names: list[str]) -> str:
    return ", ".join(names[:FEW_NAMES]) + (f" and {len(names) - FEW_NAMES:,} more" if len(names) > FEW_NAMES else "")


# --- Together again -------------------------------------------------------------------------------------------------------
def joined(
    name: str, read: list[tuple[Source, FileReport, Desk]], failed: list[ReadingError], slug: str, wanted: dict[str, str]
) -> list[tuple[FileReport, Desk]]:
    """The tables that have the same columns. Nobody is asked about parts and pieces; about all others, read or not, people are.
    `slug` and `wanted`: the task and the mapping, if somebody has said them."""
    settled = agree.settle([(file, desk) for _, file, desk in read], slug, wanted)
    kept = [each for each in read if settled.keeps(each[2])]
    first = kept[0][2]
    first.findings += settled.about_filled()
    unread = [*settled.left_out, *(e.file or name for e in failed)]
    if unread:
        reason = failed[0].message if failed else settled.why_left_out()
        text = f"Files in {name} that were not read: {listed(unread)}. {reason}"
        first.findings.append(Finding("other_files", text, count=len(unread), asks="member"))
    by_part = Counter(source.part for source, _, _ in kept)
    pieces = {(source.part, source.piece) for source, _, _ in kept if not source.sheet or source.piece}
    if any(times > 1 for times in by_part.values()):
        if len(pieces) > len(by_part):
            text = (
                f"{len(kept)} files in {name} have the same columns and were read as one table: {listed([s.member for s, _, _ in kept])}."
            )
            first.findings.append(
                Finding("several_files", f"{text} Choose one of them if they do not belong together.", "warning", len(kept), asks="member")
            )
        if len(pieces) > len(by_part) or all(source.sheet for source, _, _ in kept):
            tell_apart(kept)
    told = list[Finding]()
    for _, _, desk in read:
        if all(desk is not d for _, _, d in kept):
            desk.clear()
        else:  # what is said of the archive is said once
            desk.findings = [finding for finding in desk.findings if finding not in told]
            told += desk.findings
    return [(replace(file, members=file.members if at == 0 else []), desk) for at, (_, file, desk) in enumerate(kept)]


def tell_apart(kept: list[tuple[Source, FileReport, Desk]]) -> None:
    """A column with the name of the sheet or file, which may be what the rows are about."""
    names = [source.sheet.name if source.sheet else source.member for source, _, _ in kept]
    column = "sheet" if kept[0][0].sheet else "file"
    if column == "file":
        folder = os.path.commonpath([one.rpartition("/")[0] or "." for one in names]) if all("/" in one for one in names) else ""
        names = [one.removeprefix(f"{folder}/").rsplit(".", 1)[0] for one in names]
    if not 1 < len(set(names)) <= FEW_VALUES or any(column in desk.originals for _, _, desk in kept):
        return
    for name, (_, _, desk) in zip(names, kept, strict=True):
        told = desk.staged_path.with_suffix(".told")
        pl.scan_parquet(desk.staged_path, glob=False).with_columns(pl.lit(name).alias(column)).sink_parquet(told, compression="zstd")
        told.replace(desk.staged_path)
        desk.originals[column] = column
        desk.invented.add(column)
