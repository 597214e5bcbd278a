"""What to know about mapped rows before training on them: labels, gaps, duplicates, contradictions, lengths."""

from __future__ import annotations

import re
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import polars as pl

from webapp.datasets.reading import MOST_PROBLEMS, SPLIT, Finding, Problem, doubts, near, roles
from webapp.datasets.reading.staging import Progress, beginnings
from worker.nlp import Task
from worker.nlp.languages import words as words_of
from worker.spec import Role

WORD_ROWS = 100_000  # rows whose words are counted
UNSPACED = r"[\p{Thai}\p{Lao}\p{Khmer}\p{Myanmar}]"  # words without blanks between them: only a dictionary can count them
WORD = r"\p{Han}|\p{Hiragana}|\p{Katakana}|[\w&&[^\p{Han}\p{Hiragana}\p{Katakana}]]+"
JUDGED = 1_000_000  # rows that the task looks at one by one before anything is accepted
MOST_LISTED = 2_000  # labels in a report
LONGEST_STAND_IN = 10  # characters; a longer label is refused for its length
SLIPS_FROM = 5  # letters of a word in which one wrong letter is taken for a slip
SHORT = {"pos", "neg", "neu", "neut", "obj", "subj", "unk", "misc", "tech", "sci", "edu", "econ"}  # usual short forms of labels
FEWER = 5  # times fewer rows than the label it is a slip of
MOST_COUNTED = 1_000_000  # labels that are told apart at all

WHOLE = re.compile(r"(?<=\d)\.0+$")  # 1.0 is 1: a program that met an empty cell made numbers with a point of all

SIGNS = {  # what else stands beside the words positive and negative, and means the same
    **dict.fromkeys(("1", "+1", "+", "积极", "積極", "正面"), "positive"),
    **dict.fromkeys(("-1", "消极", "消極", "负面", "負面"), "negative"),
    **dict.fromkeys(("0", "中性", "中立"), "neutral"),
}


@dataclass
class Looked:
    labels: list[dict[str, Any]] = field(default_factory=list)
    joins: dict[str, str] = field(default_factory=dict)
    kept: list[str] = field(default_factory=list)  # labels that stand for "no label" elsewhere, and are classes here
    findings: list[Finding] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)  # the first rows that the task refuses
    unusable: int | None = None  # rows that it refuses; None when they were not all looked at
    statistics: dict[str, Any] = field(default_factory=dict)

    @property
    def nothing(self) -> list[str]:
        """Labels that stand for "no label"."""
        return [entry["name"] for entry in self.labels if entry["missing"]]


def look(rows: pl.LazyFrame, mapping: dict[str, str], task: Task, progress: Progress, by_row: bool = False) -> Looked:
    """`rows` has the file's columns. What the task calls a problem counts as one here too; `by_row` says that
    the rows are still to be looked at one by one. They are staged all the same: people may choose other columns."""
    looked, usable = Looked(), dict[str, int]()
    label = roles.label_of(task, mapping)
    mapped = rows.select(
        *({"_row", "_file"} & set(rows.collect_schema().names())),
        *(
            pl.col(mapping[role.name]).str.strip_chars().alias(role.name) if role.is_label else pl.col(mapping[role.name]).alias(role.name)
            for role in roles.mapped(task, mapping)
        ),
    )
    whole = pl.all_horizontal(pl.lit(True), *(full(role) for role in roles.needed_of(task, mapping)))
    if label:
        counted = mapped.group_by(label.name).agg(pl.len().alias("rows"), whole.sum().alias("usable")).collect(engine="streaming")
        counted = counted.sort("rows", label.name, descending=[True, False])
        looked.labels = [
            {"name": name, "rows": n, "missing": stands_for_nothing(task, label, name)}
            for name, n in counted.select(label.name, "rows").head(MOST_LISTED).iter_rows()
        ]
        about_labels(looked, mapping[label.name])
        about_parts(looked, rows, mapping, label)
        usable = dict(counted.filter(pl.col("usable") > 0).select(label.name, "usable").head(MOST_COUNTED).iter_rows())
    total = about_texts(mapped, looked, mapping, task, whole, progress, by_row)
    for name in looked.nothing:
        total -= usable.pop(name, 0)
    if by_row:
        usable = joined_up(usable, looked.joins)
        looked.findings = [with_rows(finding, mapped, looked, label, mapping) for finding in looked.findings]
        judge(rows, mapping, task, looked)
        looked.findings += doubts.about(mapped, mapping, task)
    if looked.unusable is not None:
        total = looked.statistics["rows"] - looked.unusable
    looked.findings += [named(problem, mapping) for problem in task.dataset_problems(total, usable, {})]
    return looked


