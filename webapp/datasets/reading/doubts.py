"""What of mapped rows contradicts what they are said to be: whoever brought them should look before a model learns them."""

from __future__ import annotations

import re
from typing import Any

import polars as pl

from webapp.datasets.reading import PARTS, SPLIT, Column, FileReport, Finding, roles
from webapp.datasets.reading.columns import part_of
from webapp.datasets.reading.staging import first_rows
from webapp.datasets.reading.values import opened
from worker.nlp import Task
from worker.spec import Role

LOOKED_AT = 50_000  # rows whose cells are looked at one by one
RECORD = r"^\s*(\[\s*(\]|[\[{\"'\d-][\s\S]*\])|\{\s*[\"'][\s\S]*\})\s*$"  # a list or an object of JSON or Python
MARKUP = r"^\s*<(!doctype|\?xml|[a-zA-Z][\w:-]*(\s[^>]*)?/?>[\s\S]*>\s*$)"
PLACEHOLDER = (
    r"(?i)^\s*(lorem ipsum.*|todo|tbd|tba|xxx+|foo(bar)?|asdf+|placeholder.*|insert text.*|text goes here|sample text|\[(deleted|removed)\]"
    r"|\d+ bytes|<binary>|\\N|version https://git-lfs\.github\.com/spec/v1.*|#(n/a|ref!|name\?|value!|div/0!|null!|num!))\s*$"
)
MARKS = (  # of who speaks, written into a text
    r"<\|(im_start|user|assistant|start_header_id|eot_id|end_of_text|system)\|>|\[/?INST\]|<start_of_turn>|<(human|bot)>:"
    r"|(?m:^\s*(### ?(Instruction|Response|Human|Assistant|User|Input)\b|(Human|Assistant|USER|ASSISTANT): ))"
)
MOST_ALIKE = 0.3  # of the rows may hold one and the same text
FEW_ROWS = 20  # below which that says nothing
SHOWN_ROWS = 5  # of those that a finding is about
APART = 6.0  # times may the texts of a pair of languages differ in length
WORDS = 3  # from so many on a cell is a text that people read,
PROSE = 0.3  # of the cells of a column that holds texts, between others that only say "ok"
NAMING = {  # last words of the names of columns that tell of a text and are none
    *("author", "name", "names", "user", "username", "location", "address", "city", "country", "agent", "id"),
    *("at", "date", "time", "timestamp", "path", "filename", "url", "urls", "uri", "link", "links"),
}
ABOUT = {"metadata", "meta", "info", "tokens", "entities", "spans", "images", "videos", "files", "options", "tools", "functions"}
TITLES = ("title", "titles", "headline", "标题")
PERHAPS_NONE = {"none", ".", "..", "...", "unlabeled", "unlabelled", "unknown", "no label", "empty", "missing", "*", "无", "未知"}
RARE = 0.6  # of the rows that each label would have if all had as many
TOO_MANY = 0.1  # of the texts with two labels, or of the held-out rows that are taught too
SIGN = r"^[^\w\s]{1,3}$"
CODE = r"^[A-Z]{2,4}$"


def about(rows: pl.LazyFrame, mapping: dict[str, str], task: Task) -> list[Finding]:
    """`rows` has the mapped roles as columns, and `_part`."""
    few = first_rows(rows, LOOKED_AT)
    return [finding for role in roles.texts_of(task, mapping) for finding in about_text(few, role, mapping, task)] + lengths(
        few, mapping, task
    )


