"""The verb "read": what the files are, staged as text, with all that was noticed."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import polars as pl

from webapp.datasets.reading import (
    FileReport,
    Finding,
    Limits,
    ReadingError,
    agree,
    arrow,
    corpora,
    delimited,
    documents,
    encodings,
    json_records,
    markup,
    parquet,
    roles,
    sources,
    staging,
    tagged,
    text,
    workbook,
    written,
)
from webapp.datasets.reading.report import PLAIN, report
from webapp.datasets.reading.several import OPTION
from webapp.datasets.reading.sources import Source
from webapp.datasets.reading.staging import Desk, Progress
from webapp.spreadsheet import Sheet
from worker.nlp import KINDS
from worker.nlp.languages import NAMES

TABLES = (".csv", ".tsv", ".tab")
REMEDY = "Expected are rows such as: text, label."


def read(job: dict[str, Any], limits: Limits, progress: Progress) -> dict[str, Any]:
    out = Path(job["out"])
    out.mkdir(parents=True, exist_ok=True)
    desks, files = list[Desk](), list[FileReport]()
    texts = not job.get("task") or roles.suffices_alone(KINDS[job["task"]])
    known = {"texts": texts, "task": job.get("task") or "", "mapping": job.get("mapping") or {}}
    options, elsewhere = {**(job.get("options") or {}), **known}, list[ReadingError]()
    for file in job["files"]:
        try:
            found = read_upload(file, out, options, limits, progress)
        except ReadingError as error:
            if error.code != "no_member" or len(job["files"]) == 1:
                raise
            elsewhere.append(error)  # the member that was chosen may be in another upload
            found = read_upload(file, out, {**options, "member": ""}, limits, progress)
            for _, desk in found:  # of the files of this one nobody has chosen any
                desk.findings = [replace(f, asks="confirmation") if f.asks == "member" else f for f in desk.findings]
        for report_of_file, desk in found:
            files.append(report_of_file)
            desks.append(desk)
    if elsewhere and all(file.member != options["member"] for file in files):
        raise elsewhere[0]
    fill_invented(desks)
    settled = agree.settle(list(zip(files, desks, strict=True)), job.get("task") or "", job.get("mapping") or {})
    for desk in desks:
        if not settled.keeps(desk):
            desk.clear()
    files, desks = [file for file, _ in settled.stay], [desk for _, desk in settled.stay]
    desks[0].findings += settled.about_filled()
    if settled.left_out:
        text = f"Files that were left out: {sources.listed(list(settled.left_out))}. {settled.why_left_out()}"
        desks[0].findings.append(Finding("other_files", text, count=len(settled.left_out), asks="confirmation"))
    gather_rejected(desks, out)
    how = (job.get("options") or {}).get(OPTION) or ""
    return report(job.get("task") or "", files, desks, job.get("mapping") or {}, progress, how).to_json()


def read_upload(
    file: dict[str, Any], out: Path, options: dict[str, Any], limits: Limits, progress: Progress
) -> list[tuple[FileReport, Desk]]:
    """All tables of one upload that belong together. One that cannot be read is named while others can."""
    read, failed, taken = list[tuple[Source, FileReport, Desk]](), list[ReadingError](), Counter[str]()
    name, part = file["name"], file.get("part", "file")
    for source in sources.of(Path(file["path"]), name, part, out / f"plain-{part}", limits, options):
        taken[source.part] += 1
        place = f"-{taken[source.part]}" if taken[source.part] > 1 else ""
        desk = Desk(source.title, source.part, out, limits, progress, findings=list(source.findings), place=place)
        try:
            read.append((source, read_source(source, name, desk, options), desk))
        except ReadingError as error:
            if source.is_alone or error.code == "bomb":
                raise
            desk.clear()
            failed.append(error)
    if not read:
        raise failed[0]
    return sources.joined(name, read, failed, options["task"], options["mapping"])


def fill_invented(desks: list[Desk]) -> None:
    """A column that says where rows are from is empty for files that came alone: nobody can be asked to add what nobody brought."""
    for name in dict.fromkeys(name for desk in desks for name in sorted(desk.invented)):
        for desk in desks:
            if name not in desk.originals:
                agree.fill(desk, name)


def gather_rejected(desks: list[Desk], out: Path) -> None:
    """All rejected rows in one file to download; there is none when nothing was rejected."""
    (out / "rejected.csv").unlink(missing_ok=True)
    if any(desk.rejected for desk in desks):
        with (out / "rejected.csv").open("w", newline="", encoding="utf-8") as all_rejected:
            Sheet(all_rejected).writerow(["row", "file", "reason", *desks[0].originals])
            for desk in desks:
                with desk.rejects_path.open(encoding="utf-8", newline="") as part:
                    all_rejected.writelines(part)


# --- One file -------------------------------------------------------------------------------------------------------------
def read_source(source: Source, name: str, desk: Desk, options: dict[str, Any]) -> FileReport:
    file = FileReport(source.part, name, "", source.title, packed=source.packed, member=source.member, members=source.members)
    try:
        if source.error:
            raise source.error
        if source.sheet:
            file = read_workbook(source.path, source.sheet, desk, options, file)
        elif source.rows:
            file = read_members(source.rows, desk, options, replace(file, format=source.kind))
        else:
            reader = {"parquet": read_parquet, "arrow": read_arrow, "text": read_text, "html": read_html, "tmx": read_tmx}[source.kind]
            file = reader(source.path, desk, options, file)
        file = open_cells(desk, file)
    finally:
        desk.close()
    if not file.rows_read:
        if file.rows_rejected:
            first = desk.problems[0].message if desk.problems else ""
            raise desk.fail("all_rejected", f"No row of {desk.name} could be read. The first problem: {first} {REMEDY}")
        raise desk.fail("no_rows", f"{desk.name} has column names but no rows. {REMEDY}")
    rows_in = file.rows_read + desk.rejected + desk.blank
    return replace(file, rows_rejected=desk.rejected, rows_blank=desk.blank, rows_in=rows_in, staged=str(desk.staged_path))


def open_cells(desk: Desk, file: FileReport) -> FileReport:
    """Cells in which records are written down are read as if the file were one of records."""
    if not file.rows_read or desk.holds_records or file.format in PLAIN:
        return file
    table = pl.scan_parquet(desk.staged_path, glob=False)
    if (columns := written.columns_of(table, desk.limits.depth)) is None:
        return file
    wider = desk.staged_path.with_suffix(".wider")
    _originals, names, rows = json_records.rows(written.records(table, columns, desk.limits.depth), desk)
    read = staging.write(staging.frames_of(rows, names), names, wider)
    wider.replace(desk.staged_path)
    return replace(file, rows_read=read)


def read_parquet(path: Path, desk: Desk, _options: dict[str, Any], file: FileReport) -> FileReport:
    return read_typed(*parquet.table(path, desk), desk, replace(file, format="parquet", header_guessed=False))


def read_arrow(path: Path, desk: Desk, _options: dict[str, Any], file: FileReport) -> FileReport:
    return read_typed(*arrow.table(path, desk), desk, replace(file, format="arrow", header_guessed=False))


def read_typed(table: pl.LazyFrame, rows: int, desk: Desk, file: FileReport) -> FileReport:
    """A table whose columns have types; lists and objects in its cells are read as those of JSON are."""
    if parquet.is_nested(table):
        return read_values(parquet.records(table, rows, desk), desk, file)
    originals = table.collect_schema().names()
    names = desk.name_columns(originals)
    renamed = (frame.rename(dict(zip(originals, names, strict=True))) for frame in parquet.frames(table, rows, desk))
    read = staging.write(renamed, names, desk.staged_path)
    return replace(file, lines=read, rows_read=read, rows_rejected=desk.rejected)


def read_workbook(path: Path, sheet: workbook.Sheet, desk: Desk, options: dict[str, Any], file: FileReport) -> FileReport:
    names = desk.name_columns(sheet.originals)
    workbook.note_errors(path, sheet, desk)
    read = staging.write(staging.frames_of(workbook.rows(sheet, desk), names), names, desk.staged_path)
    return replace(
        file,
        format="workbook",
        sheet=sheet.name,
        sheets=sheet.names,
        header_row=sheet.header_row,
        header_guessed=options.get("header_row") is None,
        head=sheet.head,
        lines=len(sheet.rows),
        rows_read=read,
        rows_rejected=desk.rejected,
    )


def read_members(rows: corpora.Rows, desk: Desk, options: dict[str, Any], file: FileReport) -> FileReport:
    originals, cells, guess = rows(desk, known(options["encoding"], desk) if options.get("encoding") else "")
    return stage(originals, cells, desk, encoded(file, guess))


def read_html(path: Path, desk: Desk, options: dict[str, Any], file: FileReport) -> FileReport:
    table = markup.table(path, desk, options)
    file = replace(file, format="html", header_row=table.header_row, header_guessed=options.get("header_row") is None, head=table.head)
    return stage(table.originals, table.rows(desk), desk, file)


def read_tmx(path: Path, desk: Desk, _options: dict[str, Any], file: FileReport) -> FileReport:
    languages = markup.languages(path, desk)
    return stage(languages, markup.units(path, languages, desk), desk, replace(file, format="tmx"))


def stage(originals: list[str], rows: Iterator[tuple[int, list[str]]], desk: Desk, file: FileReport) -> FileReport:
    names = desk.name_columns(originals)
    read = staging.write(staging.frames_of(rows, names), names, desk.staged_path)
    return replace(file, lines=read + desk.rejected + desk.blank, rows_read=read)


def encoded(file: FileReport, guess: encodings.Guess) -> FileReport:
    return replace(
        file,
        encoding=encodings.title(guess.encoding),
        encoding_confidence=guess.confidence,
        encodings=list(dict.fromkeys(encodings.title(name) for name in guess.others)),
        readings=[
            {
                "encoding": encodings.title(r.encoding),
                "language": NAMES.get(r.language, "") if encodings.is_home_of(r.encoding, r.language) else "",
                "score": round(r.score, 2),
                "lines": [line[:200] for line in r.text.splitlines()[:3]],
            }
            for r in guess.readings
        ],
    )


def read_text(path: Path, desk: Desk, options: dict[str, Any], file: FileReport) -> FileReport:
    guess = encodings.Guess(known(options["encoding"], desk)) if options.get("encoding") else text.detect(path, desk.name)
    file = encoded(file, guess)
    first = text.taste(path, guess.encoding, delimited.HEAD)
    blocks = text.blocks(path, desk.name, guess.encoding, desk.note, desk.progress)
    if not first.strip():
        raise desk.fail("no_rows", f"{desk.name} holds no text. {REMEDY}")
    if json_records.begins(first) and not options.get("delimiter"):
        if notation := json_records.notation_of_lines(first, desk.limits.depth):
            return read_values(json_records.lines(blocks, notation, desk), desk, replace(file, format="jsonl"))
        if is_json(first, desk):
            if path.stat().st_size > desk.limits.json:
                raise json_records.too_large(desk.name, desk.limits)
            blocks = text.blocks(path, desk.name, guess.encoding, desk.note, desk.progress, longest=desk.limits.json)
            laid = json_records.document(b"".join(blocks), desk)
            return read_values(iter(enumerate(laid.records, 1)), desk, replace(file, format="json"), by_line=False)
    return read_table(first, blocks, desk, options, file)


def known(encoding: str, desk: Desk) -> str:
    name = encodings.named(encoding)
    if not name:
        raise desk.fail("no_encoding", f"There is no encoding called {encoding[:40]}. Usual ones are UTF-8, GB18030 and Windows-1252.")
    return name


def is_json(head: str, desk: Desk) -> bool:
    """A table may begin with a bracket too; a document that is named or built like JSON is taken for JSON."""
    rest = head.lstrip()[1:].lstrip()
    return desk.name.lower().removesuffix(".gz").endswith(".json") or rest[:1] in {'"', "'", "{", "[", "]", "}"}


def read_values(values: Any, desk: Desk, file: FileReport, by_line: bool = True) -> FileReport:
    last = 0

    def counted() -> Any:
        nonlocal last
        for number, value in values:
            last = number
            yield number, value

    desk.holds_records = True
    _originals, names, rows = json_records.rows(counted(), desk, by_line)
    if not names:
        return replace(file, rows_read=0, rows_rejected=desk.rejected)
    read = staging.write(staging.frames_of(rows, names), names, desk.staged_path)
    return replace(file, header_guessed=False, lines=last, rows_read=read, rows_rejected=desk.rejected)


def read_table(first: str, blocks: Any, desk: Desk, options: dict[str, Any], file: FileReport) -> FileReport:
    if tagged.is_fasttext(first):
        desk.labels.add("label")
        desk.findings.append(Finding("layout", f"{desk.name} was read as fastText: {tagged.PREFIX}... beside each text.", "info"))
        return read_tagged("fasttext", ["label", "text"], tagged.fasttext_rows(blocks, desk), desk, file)
    if tagged.is_conll(first):
        desk.findings.append(tagged.no_task_yet(desk.name))
        return read_tagged("conll", ["text", "tokens", "tags"], tagged.conll_rows(blocks, desk), desk, file)
    if delimited.is_wrapped(first):
        desk.findings.append(
            Finding("layout", f"Each line of {desk.name} stands in quotation marks as a whole; they were taken off.", "info")
        )
        first, blocks = delimited.unwrapped(first), (delimited.unwrapped(block.decode()).encode() for block in blocks)
    inner = (file.member or desk.name).lower()
    sniffed = delimited.sniff(first, options, inner.removesuffix(".txt").endswith(TABLES))
    if sniffed is None and options.get("texts") and documents.has_documents(first):
        names = desk.name_columns([""])
        read = staging.write(staging.frames_of(documents.rows(blocks, desk), names), names, desk.staged_path)
        return replace(file, format="documents", header_guessed=False, rows_read=read, rows_rejected=desk.rejected)
    if sniffed is None:
        head = [[line[:500]] for line in first.split("\n")[:12]]
        sniffed = delimited.Sniffed(delimited.Dialect("\x1f", quoting=False), 0, [""], 1, head, False, 1.0)
        file = replace(file, format="lines")
    if sniffed.width == 1 and delimited.is_fixed_width(first):
        text = f"{desk.name} looks like a table whose columns are kept apart by blanks alone. Save it as CSV, or each line is read as one text."
        desk.findings.append(Finding("fixed_width", text, asks="confirmation"))
    if not sniffed.names_fit:
        text = (
            f"{desk.name} has a name less than columns: {', '.join(name or '(none)' for name in sniffed.names[:10])}. Check which has none."
        )
        desk.findings.append(Finding("header_short", text, asks="mapping"))
    if sniffed.width > desk.limits.columns:
        raise desk.fail("too_many_columns", f"{desk.name} has {sniffed.width:,} columns; at most {desk.limits.columns:,} can be read.")
    table = delimited.Table(sniffed, desk)
    read = staging.write(table.frames(blocks), table.columns, desk.staged_path)
    return replace(
        file,
        format=file.format or "csv",
        delimiter=sniffed.dialect.delimiter if not file.format else "",
        header_row=sniffed.header_row,
        header_guessed=sniffed.guessed,
        head=sniffed.head,
        lines=table.line - 1,
        rows_read=read,
        rows_rejected=desk.rejected,
    )


def read_tagged(form: str, columns: list[str], rows: Iterator[tuple[int, list[str]]], desk: Desk, file: FileReport) -> FileReport:
    desk.holds_records = True
    names = desk.name_columns(columns)
    read = staging.write(staging.frames_of(rows, names), names, desk.staged_path)
    return replace(file, format=form, header_guessed=False, rows_read=read, rows_rejected=desk.rejected)
