"""The verb "read": what the files are, staged as text, with all that was noticed."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import polars as pl

from webapp.datasets.reading import (
    MOST_PROBLEMS,
    SPLIT,
    Column,
    FileReport,
    Finding,
    Limits,
    Problem,
    ReadingError,
    Report,
    arrow,
    corpora,
    delimited,
    documents,
    doubts,
    encodings,
    findings,
    json_records,
    markup,
    parquet,
    roles,
    sources,
    staging,
    tagged,
    templates,
    text,
    workbook,
    written,
)
from webapp.datasets.reading import columns as columns_of
from webapp.datasets.reading.several import OPTION, Several, classes_beside
from webapp.datasets.reading.several import gathered as gather
from webapp.datasets.reading.sources import Source
from webapp.datasets.reading.staging import Desk, Progress, bare_name
from webapp.spreadsheet import Sheet
from worker.nlp import KINDS, TASKS, Task
from worker.nlp.languages import NAMES
from worker.spec import Role

PREVIEW = 20  # rows
PREVIEW_CELL = 2_000  # characters
MOST_ALIKE = 5  # findings of one kind about files
PLAIN = ("lines", "documents")  # formats of files that hold nothing but texts
TABULAR = ("csv", "workbook")  # formats whose columns are named by a line of the file itself
TABLES = (".csv", ".tsv", ".tab")
VERDICTS = ({"true", "false"}, {"0", "1"})  # of answers, one by one
NEARLY = 0.5  # of the best score, from which on another encoding is worth naming
REMEDY = "Expected are rows such as: text, label."


def read(job: dict[str, Any], limits: Limits, progress: Progress) -> dict[str, Any]:
    out = Path(job["out"])
    out.mkdir(parents=True, exist_ok=True)
    desks, files = list[Desk](), list[FileReport]()
    texts = not job.get("task") or roles.suffices_alone(KINDS[job["task"]])
    for file in job["files"]:
        for report_of_file, desk in read_upload(file, out, {**(job.get("options") or {}), "texts": texts}, limits, progress):
            files.append(report_of_file)
            desks.append(desk)
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
    return sources.joined(name, read, failed)


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
                "language": NAMES.get(r.language, ""),
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


# --- All files together -----------------------------------------------------------------------------------------------------
def report(slug: str, files: list[FileReport], desks: list[Desk], wanted: dict[str, str], progress: Progress, how: str) -> Report:
    """`how` is what a person wants of rows with several labels."""
    rows, has_parts = together(files), len({f.part for f in files}) > 1
    progress("looking", 0, 1)
    total = sum(f.rows_read for f in files)
    columns = columns_of.describe(rows, originals=desks[0].originals, labels=desks[0].labels)
    if gathered := gather_classes(columns, rows, files, desks, slug):
        rows = together(files)
        columns = columns_of.describe(rows, originals=desks[0].originals, labels=desks[0].labels)
    guess = roles.guess(columns, rows, total, has_parts)
    task = KINDS[slug] if slug else guess.task
    found = roles.with_roles(columns, task, total, has_parts)
    names = [column.name for column in found]
    mapping, joined = roles.templated({column.role: column.name for column in found if column.role}, found, task)
    if wanted and all(is_there(source, names) for source in wanted.values()):
        mapping, joined = wanted, []
    rows = templates.with_made(rows, mapping)
    counts: Counter[str] = Counter()
    for desk in desks:
        counts.update(desk.counts)
    noticed = about_files(files) + [f for desk in desks for f in desk.findings] + gathered + about_columns(found, files) + about_rows(desks)
    noticed += about_other_texts(joined, mapping, found, task)
    problems: list[Problem] = [problem for desk in desks for problem in desk.problems]
    lacking = task.lacking(mapping)
    fits_better = guess.task if guess.task is not task and (lacking or guess.names > roles.names_for(columns, task, total)) else None
    if not slug and not guess.sure:
        text = f"Nothing says what this data is for. It looks like {task.title.lower()}."
        noticed.append(Finding("task_guessed", text, "warning", asks="task"))
    if lacking:
        noticed.append(lacks(lacking, found, task, files))
        looked, several = findings.Looked(), None
    else:
        label = roles.label_of(task, mapping)
        several = Several.find(rows, mapping[label.name]) if label else None
        each = several.applied(rows, how) if several else rows
        looked = findings.look(each, mapping, task, progress, by_row=True)
        problems += looked.problems
        if several and several.rows:
            looked.findings = several.finding(how) + several.without_conflicts(looked.findings, how)
        used = templates.sources(mapping, names)
        noticed += doubts.unused(
            [c for c in found if c.name not in roles.columns_of_pairs(found)], used | roles.repeated(rows, used, found), task
        )
    if fits_better:
        text = f"This looks like data for {fits_better.title.lower()}: switch the task if that is what you want."
        noticed.append(Finding("other_task", text, "warning" if lacking else "info", asks="task" if lacking else ""))
    return Report(
        task=task.slug,
        fits_better=fits_better.slug if fits_better else "",
        files=files,
        columns=found,
        mapping=mapping,
        preview=rows.drop("_file").head(PREVIEW).with_columns(pl.col(pl.String).str.slice(0, PREVIEW_CELL)).collect().to_dicts(),
        rows=sum(f.rows_in for f in files),
        rows_read=total,
        rows_rejected=sum(f.rows_rejected for f in files),
        rows_blank=sum(f.rows_blank for f in files),
        rows_unusable=looked.unusable,
        problems=problems[:MOST_PROBLEMS],
        counts=dict(counts),
        findings=noticed + looked.findings,
        labels=looked.labels,
        joins=looked.joins,
        kept=looked.kept,
        statistics=looked.statistics,
        several=several.to_json(how) if several and several.rows else {},
    )


def gather_classes(columns: list[Column], rows: pl.LazyFrame, files: list[FileReport], desks: list[Desk], slug: str) -> list[Finding]:
    """Columns of 0 and 1 that are classes get a column of labels beside them, unless there is one. What was done, for people."""
    labels = [role for task in ([KINDS[slug]] if slug else TASKS.values()) for role in task.roles if role.is_label and role.required]
    full = [c for c in columns if c.type != "empty"]
    if not labels or any(roles.hinted(c, label) > 2 and c.distinct > 1 for c in full for label in labels):
        return []
    flags = classes_beside([(c.name, {h["name"] for h in c.histogram}) for c in full if c.distinct <= 2], rows)
    if not flags:
        return []
    name = staging.unique_names([*(c.name for c in columns), "label"])[-1]
    for file, desk in zip(files, desks, strict=True):
        wider = Path(file.staged).with_suffix(".wider")
        frames = gather(pl.scan_parquet(file.staged, glob=False), flags, name).collect_batches(maintain_order=True)
        staging.write(frames, [*(c.name for c in columns), name], wider)
        wider.replace(file.staged)
        desk.originals[name] = name
        desk.labels.add(name)
    others = [c.name for c in full if c.name not in flags and c.type == "text" and 1 < c.distinct <= roles.FEW_VALUES]
    text = f"The columns {', '.join(flags[:10])} hold 0 and 1: the column {name} was made of them, with the names of those that are 1."
    return [Finding("classes_beside", text, "warning" if others else "info", len(flags), name, "mapping" if others else "")]


def is_there(source: str, names: list[str]) -> bool:
    return source in names or (templates.is_template(source, names) and not templates.problem(source, names))


def lacks(lacking: list[Role], columns: list[Column], task: Task, files: list[FileReport]) -> Finding:
    """What a person must still choose, or that there is nothing to choose from."""
    full = [c for c in columns if c.type != "empty"]
    needed = [role.label for role in task.lacking({})]
    if len(full) >= len(needed):
        return Finding(
            "no_role",
            f"No column was recognised for: {', '.join(r.label for r in lacking)}. Choose it in the table.",
            "error",
            asks="mapping",
        )
    name = files[0].name
    needs = f"{task.title.lower()} needs {len(needed)}: {' and '.join(needed).lower()}"
    has = "has only one column" if len(columns) == 1 else f"has {len(full) or 'no'} column{'s'[: len(full) != 1]} with anything in it"
    has = f"is a file of texts, one in each {'line' if files[0].format == 'lines' else 'part'}" if files[0].format in PLAIN else has
    return Finding("one_column", f"{name} {has}; {needs}.", "error", asks="mapping")


def together(files: list[FileReport]) -> pl.LazyFrame:
    """All staged rows with their part and the title of their file; columns that one of the files lacks are refused by name."""
    frames = [
        pl.scan_parquet(f.staged, glob=False).with_columns(pl.lit(f.part).alias("_part"), pl.lit(f.title).alias("_file")) for f in files
    ]
    names = [frame.collect_schema().names() for frame in frames]
    for file, has in zip(files[1:], names[1:], strict=True):
        if lacking := [n for n in names[0] if n not in has]:
            text = f"{file.title} has no column {lacking[0]}, which {files[0].title} has. All files need the same columns."
            raise ReadingError("columns_differ", text, file=file.name, column=lacking[0])
    return pl.concat([frame.select(names[0]) for frame in frames]).select("_row", "_part", "_file", pl.exclude("_row", "_part", "_file"))


def about_files(files: list[FileReport]) -> list[Finding]:
    """What of the layout is a mere guess."""
    found = []
    for f in files:
        if f.encoding_confidence < 0.9:
            near = [each["encoding"] for each in f.readings if each["score"] > NEARLY * f.readings[0]["score"]]
            what = f"It may be {' or '.join(near)}" if len(near) > 1 else f"It is probably {f.encoding}"
            text = f"The file {f.title} does not say how its letters are encoded. {what}: check the special characters."
            found.append(Finding("encoding_guessed", text, asks="encoding"))
        if f.format in PLAIN:
            how = "Each line is a text" if f.format == "lines" else "Blank lines stand between the texts"
            found.append(Finding("texts_alone", f"{f.title} holds nothing but texts. {how}: {f.rows_read:,}.", "info", f.rows_read))
        if f.format in TABULAR and not f.header_row:
            text = f"{f.title} seems to have no line with column names. Choose it if there is one."
            found.append(Finding("no_header", text, asks="header_row"))
        if f.header_row > 1 + delimited.says_delimiter(f.head):
            text = f"Line {f.header_row} of {f.title} was taken for the column names."
            found.append(Finding("title_lines", text, count=f.header_row - 1, asks="header_row"))
    alike: Counter[str] = Counter()  # an archive may hold hundreds of files of one kind
    return [f for f in found if not alike.update([f.code]) and alike[f.code] <= MOST_ALIKE]


def about_columns(columns: list[Column], files: list[FileReport]) -> list[Finding]:
    """Names that had to be made up, and roles that no name gives. A file without a header says so itself."""
    found = []
    made_up = [c.name for c in columns if bare_name(c.original) not in {"", c.name}]
    if made_up:
        text = f"Columns of the same name were told apart as: {', '.join(made_up[:10])}."
        found.append(Finding("double_names", text, count=len(made_up), asks="mapping"))
    nameless = [c.name for c in columns if not bare_name(c.original) and c.type != "empty"]
    if nameless and len(nameless) < len(columns):
        found.append(Finding("no_name", f"Columns without a name are called: {', '.join(nameless[:10])}.", "info", len(nameless)))
    chosen = [c for c in columns if c.role and c.role != SPLIT]
    others = [c for c in columns if c.type != "empty" and c not in chosen]
    in_order = any(c.reason == roles.IN_ORDER for c in chosen)
    by_name = all(c.sure for c in chosen) or not (others or in_order)
    if not all(f.format in PLAIN for f in files) and not (by_name and all(bare_name(c.original) for c in chosen)):
        guessed = [c.name for c in chosen if not c.sure or not bare_name(c.original)]
        text = f"What these columns are is a guess from what they hold: {', '.join(guessed[:10])}. Check it in the table."
        found.append(Finding("columns_guessed", text, count=len(guessed), asks="mapping"))
    return found


def about_other_texts(joined: list[str], mapping: dict[str, str], columns: list[Column], task: Task) -> list[Finding]:
    """Texts beside the ones that are learnt, and answers that are better or worse than others."""
    found = []
    if joined:
        text = f"{called(joined)} may belong to what is learnt, so a template joins the columns. Look at it, or choose one column."
        found.append(Finding("template_proposed", text, count=len(joined), column=joined[0], asks="mapping"))
    pairs = roles.columns_of_pairs(columns)
    if pairs and not roles.is_of_pairs(task):
        text = f"{called(pairs)} hold a better and a worse answer to the same prompt. Keep them as preference pairs."
        found.append(Finding("preference_pairs", text, count=len(pairs), column=pairs[0], asks="mapping"))
    judged = next((c for c in columns if c.name.strip().lower() == "label" and c.name not in mapping.values()), None)
    if judged and {h["name"].strip().lower() for h in judged.histogram} in VERDICTS and "completion" in mapping:
        text = (
            f"{called([judged.name])} says of each answer whether it is good, and is not used: bad answers would be learnt like good ones."
        )
        found.append(Finding("unpaired_preferences", text, column=judged.name, asks="mapping"))
    return found


def called(names: list[str]) -> str:
    return ("The column " if len(names) == 1 else "The columns ") + ", ".join(f"“{name[:80]}”" for name in names[:10])


def about_rows(desks: list[Desk]) -> list[Finding]:
    """One sentence for each kind of row problem."""
    titles = {
        "ragged": "Rows with too many or too few cells, rejected",
        "unclosed_quote": "Lines with a quotation mark that is not closed",
        "tall_cell": "Records that span very many lines",
        "spoilt_encoding": "Lines in another encoding than the rest",
        "nul": "Lines with NUL bytes, which were removed",
        "too_long": "Rows that are too long, rejected",
        "repeated_header": "Rows that repeat the column names, left out",
        "total_line": "Lines of totals at the end, left out",
        "not_json": "Lines that are no JSON, rejected",
        "no_record": "Lines that hold no record, rejected",
        "unknown_key": "Records with other columns than the rest",
        "not_labelled": "Records that were skipped or that nobody has labelled, left out",
        "error_cell": "Cells that hold an error of the spreadsheet",
    }
    counts: Counter[str] = Counter()
    for desk in desks:
        counts.update(desk.counts)
    found = [Finding(code, f"{titles.get(code, code)}: {n:,}.", count=n, asks="accept_rejected") for code, n in counts.items()]
    if blank := sum(desk.blank for desk in desks):
        found.append(Finding("blank_rows", f"Rows with nothing in any cell, left out: {blank:,}.", "info", blank))
    return found