# --- Cells ----------------------------------------------------------------------------------------------------------------
def about_text(few: pl.DataFrame, role: Role, mapping: dict[str, str], task: Task) -> list[Finding]:
    found, column = list[Finding](), mapping[role.name]
    cells = few[role.name].drop_nulls()
    full = cells.filter(cells.str.strip_chars() != "")

    def say(code: str, text: str, count: int, which: pl.Expr) -> None:
        found.append(Finding(code, text, count=count, column=column, asks="confirmation", rows=some(few.lazy(), which)))

    cell = pl.col(role.name)
    records = 0 if role.takes_records else int(full.str.contains(RECORD).sum())
    if records:
        text = f"{rows_of(records)} in the column {column} that {have(records)} a list or a record, not a text. It would be learnt letter by letter."
        say("records_as_text", text, records, cell.str.contains(RECORD))
    markup = int(full.str.contains(MARKUP).sum())
    if markup > full.len() / 2:
        text = f"The column {column} holds markup such as “{shown(full[0])}”. Its tags would be learnt too."
        say("markup_as_text", text, markup, cell.str.contains(MARKUP))
    marked = int(full.str.contains(MARKS).sum()) if role.takes_records else 0
    if marked > full.len() / 2:
        first = full.filter(full.str.contains(MARKS)).str.extract(f"({MARKS})", 1)[0].strip()
        text = (
            f"The column {column} holds chats written out as texts, with marks such as “{shown(first)}”. The marks would be learnt as "
            "words. Bring each chat as a list of role and content, or confirm that it is meant so."
        )
        say("chat_as_text", text, marked, cell.str.contains(MARKS))
    idle = int(full.str.contains(PLACEHOLDER).sum())
    if idle:
        first = full.filter(full.str.contains(PLACEHOLDER))[0]
        text = f"{rows_of(idle)} in the column {column} with a placeholder, not a text: “{shown(first)}”."
        say("placeholders", text, idle, cell.str.contains(PLACEHOLDER))
    elif full.len() >= FEW_ROWS and not is_shared(role, mapping, task):
        commonest = full.value_counts(sort=True).row(0)
        says_much = role.is_key or len(commonest[0].split()) >= WORDS  # a short answer may well be the right one again and again
        if says_much and commonest[1] > MOST_ALIKE * full.len():
            share = f"{commonest[1]:,} of {full.len():,} rows"
            text = f"One text stands in {share} of the column {column}: “{shown(commonest[0])}”."
            say("same_text", text, commonest[1], cell == commonest[0])
    return found


def some(rows: pl.LazyFrame, which: pl.Expr) -> list[dict[str, Any]]:
    """The first of these rows, for people to look at; none where the rows of a version no longer say where they are from."""
    if not {"_row", "_file"} <= set(rows.collect_schema().names()):
        return []
    found = rows.filter(which).select(row="_row", file="_file").head(SHOWN_ROWS)
    return found.collect(engine="streaming").to_dicts()


def is_shared(role: Role, mapping: dict[str, str], task: Task) -> bool:
    """Whether many rows rightly have this text: a passage of many questions, a question to many passages."""
    return not role.required or (len(roles.needed_of(task, mapping)) > 1 and (role.is_key or not (role.shorter or role.language)))


def rows_of(count: int) -> str:
    return "There is 1 row" if count == 1 else f"There are {count:,} rows"


def have(count: int) -> str:
    return "holds" if count == 1 else "hold"