def joined_up(labels: dict[str, int], joins: dict[str, str]) -> dict[str, int]:
    """Rows by label once what is suggested is joined; nobody need be warned of a label that will be gone."""
    found: Counter[str] = Counter()
    for name, rows in labels.items():
        found[joins.get(name, name)] += rows
    found.pop("", None)
    return dict(found)


def with_rows(finding: Finding, rows: pl.LazyFrame, looked: Looked, label: Role | None, mapping: dict[str, str]) -> Finding:
    """The finding with the first rows that it is about, if it is about single ones."""
    which = None
    if label and finding.code in {"missing_label", "label_variants", "label_or_none", "untaught_label"}:
        named = {"missing_label": looked.nothing, "label_variants": list(looked.joins)}
        one = finding.column.removeprefix(f"{mapping[label.name]}: ")
        which = pl.col(label.name).is_in(named.get(finding.code, [one]))
    elif (role := finding.code.removeprefix("missing_")) in mapping and role != finding.code:
        which = pl.col(role).str.strip_chars() == ""
    return finding if which is None else replace(finding, rows=doubts.some(rows, which))


def full(role: Role) -> pl.Expr:
    return pl.col(role.name).str.strip_chars() != ""


def named(problem: dict[str, str], mapping: dict[str, str]) -> Finding:
    """A problem of the task with the column that it is about, if it is about one."""
    asks = "confirmation" if problem["level"] == "error" else ""
    return Finding(problem["code"], problem["message"], problem["level"], column=mapping.get(problem.get("role", ""), ""), asks=asks)


def judge(rows: pl.LazyFrame, mapping: dict[str, str], task: Task, looked: Looked) -> None:
    """What the task refuses, row by row. Of very long tables only the rows that lack something are looked at."""
    needed, label = roles.needed_of(task, mapping), roles.label_of(task, mapping)
    mapped = rows.select("_row", "_file", *(pl.col(mapping[role.name]).alias(role.name) for role in roles.mapped(task, mapping)))
    is_long = looked.statistics["rows"] > JUDGED
    if is_long:
        lacks = [~full(role) for role in needed] + ([pl.col(label.name).str.strip_chars().is_in(looked.nothing)] if label else [])
        mapped = mapped.filter(pl.any_horizontal(pl.lit(False), *lacks)).head(MOST_PROBLEMS)
    refused, told = 0, {role.name for role in needed}  # of these and of labels it is said how many are missing
    others, unsure = defaultdict[str, Counter[str]](Counter), defaultdict[str, list[tuple[int, str]]](list)
    for frame in mapped.collect_batches(maintain_order=True):
        for row in frame.iter_rows(named=True):
            if not (wrong := wrong_with(task, row, label, looked.kept)):
                for role, sentence in task.doubts(row):
                    unsure[role].append((row["_row"], sentence))
                continue
            refused += 1
            if len(looked.problems) < MOST_PROBLEMS:
                looked.problems.append(refusal(row, wrong, mapping, row["_file"]))
            role, sentence = wrong[0]
            if not (label and role == label.name) and not (role in told and not str(row.get(role) or "").strip()):
                others[role][sentence] += 1
    looked.unusable = None if is_long else refused
    titles = {role.name: role.label.lower() for role in task.roles}
    for role, sentences in others.items():
        text = f"Rows to be left out because of their {titles.get(role, role)}: {sentences.total():,}. {sentences.most_common(1)[0][0]}"
        looked.findings.append(Finding(f"bad_{role}", text, count=sentences.total(), column=mapping.get(role, ""), asks="accept_rejected"))
    for role, rows_in_doubt in unsure.items():
        number, sentence = rows_in_doubt[0]
        text = f"Rows whose {titles.get(role, role)} should be looked at: {len(rows_in_doubt):,}, the first is row {number:,}. {sentence}"
        looked.findings.append(
            Finding(f"doubtful_{role}", text, count=len(rows_in_doubt), column=mapping.get(role, ""), asks="confirmation")
        )


