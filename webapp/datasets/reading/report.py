"""What all files of a reading are together: columns, roles, findings, and whether anything is left to doubt."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import polars as pl

from webapp.datasets.reading import (
    MOST_PROBLEMS,
    SPLIT,
    Column,
    FileReport,
    Finding,
    Problem,
    Report,
    agree,
    delimited,
    doubts,
    findings,
    roles,
    staging,
    templates,
)
from webapp.datasets.reading import columns as columns_of
from webapp.datasets.reading.several import Several, classes_beside
from webapp.datasets.reading.several import gathered as gather
from webapp.datasets.reading.staging import Desk, Progress, bare_name
from worker.nlp import KINDS, TASKS, Task, chats
from worker.spec import Role

PREVIEW = 20  # rows
PREVIEW_CELL = 2_000  # characters
MOST_ALIKE = 5  # findings of one kind about files
PLAIN = ("lines", "documents")  # formats of files that hold nothing but texts
TABULAR = ("csv", "workbook")  # formats whose columns are named by a line of the file itself
VERDICTS = ({"true", "false"}, {"0", "1"})  # of answers, one by one
NEARLY = 0.5  # of the best score, from which on another encoding is worth naming


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
        looked.findings += doubts.about_leaks(rows, mapping, task)
        for one in dict.fromkeys((f.name, f.part) for f in files if f.sheet):
            looked.findings += doubts.about_sheets(rows, mapping, task, [f for f in files if f.sheet and (f.name, f.part) == one])
        used = set(templates.sources(mapping, names))
        noticed += doubts.about_rivals(found, mapping, task) if all(d.labels == set() for d in desks) else []
        noticed += doubts.unused(rows, [c for c in found if c.name not in roles.columns_of_pairs(found)], used, task)
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
    others = [c for c in full if c.name not in flags and 1 < c.distinct <= roles.FEW_VALUES and not columns_of.is_split(c)]
    doubtful = len(flags) == 2 or bool(others)  # two may as well be a yes and a no about something else
    text = f"The columns {', '.join(flags[:10])} hold 0 and 1: the column {name} was made of them, with the names of those that are 1."
    return [Finding("classes_beside", text, "warning" if doubtful else "info", len(flags), name, "mapping" if doubtful else "")]


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
    """All staged rows with their part and the title of their file, with the columns that all of them have."""
    frames = [
        pl.scan_parquet(f.staged, glob=False).with_columns(pl.lit(f.part).alias("_part"), pl.lit(f.title).alias("_file")) for f in files
    ]
    names = [frame.collect_schema().names() for frame in frames]
    shared = [n for n in names[0] if all(n in has for has in names)]
    return pl.concat([frame.select(shared) for frame in frames]).select("_row", "_part", "_file", pl.exclude("_row", "_part", "_file"))


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
        if f.format in TABULAR and not f.header_row and f.header_guessed:
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
    speaker = next((c.name for c in columns if c.name not in mapping.values() and says_who_speaks(c)), None)
    if speaker and "completion" not in mapping and roles.suffices_alone(task):
        text = (
            f"Each row is one message of a chat: the column “{speaker[:80]}” says who speaks. They would be learnt as"
            " texts on their own. Put all messages of a chat into one cell, as a list of role and content."
        )
        found.append(Finding("loose_messages", text, column=speaker, asks="mapping"))
    return found


def says_who_speaks(column: Column) -> bool:
    said = {chats.ROLES.get(h["name"].strip().lower()) for h in column.histogram if h["name"].strip()}
    return {"user", "assistant"} <= said and None not in said


def called(names: list[str]) -> str:
    return ("The column " if len(names) == 1 else "The columns ") + agree.quoted(names, 10)


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
        "not_labelled": "Records without a label that counts (skipped, not labelled or labelled differently), left out",
        "error_cell": "Cells that hold an error of the spreadsheet",
    }
    counts: Counter[str] = Counter()
    for desk in desks:
        counts.update(desk.counts)
    found = [Finding(code, f"{titles.get(code, code)}: {n:,}.", count=n, asks="accept_rejected") for code, n in counts.items()]
    if blank := sum(desk.blank for desk in desks):
        found.append(Finding("blank_rows", f"Rows with nothing in any cell, left out: {blank:,}.", "info", blank))
    return found
