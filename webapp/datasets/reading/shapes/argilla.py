"""What Argilla exports: records of version 2, of feedback datasets (1.x), and of text classification before them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import zip_longest
from typing import Any

from webapp.datasets.reading.shapes import LeftOut, Record, Shape, agreed, dicts, only
from webapp.datasets.reading.shapes.tokens import is_spans
from webapp.datasets.reading.values import as_text, opened

BESIDE = ("id", "external_id", "status", "metadata")  # what a record of version 2 keeps outside of its fields
OUT = {"discarded", "draft", "pending"}  # responses that do not count


class Answered(Shape):
    """Records with answers of people, else proposals of a model."""

    title = "an Argilla export"

    def __init__(self, records: Sequence[Record] = ()) -> None:
        super().__init__(records)
        people = [question for record in records for question in self.responses(record)]
        models = [question for record in records for question in self.suggestions(record)]
        self.predicted = not people and bool(models)
        self.labels = tuple(dict.fromkeys(f"responses.{question}" for question in (models if self.predicted else people)))
        self.spans = any(is_spans(value) for record in records for values in self.responses(record).values() for value in values)

    def responses(self, record: Record) -> dict[str, list[Any]]:
        raise NotImplementedError

    def suggestions(self, record: Record) -> dict[str, Any]:
        raise NotImplementedError

    def rows(self, record: Any) -> Iterator[Record]:
        if not isinstance(record, dict) or not isinstance(record.get("fields"), dict):
            raise LeftOut("it is no record of Argilla")
        given, proposed = self.responses(record), self.suggestions(record)
        found, all_agree = dict[str, Any](), True
        for question, values in given.items():
            found[question], agree = agreed(values)
            all_agree &= agree
        if not found and self.predicted:
            found = proposed
            self.guessed += 1
        if not found:
            raise LeftOut("it was discarded" if record.get("status") == "discarded" else "nobody has answered it yet")
        self.differed += not all_agree
        others = {name: record[name] for name in ("id", "external_id", "status", "fields", "metadata") if name in record}
        yield {**others, "responses": found, **({} if self.predicted else {"suggestions": proposed} if proposed else {})}


class Records(Answered):
    """{"fields": {..}, "responses": {question: [{"value", "user_id"}]}, "suggestions": {question: {"value", "score"}}}"""

    @staticmethod
    def fits(record: Record) -> bool:
        return isinstance(record.get("fields"), dict) and any(isinstance(record.get(k), dict) for k in ("responses", "suggestions"))

    def responses(self, record: Record) -> dict[str, list[Any]]:
        listed = record.get("responses")
        if record.get("status") == "discarded" or not isinstance(listed, dict):
            return {}
        found = {q: [r["value"] for r in given if counts(r)] for q, given in listed.items() if isinstance(given, list)}
        return {question: list(map(short, values)) for question, values in found.items() if values}

    def suggestions(self, record: Record) -> dict[str, Any]:
        listed = record.get("suggestions")
        found = {q: s["value"] for q, s in listed.items() if isinstance(s, dict) and "value" in s} if isinstance(listed, dict) else {}
        return {question: short(value) for question, value in found.items() if value is not None}


class Feedback(Answered):
    """{"fields": {..}, "responses": [{"values": {question: {"value"}}, "status"}], "suggestions": [{"question_name", "value"}]}"""

    @staticmethod
    def fits(record: Record) -> bool:
        return isinstance(record.get("fields"), dict) and any(isinstance(record.get(k), list) for k in ("responses", "suggestions"))

    def responses(self, record: Record) -> dict[str, list[Any]]:
        found: dict[str, list[Any]] = {}
        for response in dicts(record.get("responses")):
            values = response.get("values") if as_text(response.get("status")) not in OUT else None
            for question, value in values.items() if isinstance(values, dict) else ():
                if counts(value):
                    found.setdefault(question, []).append(short(value["value"]))
        return found

    def suggestions(self, record: Record) -> dict[str, Any]:
        proposed = dicts(record.get("suggestions"))
        return {as_text(s.get("question_name")): short(s.get("value")) for s in proposed if s.get("value") is not None}


def counts(response: Any) -> bool:
    return isinstance(response, dict) and response.get("value") is not None and as_text(response.get("status")) not in OUT


def short(value: Any) -> Any:
    """A list of one choice is that choice; a ranking keeps its order."""
    if isinstance(value, list) and value and not is_spans(value):
        return only([each.get("value", each) if isinstance(each, dict) else each for each in value])
    return value


class Flat(Records):
    """The same records as a table, as to_datasets() and the hub have them: text, label.responses, label.responses.status,
    label.suggestion; before version 2 label (a list of {value, status}) and label-suggestion."""

    def __init__(self, records: Sequence[Record] = ()) -> None:
        super().__init__([unflattened(record) for record in records])

    @staticmethod
    def fits(record: Record) -> bool:
        return bool(questions_of(record))

    def rows(self, record: Any) -> Iterator[Record]:
        yield from super().rows(unflattened(record) if isinstance(record, dict) else record)


def questions_of(record: Record) -> list[str]:
    """Those that a row of a table answers."""
    answered = [name[: -len(".responses")] for name in record if name.endswith(".responses") and f"{name}.status" in record]
    proposed = [name[: -len(".suggestion")] for name in record if name.endswith(".suggestion") and f"{name}.score" in record]
    older = [name[: -len("-suggestion")] for name in record if name.endswith("-suggestion")]
    return list(dict.fromkeys([*answered, *proposed, *(name for name in older if name in record)]))


def unflattened(record: Record) -> Record:
    """A row of a table as a record of version 2."""
    questions = questions_of(record)
    theirs = {q: [name for name in record if name == q or name.startswith((f"{q}.", f"{q}-suggestion"))] for q in questions}
    others = {name: cell for name, cell in record.items() if not any(name in names for names in theirs.values())}
    beside: Record = {name: others.pop(name) for name in BESIDE if name in others}
    proposed = {q: {"value": inside(record.get(f"{q}.suggestion", record.get(f"{q}-suggestion")))} for q in questions}
    fields = {name: cell for name, cell in others.items() if name not in {"_server_id", "vectors"}}
    return {**beside, "fields": fields, "responses": {q: given(record, q) for q in questions}, "suggestions": proposed}


def given(record: Record, question: str) -> list[Record]:
    """The answers to a question as people gave them, each with what became of it."""
    answers: Any = inside(record.get(f"{question}.responses", record.get(question)))
    if isinstance(answers, list) and all(isinstance(each, dict) for each in answers):
        return list(answers)
    beside: Record = {"value": answers, "status": inside(record.get(f"{question}.responses.status"))}
    if isinstance(answers, dict):  # the hub keeps lists beside each other
        beside = answers
    said, became = (each if isinstance(each, list) else [] for each in (beside.get("value"), beside.get("status")))
    return [{"value": value, "status": state} for value, state in zip_longest(said, became[: len(said)])]


def inside(cell: Any) -> Any:
    """A list may stand as text in a cell; an empty cell is no answer."""
    return (opened(cell) or cell or None) if isinstance(cell, str) else cell


class Classified(Shape):
    """Text classification before version 1.13: {"text" or "inputs", "annotation", "prediction": [[label, score]], "status"}"""

    title = "an Argilla export"
    labels = ("annotation",)

    @staticmethod
    def fits(record: Record) -> bool:
        return "annotation" in record and {"annotation_agent", "prediction_agent"} & record.keys() != set()

    def rows(self, record: Any) -> Iterator[Record]:
        if not isinstance(record, dict) or record.get("annotation") in (None, [], "") or record.get("status") == "Discarded":
            raise LeftOut("nobody has labelled it yet" if isinstance(record, dict) else "it is no record of Argilla")
        kept = {name: cell for name, cell in record.items() if name not in {"vectors", "explanation", "metrics", "prediction"}}
        yield {**kept, "annotation": short(record["annotation"])}
