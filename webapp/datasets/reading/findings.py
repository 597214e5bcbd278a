"""What to know about mapped rows before training on them: labels, duplicates, contradictions, lengths."""

from __future__ import annotations

import re
import unicodedata
from collections import defaultdict
from dataclasses import dataclass, field
from typing import Any

import polars as pl

from webapp.datasets.reading import MOST_PROBLEMS, Finding, Problem, near
from webapp.datasets.reading.staging import Progress
from worker.nlp import Task
from worker.spec import Role

WORD_ROWS = 100_000  # rows whose words are counted
WORD = r"\p{Han}|\p{Hiragana}|\p{Katakana}|[\w&&[^\p{Han}\p{Hiragana}\p{Katakana}]]+"
MOST_LISTED = 2_000  # labels in a report
LONGEST_STAND_IN = 10  # characters; a longer label is refused for its length
MOST_COUNTED = 1_000_000  # labels that are told apart at all

SIGNS = {  # what else stands beside the words positive and negative, and means the same
    **dict.fromkeys(("1", "+1", "+", "积极", "積極", "正面"), "positive"),
    **dict.fromkeys(("-1", "消极", "消極", "负面", "負面"), "negative"),
    **dict.fromkeys(("0", "中性", "中立"), "neutral"),
}


@dataclass
class Looked:
    labels: list[dict[str, Any]] = field(default_factory=list)
    joins: dict[str, str] = field(default_factory=dict)
    findings: list[Finding] = field(default_factory=list)  # these need a person
    quality: list[Finding] = field(default_factory=list)  # these are good to know
    statistics: dict[str, Any] = field(default_factory=dict)


def text_role(task: Task) -> Role:
    return next(role for role in task.roles if not role.is_label)


def label_role(task: Task) -> Role | None:
    return next((role for role in task.roles if role.is_label), None)


def look(rows: pl.LazyFrame, mapping: dict[str, str], task: Task, progress: Progress) -> Looked:
    """`rows` has the file's columns. What the task calls a problem counts as one here too."""
    text, label = mapping[text_role(task).name], label_role(task)
    looked, usable = Looked(), dict[str, int]()
    columns = [pl.col(text).alias("text")]
    columns.append(pl.col(mapping[label.name]).str.strip_chars().alias("label") if label else pl.lit("").alias("label"))
    rows = rows.select(columns)
    if label:
        with_text = (pl.col("text").str.strip_chars() != "").sum().alias("usable")
        counted = rows.group_by("label").agg(pl.len().alias("rows"), with_text).collect(engine="streaming")
        counted = counted.sort("rows", "label", descending=[True, False])
        looked.labels = [
            {"name": name, "rows": n, "missing": stands_for_nothing(task, label, name)}
            for name, n in counted.select("label", "rows").head(MOST_LISTED).iter_rows()
        ]
        about_labels(looked, mapping[label.name])
        usable = dict(counted.filter(pl.col("usable") > 0).select("label", "usable").head(MOST_COUNTED).iter_rows())
    total = about_texts(rows, looked, mapping[text_role(task).name], progress)
    for entry in looked.labels:
        if entry["missing"]:
            total -= usable.pop(entry["name"], 0)
    for problem in task.dataset_problems(total, usable, {}):
        finding = named(problem, mapping)
        (looked.findings if finding.level == "error" else looked.quality).append(finding)
    return looked


def named(problem: dict[str, str], mapping: dict[str, str]) -> Finding:
    """A problem of the task with the column that it is about, if it is about one."""
    return Finding(problem["code"], problem["message"], problem["level"], column=mapping.get(problem.get("role", ""), ""))


def unusable(rows: pl.LazyFrame, mapping: dict[str, str], task: Task, looked: Looked, files: dict[str, str]) -> list[Problem]:
    """The first rows that the task refuses, one by one. `files` {part: name}. They are staged all the same: people may
    choose other columns."""
    roles = {role.name: mapping[role.name] for role in task.roles if role.name in mapping}
    text, label = text_role(task), label_role(task)
    is_bad = pl.col(text.name).str.strip_chars() == ""
    if label:
        is_bad |= pl.col(label.name).str.strip_chars().is_in([entry["name"] for entry in looked.labels if entry["missing"]])
    mapped = rows.select("_row", "_part", *(pl.col(column).alias(role) for role, column in roles.items()))
    bad = mapped.filter(is_bad).head(MOST_PROBLEMS).collect(engine="streaming")
    return [refusal(row, wrong, mapping, files[row["_part"]]) for row in bad.iter_rows(named=True) if (wrong := task.problems(row))]


def refusal(row: dict[str, Any], wrong: list[tuple[str, str]], mapping: dict[str, str], file: str, level: str = "warning") -> Problem:
    role, number = wrong[0][0], row["_row"]
    reason = " ".join(sentence for _, sentence in wrong)
    return Problem(number, f"bad_{role}", f"Row {number:,}: {reason}", mapping.get(role, role), level, file)


def stands_for_nothing(task: Task, label: Role, value: str) -> bool:
    """Whether the task refuses rows with this label: empty, NA, null, ? and the like."""
    row = {role.name: "x" for role in task.roles} | {label.name: value}
    return any(role == label.name for role, _ in task.problems(row))


