"""What tasks whose rows are texts say about rows: empty or far too long, too few of them, none held out."""

from __future__ import annotations

from typing import Any

from worker.spec import gettext_noop as _

FEWEST_ROWS = 10
LONGEST_TEXT = 1_000_000  # characters
LEADS = ("title", "subject", "headline", "heading", "summary", "标题", "題目", "题目")  # columns that stand before a text
FEW = 2_000  # rows; fewer must be seen more often


def text_problems(row: dict[str, Any], *wanted: tuple[str, str]) -> list[tuple[str, str]]:
    """(role, sentence) for each of the texts `wanted` of a row, (role, what to say when it is empty), that cannot be used."""
    found = []
    for role, when_empty in wanted:
        text = str(row.get(role) or "").strip()
        if not text:
            found.append((role, when_empty))
        elif len(text) > LONGEST_TEXT:
            found.append((role, _("The text is longer than 1,000,000 characters.")))
    return found


def none_held_out(key: str) -> str:
    """Why nothing can be measured: a draw always holds some rows out, unless all of them must stay together."""
    same = key.lower()
    return (
        f"Every row has the same {same}, and rows with the same {same} stay together, so none can be held out to measure the model. "
        f"Choose another column as “{key}”, or add a split column that says “train” and “validation”."
    )


def dataset_problems(rows: int, splits: dict[str, int], key: str = "Text") -> list[dict[str, str]]:
    """What is wrong with rows of texts as a whole. `key`: what people call the column whose equal values stay together."""

    def say(code: str, message: str, role: str = "split") -> list[dict[str, str]]:
        return [{"code": code, "level": "error", "message": message, "role": role}]

    if rows < FEWEST_ROWS:
        there = {0: "There is no usable row.", 1: "There is only 1 usable row."}.get(rows, f"There are only {rows} usable rows.")
        return say("too_few_rows", f"{there} Add rows: at least {FEWEST_ROWS} are needed, some thousands are better.", "")
    if splits and not splits.get("train"):
        return say("no_train", "No row is left for training. Give some rows the split “train”.")
    if splits and not splits.get("validation") and not splits.get("test"):
        return say("no_held_out", none_held_out(key))
    return []


def advice(rows: int) -> dict[str, tuple[Any, str]]:
    """Few rows must be seen more often."""
    if 0 < rows < FEW:
        return {"epochs": (min(20, max(4, 6_000 // rows)), f"There are only {rows:,} rows, so the model needs to see them more often.")}
    return {}
