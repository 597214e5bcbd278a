"""The shapes in which programs write one record: labelling tools, question answering, tags of words. One module each.

A shape looks at the first records of a file and either knows them or does not. It turns each record into rows of named values,
says which of them people chose as labels, and tells afterwards what was noticed.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any, Self

from webapp.datasets.reading import Finding
from webapp.datasets.reading.layouts import as_record
from webapp.datasets.reading.values import as_json, as_text

Record = dict[str, Any]
MOSTLY = 0.8  # of the first records fit


class LeftOut(Exception):
    """A record that nobody has labelled, or that was sorted out by the people who label. The message is a reason for people."""


class Shape:
    title = ""  # what wrote such records, for people
    labels: tuple[str, ...] = ()  # columns, with dots, that hold what people chose
    spans = False  # whether parts of texts are labelled, rather than texts

    def __init__(self, records: Sequence[Record] = ()) -> None:
        self.differed = 0  # rows on whose label people did not agree
        self.guessed = 0  # rows that only a model has labelled

    @classmethod
    def of(cls, records: list[Any]) -> Self | None:
        """This shape, if the first records of a file have it."""
        some = [record for record in records if isinstance(record, dict)]
        return cls(some) if some and sum(map(cls.fits, some)) >= MOSTLY * len(some) else None

    @staticmethod
    def fits(record: Record) -> bool:
        raise NotImplementedError

    def rows(self, record: Any) -> Iterator[Record]:
        """The rows of one record. Raises LeftOut."""
        yield as_record(record)

    def findings(self, name: str) -> list[Finding]:
        """What is to be said of the file `name`, once all its records were read."""
        found = [Finding("layout", f"{name} was read as {self.title}.", "info")] if self.title else []
        if self.spans:
            text = (
                f"{name} holds labels of words or parts of texts: data for token classification (named entities), a task that "
                "Tunebench does not have yet. Choose columns yourself if its texts are for another task."
            )
            found.append(Finding("token_classification", text, "error", asks="confirmation"))
        if len(self.labels) > 1:
            text = f"{name} answers several questions: {', '.join(self.labels[:10])}. Choose in the table which one is the label."
            found.append(Finding("several_questions", text, count=len(self.labels), asks="mapping"))
        return found + [Finding(code, text, count=rows, asks="confirmation") for code, text, rows in self.counted(name) if rows]

    def counted(self, name: str) -> Iterator[tuple[str, str, int]]:
        """(code, a sentence, how many rows it is about) of all that a person should confirm if it is about any."""
        yield "predictions_only", f"Rows that no person has labelled; what a model proposed was taken: {self.guessed:,}.", self.guessed
        text = f"Rows that people labelled differently; what most of them chose was taken: {self.differed:,}."
        yield "annotators_differ", text, self.differed


class Messages(Shape):
    """Each record is a list of messages, a chat without a name: one cell, as a chat below a key is."""

    title = "chats, one list of messages each"

    @classmethod
    def of(cls, records: list[Any]) -> Self | None:
        return cls() if records and sum(map(is_chat, records)) >= MOSTLY * len(records) else None

    def rows(self, record: Any) -> Iterator[Record]:
        yield {"messages": record} if isinstance(record, list) else as_record(record)


def is_chat(value: Any) -> bool:
    """A list of messages, by any of the names under which who speaks and what is said go."""
    who, what = {"role", "from", "speaker"}, {"content", "value", "text", "tool_calls"}
    return isinstance(value, list) and bool(value) and all(isinstance(m, dict) and who & m.keys() and what & m.keys() for m in value)


def agreed(values: list[Any]) -> tuple[Any, bool]:
    """(what most people chose, whether all did). Raises LeftOut where as many chose something else."""
    counted = Counter(as_json(value) for value in values).most_common(2)
    if len(counted) > 1 and counted[0][1] == counted[1][1]:
        said = " or ".join(as_text(value)[:40] for value in dict.fromkeys(map(bare, values)))
        raise LeftOut(f"people chose differently: {said}")
    return next(value for value in values if as_json(value) == counted[0][0]), len(counted) == 1


def bare(value: Any) -> str:
    return ", ".join(map(as_text, value)) if isinstance(value, list) else as_text(value)


def dicts(value: Any) -> list[Record]:
    return [each for each in value if isinstance(each, dict)] if isinstance(value, list) else []


def only(values: list[Any]) -> Any:
    """One value as itself, several as a list."""
    return values[0] if len(values) == 1 else values


def recognised(records: list[Any]) -> Shape:
    """The shape of these records; a plain one where none of the known ones fits."""
    from webapp.datasets.reading.shapes import argilla, conversations, label_studio, prodigy, squad, tokens

    known: tuple[type[Shape], ...] = (
        *(squad.Coqa, squad.Squad, label_studio.Tasks, label_studio.Plain),
        *(argilla.Records, argilla.Feedback, argilla.Flat, argilla.Classified),
        *(prodigy.Prodigy, conversations.Gemini, conversations.Tree, conversations.Arena, tokens.Tags, tokens.Spans, Messages),
    )
    return next((shape for kind in known if (shape := kind.of(records))), Shape())