# --- Labels ---------------------------------------------------------------------------------------------------------------
def about_labels(looked: Looked, column: str) -> None:
    missing = sum(entry["rows"] for entry in looked.labels if entry["missing"])
    if missing:
        names = ", ".join(f'"{e["name"]}"' for e in looked.labels if e["missing"] and 0 < len(e["name"]) <= LONGEST_STAND_IN)
        text = "Rows without a label" + (f" (empty or {names})" if names else "") + f", to be left out: {missing:,}."
        looked.findings.append(Finding("missing_label", text, "warning", missing, column))
    looked.joins = joins_of({e["name"]: e["rows"] for e in looked.labels if not e["missing"]})
    if looked.joins:
        text = f"Labels that look like another spelling of another one: {len(looked.joins)}. Look at the suggested joins."
        looked.findings.append(Finding("label_variants", text, "warning", len(looked.joins), column))


def joins_of(labels: dict[str, int]) -> dict[str, str]:
    """{label: the label it is probably a spelling of}: case, blanks, punctuation, and short forms of exactly one other."""
    groups: dict[str, list[str]] = defaultdict(list)
    for name in labels:
        groups[spelling(name) or name].append(name)
    heads = {key: max(names, key=lambda n: (labels[n], n)) for key, names in groups.items()}
    for key in sorted(groups, key=len):
        longer = [
            other for other in heads if other != key and len(key) >= 3 and key.isalpha() and other.isalpha() and other.startswith(key)
        ]
        if len(longer) == 1 and heads[longer[0]] != heads[key] and len(key) <= 5:
            heads[key] = heads[longer[0]]
    for name in labels:
        if name in SIGNS and SIGNS[name] in heads and {"positive", "negative"} <= heads.keys():
            heads[spelling(name) or name] = heads[SIGNS[name]]
    return {name: heads[key] for key, names in groups.items() for name in names if heads[key] != name}


def spelling(name: str) -> str:
    """What stays of a label when case, blanks and punctuation do not count; signs before numbers do."""
    plain = unicodedata.normalize("NFKC", name).casefold()
    if re.fullmatch(r"\s*[-+]?[\d.,]+\s*", plain):
        return plain.strip()
    return re.sub(r"[\W_]+", "", plain)


# --- Texts ----------------------------------------------------------------------------------------------------------------
def about_texts(rows: pl.LazyFrame, looked: Looked, column: str, progress: Progress) -> int:
    """How many rows have a text; all else goes into `looked`."""
    progress("comparing", 0, 3)
    nothing = [entry["name"] for entry in looked.labels if entry["missing"]]
    full = rows.filter(pl.col("text").str.strip_chars() != "")
    chars = pl.col("text").str.len_chars()
    facts = full.select(
        pl.len().alias("rows"), *(e.alias(n) for n, e in (("p50", chars.median()), ("p95", chars.quantile(0.95)), ("max", chars.max())))
    )
    found = facts.collect(engine="streaming").row(0, named=True)
    total = int(rows.select(pl.len()).collect(engine="streaming").item())
    words = full.head(WORD_ROWS).select(pl.col("text").str.count_matches(WORD).alias("w")).collect(engine="streaming")["w"]
    looked.statistics = {
        "rows": total,
        "chars": {key: int(found[key] or 0) for key in ("p50", "p95", "max")},
        "words": {"p50": int(words.median() or 0), "p95": int(words.quantile(0.95) or 0), "max": int(words.max() or 0)},  # type: ignore[arg-type, call-overload]
    }
    if empty := total - int(found["rows"]):
        looked.findings.append(Finding("missing_text", f"Rows without a text, to be left out: {empty:,}.", "warning", empty, column))
    progress("comparing", 1, 3)
    hashes = full.filter(~pl.col("label").is_in(nothing)) if nothing else full
    hashed = hashes.select(pl.col("text").hash(13).alias("t"), pl.col("label").hash(13).alias("l"))
    pairs = hashed.group_by("t", "l").agg(pl.len().alias("n")).collect(engine="streaming")
    duplicates = int(pairs["n"].sum()) - pairs.height
    conflicts = int(pairs.group_by("t").len()["len"].gt(1).sum())
    progress("comparing", 2, 3)
    nearly, sampled = near_duplicates(full)
    looked.statistics |= {"duplicates": duplicates, "conflicts": conflicts, "near_duplicates": nearly, "near_sampled": sampled}
    say(looked, "duplicates", duplicates, "Rows that repeat another row exactly (copies stay on one side of the split)", "info")
    say(looked, "conflicting_labels", conflicts, "Texts with two different labels (check which one is right)", "warning")
    text = "Texts that are nearly the same as another one" + (f" (among the first {near.MOST:,})" if sampled else "")
    say(looked, "near_duplicates", nearly, text, "info")
    return int(found["rows"])


def say(looked: Looked, code: str, count: int, text: str, level: str) -> None:
    if count:
        looked.quality.append(Finding(code, f"{text}: {count:,}.", level, count))


def near_duplicates(full: pl.LazyFrame) -> tuple[int, bool]:
    """(distinct texts that nearly repeat another one, whether only a part was compared)."""
    few = full.select("text").head(4 * near.MOST).unique(maintain_order=True).head(near.MOST + 1).collect(engine="streaming")
    sampled = few.height > near.MOST
    few = few.head(near.MOST)
    key = pl.col("text").str.to_lowercase().str.replace_all(r"\s+", " ").str.strip_chars()
    keys = few.select(key.alias("k"))["k"].unique(maintain_order=True)
    return few.height - keys.len() + near.count(keys.to_list()), sampled