def refusal(row: dict[str, Any], wrong: list[tuple[str, str]], mapping: dict[str, str], file: str, level: str = "warning") -> Problem:
    role, number = wrong[0][0], row["_row"]
    reason = " ".join(sentence for _, sentence in wrong)
    return Problem(number, f"bad_{role}", f"Row {number:,}: {reason}", mapping.get(role, role), level, file)


def wrong_with(task: Task, row: dict[str, Any], label: Role | None, kept: Collection[str]) -> list[tuple[str, str]]:
    """What the task has against the row; a label of `kept` is one even if it usually stands for none."""
    return task.problems({**row, label.name: "x"} if label and kept and (row.get(label.name) or "").strip() in kept else row)


def stands_for_nothing(task: Task, label: Role, value: str) -> bool:
    """Whether the task refuses rows with this label: empty, NA, null, ? and the like."""
    row = {role.name: "x" for role in task.roles} | {label.name: value}
    return any(role == label.name for role, _ in task.problems(row))


# --- Labels ---------------------------------------------------------------------------------------------------------------
def about_labels(looked: Looked, column: str) -> None:
    labels = {entry["name"]: entry["rows"] for entry in looked.labels}
    looked.kept = doubts.kept(labels, looked.nothing)
    looked.labels = [{**entry, "missing": entry["missing"] and entry["name"] not in looked.kept} for entry in looked.labels]
    looked.findings += doubts.about_codes(labels, looked.nothing, column)
    missing = sum(entry["rows"] for entry in looked.labels if entry["missing"])
    if missing:
        names = ", ".join(f'"{e["name"]}"' for e in looked.labels if e["missing"] and 0 < len(e["name"]) <= LONGEST_STAND_IN)
        text = "Rows without a label" + (f" (empty or {names})" if names else "") + f", to be left out: {missing:,}."
        looked.findings.append(Finding("missing_label", text, count=missing, column=column, asks="accept_rejected"))
    looked.joins = joins_of({e["name"]: e["rows"] for e in looked.labels if not e["missing"]})
    if looked.joins:
        text = f"Labels that look like another spelling of another one: {len(looked.joins)}. Check the suggested merges."
        looked.findings.append(Finding("label_variants", text, count=len(looked.joins), column=column, asks="labels"))


def about_parts(looked: Looked, rows: pl.LazyFrame, mapping: dict[str, str], label: Role) -> None:
    brought = {SPLIT: mapping[SPLIT]} if SPLIT in mapping else {}
    if not brought and "_part" not in rows.collect_schema().names():
        return
    sides = rows.select(
        pl.col(mapping[label.name]).str.strip_chars().alias(label.name),
        *(pl.col(column).alias(name) for name, column in brought.items()),
        *([] if brought else ["_part"]),
    )
    found, joins = doubts.about_parts(sides, mapping, label, looked.nothing, looked.joins)
    looked.findings += found
    looked.joins |= joins


def joins_of(labels: dict[str, int]) -> dict[str, str]:
    """{label: the label it is probably a spelling of}: case, blanks, punctuation, short forms of exactly one other, and slips
    of the hand ("Biling"). What most rows say wins."""
    groups: dict[str, list[str]] = defaultdict(list)
    for name in labels:
        groups[spelling(name) or name].append(name)
    heads = {key: max(names, key=lambda n: (not WHOLE.search(n), labels[n], n)) for key, names in groups.items()}
    rows = {key: sum(labels[name] for name in names) for key, names in groups.items()}
    single = [key for key, head in heads.items() if head.isalpha() and len(key) >= 3]  # "sci" is no short form of "sci/tech"
    for key in sorted(single, key=len):
        longer = [other for other in single if other != key and other.startswith(key)]
        if len(longer) != 1 or heads[longer[0]] == heads[key]:
            continue
        less, more = sorted((key, longer[0]), key=lambda k: (rows[k], k != key))
        if key in SHORT or (longer[0] in {f"{key}s", f"{key}es"} and FEWER * rows[less] <= rows[more]):
            heads[less] = heads[more]
    for name in labels:
        if name in SIGNS and SIGNS[name] in heads and {"positive", "negative"} <= heads.keys():
            heads[spelling(name) or name] = heads[SIGNS[name]]
    by_size = sorted(groups, key=lambda key: (-rows[key], key))
    likely: dict[str, list[str]] = defaultdict(list)  # a slip spares the first letter
    for key in by_size:
        likely[key[:1]].append(key)
    for key in by_size:
        right = next((other for other in likely[key[:1]] if FEWER * rows[key] <= rows[other] and is_slip(heads[key], heads[other])), None)
        if right and heads[key] in groups[key]:
            heads[key] = heads[right]
    return {name: heads[key] for key, names in groups.items() for name in names if heads[key] != name}


