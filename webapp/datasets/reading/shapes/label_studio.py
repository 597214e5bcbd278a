"""What Label Studio exports: its JSON (a task with all annotations) and JSON-MIN (a task with one annotation)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from webapp.datasets.reading.shapes import LeftOut, Record, Shape, agreed, dicts, only
from webapp.datasets.reading.shapes.tokens import is_spans
from webapp.datasets.reading.values import as_text

MOST_TASKS = 1_000_000  # that are told apart
SPANS = {"labels", "hypertextlabels", "paragraphlabels"}


class Tasks(Shape):
    """{"id", "data": {..}, "annotations": [{"result": [..], "was_cancelled"}], "predictions": [..]}"""

    title = "a Label Studio export"

    def __init__(self, records: Sequence[Record] = ()) -> None:
        super().__init__(records)
        people, models = ([control for r in records for a in of(r) for control in answers_of(a)] for of in (counted, predictions))
        self.predicted = not people and bool(models)
        self.labels = tuple(dict.fromkeys(models if self.predicted else people))
        self.spans = any(is_spans(value) for r in records for a in counted(r) for value in answers_of(a).values())

    @staticmethod
    def fits(record: Record) -> bool:
        return isinstance(record.get("data"), dict) and any(
            isinstance(record.get(k), list) for k in ("annotations", "completions", "predictions")
        )

    def rows(self, record: Any) -> Iterator[Record]:
        if not isinstance(record, dict) or not isinstance(record.get("data"), dict):
            raise LeftOut("it is no task of Label Studio")
        yield {"id": record.get("id"), "data": record["data"], **self.chosen(record)}

    def chosen(self, record: Record) -> dict[str, Any]:
        """{question: answer}, as most of the people who answered have it."""
        given = [answers for a in counted(record) if (answers := answers_of(a))]
        if not given and self.predicted:
            given = [answers for a in predictions(record)[:1] if (answers := answers_of(a))]
            self.guessed += bool(given)
        if not given:
            raise LeftOut(why_nothing(record))
        found, all_agree = {}, True
        for control in dict.fromkeys(control for answers in given for control in answers):
            found[control], agree = agreed([answers[control] for answers in given if control in answers])
            all_agree &= agree
        self.differed += not all_agree
        return found


def counted(record: Record) -> list[Record]:
    """Those that count: not cancelled, and where some are marked as the truth only these."""
    whole = [a for a in given_to(record) if not (a.get("was_cancelled") or a.get("skipped"))]
    return [a for a in whole if a.get("ground_truth")] or whole


def given_to(record: Record) -> list[Record]:
    return dicts(record.get("annotations")) or dicts(record.get("completions"))


def predictions(record: Record) -> list[Record]:
    return dicts(record.get("predictions"))


def why_nothing(record: Record) -> str:
    listed = given_to(record)
    if any(a.get("was_cancelled") or a.get("skipped") for a in listed):
        return "the person who labels skipped it"
    return "it was submitted without an answer" if listed else "nobody has labelled it yet"


def answers_of(annotation: Record) -> dict[str, Any]:
    """{question: answer}: what was chosen, spans as {start, end, text, labels}."""
    found: dict[str, list[Any]] = {}
    for result in dicts(annotation.get("result")):
        if isinstance(result.get("value"), dict) and result.get("type") != "relation":
            control = as_text(result.get("from_name")) or "label"
            found.setdefault(control, []).extend(values_of(as_text(result.get("type")), result["value"]))
    return {control: only(values) if not is_spans(values) else values for control, values in found.items() if values}


def values_of(kind: str, value: Record) -> list[Any]:
    if kind in SPANS or ("start" in value and "end" in value):
        return [value]
    if kind == "taxonomy":
        paths = value.get("taxonomy")
        return (
            [" / ".join(map(as_text, path)) if isinstance(path, list) else path for path in paths if path]
            if isinstance(paths, list)
            else []
        )
    inside = value.get("text") if kind == "textarea" else value.get(kind, value.get("selected", value))
    return inside if isinstance(inside, list) else [inside]


class Plain(Shape):
    """JSON-MIN: {"text", "sentiment": "Positive" or {"choices": [..]}, "annotation_id", "annotator", ..}"""

    title = "a Label Studio export (one annotation a row)"

    def __init__(self, records: Sequence[Record] = ()) -> None:
        super().__init__(records)
        self.spans = any(is_spans(cell) for record in records for cell in record.values())
        self.seen, self.again = set[str](), 0  # tasks, and further annotations of them

    @staticmethod
    def fits(record: Record) -> bool:
        return {"annotation_id", "annotator"} <= record.keys()

    def rows(self, record: Any) -> Iterator[Record]:
        if not isinstance(record, dict):
            raise LeftOut("it is no row of Label Studio")
        if task := as_text(record.get("id")):
            self.again += task in self.seen
            if len(self.seen) < MOST_TASKS:
                self.seen.add(task)
        yield {name: chosen_in(cell) for name, cell in record.items()}

    def counted(self, name: str) -> Iterator[tuple[str, str, int]]:
        yield from super().counted(name)
        text = f"Texts that were labelled more than once: each annotation is a row of its own, {self.again:,} of them further ones."
        yield "several_annotators", text, self.again


def chosen_in(cell: Any) -> Any:
    """{"choices": ["A", "B"]} and [{"rating": 4}] without what is around them."""
    if isinstance(cell, dict) and len(cell) == 1 and isinstance(chosen := next(iter(cell.values())), list):
        return only(chosen)
    if isinstance(cell, list) and cell and all(isinstance(each, dict) and len(each) == 1 for each in cell):
        inside = [next(iter(each.values())) for each in cell]
        return only([each for values in inside for each in (values if isinstance(values, list) else [values])])
    return cell
