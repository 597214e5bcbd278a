"""Which column plays which role, and which task a file is for: what the names of the columns say, then what they hold."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace

import polars as pl

from webapp.datasets.reading import SPLIT, Column, templates
from webapp.datasets.reading.columns import MOST_LABELS, is_split, share
from webapp.datasets.reading.staging import beginnings, first_rows
from worker.nlp import KINDS, Task
from worker.nlp.languages import NAMES
from worker.spec import Role

EAST_ASIAN = r"[\u3040-\u30ff\u3400-\u9fff\uac00-\ud7a3]"
RECORDS = ("[{", "{")  # a cell that begins like this is a record, not a text
COMPARED = 1_000  # rows from which it is told what a column holds
IN_ORDER = "a column of texts, taken in the order of the file"
FEW_VALUES = 20  # different short values, as labels have
SEEN = 500  # characters of a text that tell its script
STEM = 4  # letters of a word that stay in most of its forms
SAME_WORDS = 0.8  # of a text that was made of another one
NATIVE = (
    "deutsch englisch französisch chinesisch français anglais allemand chinois español inglés italiano português русский "
    "английский mandarin 中文 英文 汉语 漢語 英语 英語 日语 日本語 法语 德语 한국어"
)
LANGUAGES = {*NAMES, *(name.lower() for name in NAMES.values()), *NATIVE.split()} - {"id", "no"}  # these two are more often something else
Taken = dict[str, tuple[str, str, bool]]  # {column: (role or "split", the reason for people, whether its name says so)}


# --- What a mapping means to a task ---------------------------------------------------------------------------------------
def mapped(task: Task, mapping: dict[str, str]) -> list[Role]:
    return [role for role in task.roles if role.name in mapping]


def label_of(task: Task, mapping: dict[str, str]) -> Role | None:
    return next((role for role in mapped(task, mapping) if role.is_label), None)


def texts_of(task: Task, mapping: dict[str, str]) -> list[Role]:
    """The texts of a row, which are measured and must not be empty unless they are optional."""
    return [role for role in mapped(task, mapping) if role.kind == "text"]


def key_of(task: Task, mapping: dict[str, str]) -> Role:
    """Rows with the same value here stay on one side of the split."""
    texts = texts_of(task, mapping)
    return next((role for role in texts if role.is_key), texts[0])


def needed_of(task: Task, mapping: dict[str, str]) -> list[Role]:
    """The texts without which the task refuses a row. Of others an empty cell says something, such as "no answer"."""
    whole = {role.name: "x" for role in mapped(task, mapping)}
    return [role for role in texts_of(task, mapping) if any(name == role.name for name, _ in task.problems({**whole, role.name: ""}))]


def suffices_alone(task: Task) -> bool:
    """Whether a file of nothing but texts will do."""
    return any(role.kind == "text" and not task.lacking({role.name: ""}) for role in task.roles)


# --- Suggestions ----------------------------------------------------------------------------------------------------------
def with_roles(columns: list[Column], task: Task, rows: int, has_parts: bool) -> list[Column]:
    taken = suggested(columns, task, rows, has_parts)
    return [replace(c, role=taken[c.name][0], reason=taken[c.name][1], sure=taken[c.name][2]) if c.name in taken else c for c in columns]


def suggested(columns: list[Column], task: Task, rows: int, has_parts: bool) -> Taken:
    """Labels first, they are the most recognisable; then texts by name; then what is still lacking, by what the columns hold."""
    taken: Taken = {}
    if columns_of_pairs(columns) and not is_of_pairs(task):
        columns = [c for c in columns if c.name not in columns_of_pairs(columns)]
    if not has_parts and (split := next((c for c in columns if is_split(c)), None)):
        taken[split.name] = (SPLIT, "its values are names of parts: " + ", ".join(h["name"] for h in split.histogram[:3]), False)
    texts = [role for role in task.roles if not role.is_label]
    hints = {hint for role in texts for hint in role.hints}
    full = [c for c in columns if c.type != "empty"]
    for label in (role for role in task.roles if role.is_label):
        free = [c for c in full if c.name not in taken and c.name.strip().lower() not in hints]
        take_best(taken, label, [c for c in free if label.required or hinted(c, label) > 2], rows)
    free = [c for c in full if c.name not in taken]
    pair, sure = in_languages(texts, free)
    for role, column, reason in by_name(texts, free):
        taken[column.name] = (role.name, reason, sure or column not in pair)
    idle = {role.name for role in texts if role.without in {name for name, _, _ in taken.values()}}
    taken = {column: what for column, what in taken.items() if what[0] not in idle}
    return taken | by_content(task, columns, taken, rows)


def is_of_pairs(task: Task) -> bool:
    return {"chosen", "rejected"} <= {role.name for role in task.roles}


def columns_of_pairs(columns: list[Column]) -> list[str]:
    """The better and the worse answer of preference pairs. The worse one must not be learnt, the better one not as if it stood alone."""
    wanted = [replace(role, required=True) for task in KINDS.values() if is_of_pairs(task) for role in task.roles if role.required]
    found = {role.name: column.name for role, column, _ in by_name(wanted, columns) if hinted(column, role) > 2}
    return list(found.values()) if len(found) == 2 else []


def take_best(taken: Taken, role: Role, free: list[Column], rows: int) -> None:
    rated = [(fit(column, role, rows), column) for column in free]
    best = max(rated, key=lambda pair: pair[0][0], default=None)
    if best and best[0][0] > 0:
        taken[best[1].name] = (role.name, best[0][1], hinted(best[1], role) > 0)


def by_name(roles: list[Role], columns: list[Column]) -> Iterator[tuple[Role, Column, str]]:
    """(role, column, reason) where the name says so, the surest first. An optional role wants its whole name.

    Where a row has one text only, a name is weighed against length in `by_content`.
    """
    lone = [role for role in roles if role.required and role.kind == "text"]
    rated = [
        (sure, -roles.index(role), role, column)
        for role in roles
        for column in columns
        if (sure := hinted(column, role)) and (sure > 2 if not role.required else len(lone) > 1)
    ]
    given: set[str] = set()
    pair, _ = in_languages(roles, columns)
    for role, column in zip((role for role in roles if role.language), pair, strict=False):
        given |= {role.name, f"column {column.name}"}
        yield role, column, f'called "{column.name}", in the order of the file'
    for _, _, role, column in sorted(rated, key=lambda each: each[:2], reverse=True):
        if not given & {role.name, f"column {column.name}"}:
            given |= {role.name, f"column {column.name}"}
            yield role, column, f'called "{column.name}"'


def in_languages(roles: list[Role], columns: list[Column]) -> tuple[list[Column], bool]:
    """(columns that are called by their languages, in the order of the file, which is the direction of a translation; whether
    there are no more than two). None where other words of the names, such as source and target, say what is what."""
    languages = [role for role in roles if role.language]
    spoken = [c for c in columns if is_language(c.name) and c.type == "text" and c.distinct > 2]
    told = [c for c in spoken if any(hint not in LANGUAGES and hint in own_words(c, spoken) for role in languages for hint in role.hints)]
    return ([], True) if len(languages) < 2 or len(spoken) < 2 or told else (spoken[: len(languages)], len(spoken) == len(languages))


def own_words(column: Column, others: list[Column]) -> set[str]:
    """Words of a name that are not in the names of all the others."""
    words = [set(re.split(r"[\s_.\-]+", c.name.strip().lower())) for c in {o.name: o for o in [column, *others]}.values()]
    return words[0] - set.intersection(*words) if len(words) > 1 else words[0]


def by_content(task: Task, columns: list[Column], taken: Taken, rows: int) -> Taken:
    """What the task still lacks: the longest texts; where it lacks several, columns of texts as they stand in the file."""
    found: Taken = {}

    def lacking() -> list[Role]:
        have = {role: column for column, (role, _, _) in (taken | found).items()}
        return [role for role in task.lacking(have) if role.kind == "text"]

    in_order = len(needed := lacking()) > 1 and all(role.required for role in needed)
    while needed := lacking():
        have = {role: column for column, (role, _, _) in (taken | found).items()}
        role = next((r for r in needed if not task.lacking({**have, r.name: ""})), needed[0])
        free = [c for c in columns if c.name not in taken | found and c.type != "empty"]
        if in_order:
            free = [c for c in free if c.type == "text" and c.distinct > 2][:1]
            found |= {c.name: (role.name, IN_ORDER, False) for c in free}
        else:
            take_best(found, role, free, rows)
        if not free or role in lacking():
            break
    return found


def hinted(column: Column, role: Role) -> float:
    """3 for the whole name, 1 for a word of it, a little less for a later hint (the first hints are the surest), else 0."""
    if role.is_label and column.is_label:
        return 3.0
    whole = column.name.strip().lower()
    name = re.sub(r"[\s_.]*\d*$", "", whole)
    exact = {whole, name, name.rsplit(".", 1)[-1]}
    words = re.split(r"[\s_.\-]+", name)
    strong, weak = ([at for at, hint in enumerate(role.hints) if hint in where] for where in (exact, words))
    if whole in role.hints:
        return 3.0 - role.hints.index(whole) / 100
    return (3.0 if strong else 1.0) - min(strong or weak) / 100 - 0.005 if strong or weak else 0.0


def is_language(name: str) -> bool:
    """Such as en, zh-CN, text_de, Deutsch."""
    words = re.split(r"[\s_.\-]+", name.strip().lower())
    return bool({words[0], words[-1]} & LANGUAGES)


def fit(column: Column, role: Role, rows: int) -> tuple[float, str]:
    """(how well, why). Zero or less: not at all."""
    by_name = hinted(column, role)
    called = f'called "{column.name}"' if by_name else ""
    if role.is_label:
        if column.distinct > 0.5 * rows + 5 or column.distinct > MOST_LABELS:
            return (by_name - 1.5, f"{called}, though nearly every row has a value of its own") if by_name > 2 else (-1.0, "")
        short = column.mean_chars <= 40
        score = by_name + (1.0 if short else -1.5) + (0.5 if 2 <= column.distinct <= FEW_VALUES else 0.0)
        score -= 1.0 if column.type in {"number", "date"} and not by_name and column.distinct > FEW_VALUES else 0.0
        score -= 2.0 if column.name.strip().lower().rsplit(".", 1)[-1] in {"id", "ids", "no", "nr", "index", "key"} else 0.0
        score -= 0.5 if column.distinct < 2 else 0.0
        score -= column.missing / max(1, rows)
        about = f"{column.distinct:,} distinct {'value' if column.distinct == 1 else 'values'}" + (", short" if short else "")
        return score - (0.0 if by_name else 0.9), "; ".join(filter(None, (called, about)))
    if not by_name and (column.type != "text" or is_record(column)):
        return (-1.0, "")
    long = min(column.mean_chars, 400.0) / 100 + (0.3 if column.distinct > 0.5 * rows else -0.3)
    about = f"the longest texts, {column.mean_chars:.0f} characters on average" if column.mean_chars > 20 else ""
    return by_name + long, "; ".join(filter(None, (called, about)))


# --- Several columns as one text ---------------------------------------------------------------------------------------------
def templated(mapping: dict[str, str], columns: list[Column], task: Task) -> tuple[dict[str, str], list[str]]:
    """(the mapping, in which a text may be a template of several columns; the columns that a person should see in it). What is
    called as in Alpaca and Dolly needs no look."""
    known, taken, looked = {c.name: c for c in columns}, {*mapping.values()}, list[str]()
    found = dict(mapping)
    for role in (r for r in mapped(task, mapping) if r.leads or r.follows):
        own = known[mapping[role.name]]
        free = [c for c in columns if c.name not in taken and c.type == "text" and not {"{", "}"} & {*c.name}]
        before, after = ([c.name for c in free if c.name.strip().lower() in names] for names in (role.leads, role.follows))
        if (before or after) and not is_record(own) and not {"{", "}"} & {*own.name}:
            found[role.name] = templates.of([*before, own.name, *after])
            looked += before
            taken |= {*before, *after}
    return found, looked


def repeated(rows: pl.LazyFrame, used: set[str], free: list[str]) -> set[str]:
    """Of the columns `free` those that say once more what a used one says: a ready-made prompt beside its parts, a cleaned text."""
    few = first_rows(rows.select(pl.col(name).str.strip_chars() for name in {*free, *used}), COMPARED)
    return {name for name in free if any(repeats(few, name, other) or is_made_of(few, name, other) for other in used)}


def repeats(few: pl.DataFrame, one: str, other: str) -> bool:
    full = few.filter((pl.col(one) != "") & (pl.col(other).str.len_chars() > 2))
    return full.height > 0 and int(full.select(pl.col(one).str.contains(pl.col(other), literal=True).sum()).item()) > 0.9 * full.height


def is_made_of(few: pl.DataFrame, one: str, other: str) -> bool:
    """Whether the words of one text are those of the other, in any form: lower case, without stop words, stemmed."""
    pairs = few.filter(pl.col(one) != "").select(pl.col(one).str.slice(0, SEEN), pl.col(other).str.slice(0, 10 * SEEN)).head(SEEN).rows()
    same = 0
    for mine, its in pairs:
        words, others = ([word[:STEM] for word in re.findall(r"\w+", text.lower())] for text in (mine, its))
        known = {*others}
        same += sum(word in known for word in words) >= SAME_WORDS * len(words) and len(words) > len(others) / 4
    return same > 0.9 * len(pairs)


def is_record(column: Column) -> bool:
    return bool(column.examples) and all(example.startswith(RECORDS) for example in column.examples)


# --- Which task ------------------------------------------------------------------------------------------------------------
@dataclass(frozen=True)
class Guess:
    task: Task
    sure: bool  # nobody needs to be asked
    names: float = 0  # roles that names of columns give; half a role more where the lengths fit too


def guess(columns: list[Column], rows: pl.LazyFrame, total: int, has_parts: bool) -> Guess:
    """The task that a file is most likely for: names of columns that fit all of its roles, else a column of labels, else texts."""
    tasks = list(KINDS.values())
    if columns_of_pairs(columns):
        return next(Guess(task, True, len(task.roles)) for task in tasks if is_of_pairs(task))
    rated = [Guess(task, True, names_for(columns, task, total)) for task in tasks]
    best = max(rated, key=lambda each: each.names)
    labelled = [task for task in tasks if any(role.is_label and role.required for role in task.roles)]
    if best.names > 1:  # a column of labels that is called so weighs as much as the fitting lengths of texts
        return next((each for each in rated if each.task in labelled and each.names > best.names - 1), best)
    for task in labelled:
        found = {role: name for name, (role, _, _) in suggested(columns, task, total, has_parts).items()}
        if not task.lacking(found):
            return Guess(task, True)
    spoken = next((task for task in tasks if sum(role.language for role in task.roles) > 1), None)
    if spoken and in_two_scripts(columns, rows):
        return Guess(spoken, False)
    for task in tasks:
        found = {role: name for name, (role, _, _) in suggested(columns, task, total, has_parts).items()}
        if not task.lacking(found) and proportions(task, found, columns) > 0:
            return Guess(task, False)
    if best.names:
        return best
    texts = [c for c in columns if c.type != "empty"]
    if len(texts) == 1 and texts[0].type == "text" and (plain := next(filter(suffices_alone, tasks), None)):
        return Guess(plain, False)
    return Guess(labelled[0] if labelled else tasks[0], False)


def names_for(columns: list[Column], task: Task, rows: int) -> float:
    """How many roles the names of the columns give; 0 when they do not give all that are needed."""
    full = [c for c in columns if c.type != "empty"]
    given: dict[str, str] = {}
    for label in (role for role in task.roles if role.is_label):
        usual = [c for c in full if hinted(c, label) > 2 and c.distinct <= 0.5 * rows + 5 and c.mean_chars <= 40]
        if usual:
            given[label.name] = usual[0].name
    texts = [replace(role, required=False) for role in task.roles if not role.is_label]
    free = [c for c in full if c.name not in given.values()]
    required = {role.name for role in task.roles if role.required and role.kind == "text"}
    found = {role.name: column for role, column, _ in by_name(texts, free)}
    like_texts = sum(looks_like_text(column, rows) for name, column in found.items() if name in required)
    if like_texts < min(2, len(required)):  # an answer may be a year, but then passage and question are texts
        return 0
    given |= {name: column.name for name, column in found.items()}
    return 0 if task.lacking(given) else len(given) + proportions(task, given, columns)


def proportions(task: Task, mapping: dict[str, str], columns: list[Column]) -> float:
    """Whether texts that should be much shorter than the key's are: half a point for, one against."""
    chars = {column.name: column.mean_chars for column in columns}
    short = [role for role in task.roles if role.shorter and role.name in mapping]
    if not short:
        return 0
    longest = chars[mapping[key_of(task, mapping).name]]
    return 0.5 if longest > 100 and all(chars[mapping[role.name]] < 0.5 * longest for role in short) else -1


def looks_like_text(column: Column, rows: int) -> bool:
    """Texts, rather than numbers or a few short values again and again."""
    return column.type == "text" and (column.mean_chars > 40 or column.distinct > min(FEW_VALUES, 0.3 * rows))


def in_two_scripts(columns: list[Column], rows: pl.LazyFrame) -> bool:
    """Whether one column is mostly Chinese, Japanese or Korean and another one is not."""
    texts = [c.name for c in columns if c.type == "text" and c.distinct > 2]
    if len(texts) < 2:
        return False
    few = beginnings(rows.select(texts), 1_000, SEEN)
    shares = [share(few[text], EAST_ASIAN) for text in texts]
    return max(shares) > 0.6 and min(shares) < 0.4