def is_slip(name: str, other: str) -> bool:
    """Whether each word differs from its fellow by one letter at most, left out, added, taken for another or swapped with the
    next. Words of fewer than five letters and those with digits must be the same: they differ for a reason."""
    words, others = (unicodedata.normalize("NFKC", text).casefold().split() for text in (name, other))
    return len(words) == len(others) and all(one == two or is_one_letter_off(one, two) for one, two in zip(words, others, strict=True))


def is_one_letter_off(word: str, other: str) -> bool:
    if min(len(word), len(other)) < SLIPS_FROM or not (word + other).isalpha():
        return False
    at = next((n for n, (mine, its) in enumerate(zip(word, other, strict=False)) if mine != its), min(len(word), len(other)))
    is_other = word[at + 1 :] == other[at + 1 :]
    is_one_more = word[at + 1 :] == other[at:] or word[at:] == other[at + 1 :]
    is_swapped = word[at : at + 2] == other[at : at + 2][::-1] and word[at + 2 :] == other[at + 2 :]
    return is_other or is_one_more or is_swapped


def spelling(name: str) -> str:
    """What stays of a label when case, blanks and punctuation do not count; signs before numbers and after words do: C++, A-."""
    plain = unicodedata.normalize("NFKC", name).casefold()
    if re.fullmatch(r"\s*[-+]?[\d.,]+\s*", plain):
        return WHOLE.sub("", plain.strip())
    return re.sub(r"(?<=\w)([-+#]+)(?!\S)|[\W_]", r"\1", plain)


# --- Texts ----------------------------------------------------------------------------------------------------------------
def about_texts(
    rows: pl.LazyFrame, looked: Looked, mapping: dict[str, str], task: Task, whole: pl.Expr, progress: Progress, may_ask: bool
) -> int:
    """How many rows have all the texts that they need; all else goes into `looked`. `rows` has the mapped roles as columns."""
    progress("comparing", 0, 3)
    texts, needed, label = roles.texts_of(task, mapping), roles.needed_of(task, mapping), roles.label_of(task, mapping)
    sums = [pl.len().alias("_rows"), whole.sum().alias("_whole"), *((~full(role)).sum().alias(role.name) for role in needed)]
    counts = rows.select(sums).collect(engine="streaming").row(0, named=True)
    lengths = {role.name: lengths_of(rows, role) for role in texts}
    key = roles.key_of(task, mapping)
    looked.statistics = {"rows": int(counts["_rows"]), **lengths[key.name]} | ({"texts": lengths} if len(texts) > 1 else {})
    for role in needed:
        if empty := int(counts[role.name]):
            text = f"Rows without {a(role.label)}, to be left out: {empty:,}."
            looked.findings.append(Finding(f"missing_{role.name}", text, count=empty, column=mapping[role.name], asks="accept_rejected"))
    progress("comparing", 1, 3)
    good = rows.filter(whole)
    hashes = good.filter(~pl.col(label.name).is_in(looked.nothing)) if label and looked.nothing else good
    row, text_hash = (pl.struct(names).hash(13) for names in ([r.name for r in roles.mapped(task, mapping)], [r.name for r in texts]))
    pairs = hashes.select(row.alias("r"), text_hash.alias("t")).group_by("t", "r").agg(pl.len().alias("n")).collect(engine="streaming")
    duplicates = looked.statistics["duplicates"] = int(pairs["n"].sum()) - pairs.height
    again = pairs.filter(pl.col("n") > 1).sort("t").head(doubts.SHOWN_ROWS)["t"].implode()
    text = "Rows that repeat another row exactly (copies stay on one side of the split)"
    say(looked, "duplicates", duplicates, text, "info", rows=doubts.some(hashes, text_hash.is_in(again)) if duplicates else [])
    if label:
        times = pairs.group_by("t").len()
        conflicts = looked.statistics["conflicts"] = int(times["len"].gt(1).sum())
        left = conflicts
        if may_ask and conflicts and looked.joins:  # two spellings of one label are asked about as such
            joined = hashes.select(text_hash.alias("t"), pl.col(label.name).replace(looked.joins).alias("r")).unique()
            left = joined.group_by("t").len().select((pl.col("len") > 1).sum()).collect(engine="streaming").item()
        asks = "confirmation" if may_ask and left > doubts.TOO_MANY * times.height else ""
        twice = times.filter(pl.col("len") > 1).sort("t").head(doubts.SHOWN_ROWS)["t"].implode()
        text = "Texts with two different labels (check which one is right)"
        rows_of_both = doubts.some(hashes, text_hash.is_in(twice)) if conflicts else []
        say(looked, "conflicting_labels", conflicts, text, "warning", asks, rows_of_both)
    progress("comparing", 2, 3)
    nearly, sampled = near_duplicates(good, key if label else compared(good, key, needed), progress)
    looked.statistics |= {"near_duplicates": nearly, "near_sampled": sampled}
    text = "Texts that are nearly the same as another one" + (f" (among the first {near.MOST:,})" if sampled else "")
    say(looked, "near_duplicates", nearly, text, "info")
    return int(counts["_whole"])