def shown(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= 60 else line[:59] + "…"


# --- Lengths --------------------------------------------------------------------------------------------------------------
def lengths(few: pl.DataFrame, mapping: dict[str, str], task: Task) -> list[Finding]:
    """Texts that should be the shorter ones and are not; a text and its translation of quite another length."""
    if not few.height:
        return []
    key = roles.key_of(task, mapping)
    found = []
    for role in (each for each in roles.texts_of(task, mapping) if each.name != key.name):
        is_pair = role.language and key.language
        if not (role.shorter or is_pair):
            continue
        sizes = few.select(pl.col(key.name).str.len_chars().alias("key"), pl.col(role.name).str.len_chars().alias("own"))
        own, other = (float(sizes[name].median() or 0) for name in ("own", "key"))  # type: ignore[arg-type]
        if role.shorter and own > other:
            text = f"The {plural(role)} are longer than the {plural(key)}: {own:,.0f} against {other:,.0f} characters. Were the two columns mixed up?"
            found.append(Finding("proportions", text, column=mapping[role.name], asks="confirmation"))
        elif is_pair and min(own, other) > 0 and max(own, other) > APART * min(own, other):
            text = f"The two texts of a row differ too much in length for a translation: {other:,.0f} against {own:,.0f} characters."
            found.append(Finding("proportions", text, column=mapping[role.name], asks="confirmation"))
    return found


def plural(role: Role) -> str:
    word = role.label.lower()
    return word[:-1] + "ies" if word.endswith("y") else word + "s"


# --- Labels ---------------------------------------------------------------------------------------------------------------
def kept(labels: dict[str, int], nothing: list[str]) -> list[str]:
    """Of `nothing`, labels that elsewhere stand for "no label", those that are classes here: "-" beside "+"."""
    signs = [name for name in labels if pl.Series([name]).str.contains(SIGN)[0]]
    if len(signs) < 2 or len(signs) < len([name for name in labels if name]):
        return []
    return [name for name in nothing if name in signs and labels[name] >= 0.2 * sum(labels.values())]


def about_codes(labels: dict[str, int], nothing: list[str], column: str) -> list[Finding]:
    """ "NA" among codes of its kind (EU, APAC) may be North America, and a rare "None" may be no class."""
    others = [name for name in labels if name and name not in nothing]
    found = []
    for name in others:
        if name.lower() in PERHAPS_NONE and labels[name] < RARE * sum(labels.values()) / len(labels):
            text = f"The label “{name}” ({labels[name]:,} rows) may say that there is none. Empty its name to leave these rows out."
            found.append(Finding("label_or_none", text, count=labels[name], column=f"{column}: {name}", asks="labels"))
    if others and all(pl.Series(others).str.contains(CODE)):
        for name in nothing:
            if pl.Series([name]).str.contains(CODE)[0]:
                text = f"“{name}” ({labels[name]:,} rows) reads as “no label”, yet it may be a code like {others[0]}. Write it beside the label to keep it."
                found.append(Finding("label_or_none", text, count=labels[name], column=f"{column}: {name}", asks="labels"))
    return found


def about_parts(
    rows: pl.LazyFrame, mapping: dict[str, str], label: Role, nothing: list[str], joins: dict[str, str]
) -> tuple[list[Finding], dict[str, str]]:
    """Labels that only one side of a split has which the files bring, and joins for them. `rows` has `_part`, the label, and SPLIT
    where a column is mapped to it."""
    names = rows.collect_schema().names()
    part = pl.col(SPLIT) if SPLIT in names else pl.col("_part")
    counted = rows.group_by(part.alias("part"), label.name).agg(pl.len().alias("n")).collect(engine="streaming")
    taught, held = dict[str, int](), dict[str, int]()
    where: dict[str, str] = {}
    for written, name, n in counted.iter_rows():
        side = written if written in PARTS else part_of(written or "")
        name = joins.get(name, name)
        if not side or not name or name in nothing:
            continue
        (taught if side == "train" else held)[name] = (taught if side == "train" else held).get(name, 0) + n
        if side != "train":
            where[name] = side
    if not taught or not held:
        return [], {}
    column, found, more = mapping[label.name], list[Finding](), dict[str, str]()
    for name in sorted(held.keys() - taught.keys()):
        text = (
            f"The label “{shown(name)}” has no training rows ({where[name]} has {held[name]:,}): it cannot be learnt, and its score is 0."
        )
        if name == "-1" and all(other.isdigit() for other in taught):
            text = f"The label “-1” stands in {where[name]} rows only ({held[name]:,}): it usually says that the labels are not published."
            more[name] = ""
        found.append(Finding("untaught_label", text, count=held[name], column=f"{column}: {name}", asks="labels"))
    if unmeasured := sorted(taught.keys() - held.keys()):
        listed = ", ".join(f"“{shown(name)}”" for name in unmeasured[:5]) + (" …" if len(unmeasured) > 5 else "")
        text = f"No validation or test row has these labels, so nothing measures them: {listed}."
        found.append(Finding("unmeasured_label", text, count=len(unmeasured), column=column, asks="labels"))
    return found[:20], more


# --- Texts that stand in two places -----------------------------------------------------------------------------------------
def folded(mapping: dict[str, str], task: Task) -> pl.Expr:
    """The same number for rows whose texts differ only in capitals and blanks; null where all are empty."""
    texts = [
        pl.col(mapping[role.name]).str.to_lowercase().str.replace_all(r"\s+", " ").str.strip_chars()
        for role in roles.texts_of(task, mapping)
    ]
    return pl.when(pl.any_horizontal(text != "" for text in texts)).then(pl.struct(texts).hash(13))


def about_leaks(rows: pl.LazyFrame, mapping: dict[str, str], task: Task) -> list[Finding]:
    """Held-out rows, as the files bring them, whose text is learnt too. `rows` has the file's columns and `_part`."""
    side = pl.col(mapping[SPLIT]) if SPLIT in mapping else pl.col("_part")
    counted = rows.select(side.alias("side"), folded(mapping, task).alias("text")).drop_nulls().group_by("side", "text").agg(n=pl.len())
    table = counted.collect(engine="streaming")
    table = table.with_columns(pl.col("side").replace_strict({s: part_of(s) for s in table["side"].unique()}, return_dtype=pl.String))
    held = table.filter(~pl.col("side").is_in(["", "train"]))
    taught = int(held.join(table.filter(pl.col("side") == "train"), on="text", how="semi")["n"].sum())
    rows_held = int(held["n"].sum())
    if taught <= TOO_MANY * rows_held:
        return []
    text = f"{taught:,} of {rows_held:,} held-out rows have a text that also stands in the training rows. Scores on them say little."
    return [Finding("leak", text, count=taught, asks="confirmation")]


def about_sheets(rows: pl.LazyFrame, mapping: dict[str, str], task: Task, sheets: list[FileReport]) -> list[Finding]:
    """Sheets read as one table that hold the same texts may be two states of one. `rows` has the file's columns and `_file`."""
    if len(sheets) < 2:
        return []
    texts = rows.filter(pl.col("_file").is_in([sheet.title for sheet in sheets])).select("_file", folded(mapping, task).alias("text"))
    shared = texts.drop_nulls().unique().group_by("text").len().filter(pl.col("len") > 1).select(pl.len()).collect().item()
    if not shared:
        return []
    names = ", ".join(sheet.sheet for sheet in sheets[:10])
    text = f"The sheets {names} were read as one table, yet they share texts: {shared:,}. Choose one of them if it is a copy of another."
    return [Finding("several_sheets", text, count=shared, asks="sheet")]


# --- Columns --------------------------------------------------------------------------------------------------------------
def unused(rows: pl.LazyFrame, columns: list[Column], used: set[str], task: Task) -> list[Finding]:
    """Columns without a role that hold texts which a person would want learnt, unless a used one says the same."""
    whole = sum(role.required and role.kind == "text" for role in task.roles) > 1  # then a title is no part of what is asked
    others = [c for c in columns if c.name not in used]
    free = [c.name for c in others if reads_as_text(c) and not (whole and c.name.lower() in TITLES)]
    again = roles.repeated(rows, used, free) if free else set[str]()
    left = [c.name for c in others if (c.name in free and c.name not in again) or goes_on(c, used) or holds_texts(c)]
    if not left:
        return []
    listed = ", ".join(left[:10])
    what = f"The column {listed} holds texts and is" if len(left) == 1 else f"The columns {listed} hold texts and are"
    return [Finding("unused_text", f"{what} not used. Choose what the model should learn from.", count=len(left), asks="mapping")]


def reads_as_text(column: Column) -> bool:
    """Sentences, rather than names, addresses, dates, numbers or a few values again and again."""
    words = re.split(r"[\W_]+", re.sub(r"(?<=[a-z])(?=[A-Z])", "_", column.name).lower())
    is_naming = words[-1] in NAMING or words[0].startswith("file")
    return column.type == "text" and column.distinct > roles.FEW_VALUES and column.prose > PROSE and not is_naming


def goes_on(column: Column, used: set[str]) -> bool:
    """Whether it is another item of a list of which one is used."""
    base, _, number = column.name.rpartition(".")
    return number.isdigit() and column.type == "text" and any(name.rpartition(".")[0] == base for name in used if base)


def holds_texts(column: Column) -> bool:
    """Whether its cells are records in which people wrote or chose something: answers, replies, labels with their scores."""
    is_about = re.split(r"[\W_]+", column.name.lower())[-1] in ABOUT
    return not is_about and any(is_written(opened(cell)) for cell in column.examples)


def is_written(value: Any) -> bool:
    if not isinstance(value, list) or not value or not all(isinstance(each, dict) for each in value):
        return False
    named = {str(key).lower() for each in value for key in each}
    texts = [cell for each in value for cell in each.values() if isinstance(cell, str)]
    return bool(named & {"label", "labels"}) or any(len(text.split()) >= WORDS for text in texts)


def about_rivals(columns: list[Column], mapping: dict[str, str], task: Task) -> list[Finding]:
    """Columns that are called as the label is, in another part of the record: "sentiment.label" and "topic.label"."""
    label = roles.label_of(task, mapping)
    base, _, last = mapping[label.name].rpartition(".") if label else ("", "", "")
    if not label or not base:
        return []
    rivals = [c.name for c in columns if c.name.rpartition(".")[2] == last and 1 < c.distinct <= roles.FEW_VALUES]
    if len(rivals) < 2:
        return []
    text = f"Several columns may be the label: {', '.join(rivals[:10])}. {mapping[label.name]} was taken."
    return [Finding("several_questions", text, count=len(rivals), column=mapping[label.name], asks="mapping")]