def lengths_of(rows: pl.LazyFrame, role: Role) -> dict[str, dict[str, int]]:
    """Characters and words of the texts that are not empty."""
    there, chars = rows.filter(full(role)), pl.col(role.name).str.len_chars()
    facts = there.select(e.alias(n) for n, e in (("p50", chars.median()), ("p95", chars.quantile(0.95)), ("max", chars.max())))
    found = facts.collect(engine="streaming").row(0, named=True)
    texts, text = there.head(WORD_ROWS), pl.col(role.name)
    spaced = texts.filter(~text.str.contains(UNSPACED)).select(text.str.count_matches(WORD).alias("w"))
    others = texts.filter(text.str.contains(UNSPACED)).select(text.map_elements(lambda t: len(words_of(t)), pl.UInt32).alias("w"))
    words = pl.concat([spaced, others]).collect(engine="streaming")["w"]
    return {
        "chars": {key: int(found[key] or 0) for key in ("p50", "p95", "max")},
        "words": {"p50": int(words.median() or 0), "p95": int(words.quantile(0.95) or 0), "max": int(words.max() or 0)},  # type: ignore[arg-type, call-overload]
    }


def compared(rows: pl.LazyFrame, key: Role, needed: list[Role]) -> Role:
    """The text in which rows differ: where many share a key, as questions share a passage, it is another one."""
    facts = rows.select(pl.len().alias("rows"), pl.col(key.name).hash().n_unique().alias("keys")).collect(engine="streaming").row(0)
    return key if facts[1] > 0.5 * facts[0] else next((role for role in needed if role != key), key)


def a(label: str) -> str:
    word = label.lower()
    return f"an {word}" if word[:1] in "aeiou" else f"a {word}"


def say(looked: Looked, code: str, count: int, text: str, level: str, asks: str = "", rows: Sequence[dict[str, Any]] = ()) -> None:
    if count:
        looked.findings.append(Finding(code, f"{text}: {count:,}.", level, count, asks=asks, rows=list(rows)))


def near_duplicates(rows: pl.LazyFrame, role: Role, progress: Progress) -> tuple[int, bool]:
    """(distinct texts that nearly repeat another one, whether only a part was compared)."""
    whole = pl.col(role.name)
    few = beginnings(rows.select(whole.hash(13).alias("whole"), whole.alias("t")), 4 * near.MOST, near.READ)
    texts = few.unique("whole", keep="first", maintain_order=True).head(near.MOST + 1)
    sampled = texts.height > near.MOST
    texts = texts.head(near.MOST)
    key = pl.col("t").str.to_lowercase().str.replace_all(r"\s+", " ").str.strip_chars()
    keys = texts.select(key.alias("k"))["k"].unique(maintain_order=True)
    return texts.height - keys.len() + near.count(keys.to_list(), progress), sampled
