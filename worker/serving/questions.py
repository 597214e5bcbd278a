"""What was asked, and in which small groups it is answered."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from worker.nlp import TASKS
from worker.weights import Unusable

GROUP = 16  # texts in one forward pass
SPREAD = 4.0  # the longest text of a group may be so many times its shortest: short ones need not wait for long ones


class Key(NamedTuple):
    """What has to be warm for an answer."""

    folder: str
    task: str
    untuned: bool


@dataclass
class Question:
    id: str
    key: Key
    inputs: list[dict[str, str]]
    parameters: dict[str, Any]
    labels: tuple[str, ...]
    many: bool  # asked with a list, so answered with a list
    wants_pieces: bool = False
    facts: dict[str, Any] = field(default_factory=dict)  # what the tuned model knows of its rows, for asking its base alike
    engine: str = ""  # what computed the answer
    answers: dict[int, dict[str, Any]] = field(default_factory=dict)
    asked: float = field(default_factory=time.monotonic)
    asked_rows: int = 0  # how many of `inputs` were handed out

    @classmethod
    def read(cls, line: dict[str, Any]) -> Question:
        """The question of one line. Raises Unusable or SpecError with a sentence when it cannot be answered by anybody."""
        inputs = line["inputs"]
        many = isinstance(inputs, list)
        key = Key(str(line["model"]), str(line["task"]), bool(line.get("untuned")))
        if key.task not in TASKS:
            raise Unusable(f"This version of Tunebench does not know the task {key.task!r}. Update the serve worker.")
        rows = [read_row(key.task, row) for row in (inputs if many else [inputs])]
        if not rows:
            raise Unusable("There is no text to answer.")
        parameters = TASKS[key.task].read_parameters(line.get("parameters") or {})
        labels, wants_pieces = tuple(line.get("labels") or ()), bool(line.get("stream")) and not many
        return cls(str(line["id"]), key, rows, parameters, labels, many, wants_pieces, dict(line.get("facts") or {}))

    @property
    def has_more(self) -> bool:
        return self.asked_rows < len(self.inputs)

    @property
    def is_written(self) -> bool:
        """Whether its answer is made piece by piece, with other work in between, whoever wants to see the pieces."""
        return TASKS[self.key.task].streams

    @property
    def is_answered(self) -> bool:
        return len(self.answers) == len(self.inputs)

    def to_wire(self) -> dict[str, Any]:
        answers = [self.answers[number] for number in range(len(self.inputs))]
        ms = (time.monotonic() - self.asked) * 1000
        answer = answers if self.many else answers[0]
        return {"id": self.id, "type": "answer", "answer": answer, "ms": round(ms, 2), "engine": self.engine}


def read_row(task: str, row: dict[str, Any]) -> dict[str, str]:
    """The fields of `row` that the task knows, the optional ones only where they say something."""
    fields = TASKS[task].inputs
    texts = {field.name: str(row.get(field.name) or "") for field in fields}
    for part in fields:
        if len(texts[part.name]) > part.most_chars:
            raise Unusable(f"{part.label} is too long: at most {part.most_chars:,} characters.")
    return {part.name: texts[part.name] for part in fields if part.required or texts[part.name]}


class Row(NamedTuple):
    """One text of a question."""

    question: Question
    number: int

    @property
    def inputs(self) -> dict[str, str]:
        return self.question.inputs[self.number]

    @property
    def length(self) -> int:
        return sum(map(len, self.inputs.values()))

    @property
    def kind(self) -> tuple[Key, tuple[str, ...], str]:
        """Rows of one kind may share a forward pass."""
        question = self.question
        return question.key, question.labels, json.dumps([question.parameters, question.facts], sort_keys=True)


def groups(rows: Sequence[Row]) -> Iterator[list[Row]]:
    """`rows` in groups of one kind and like length, short ones first. What of a group goes through the model together is the task's matter."""
    group: list[Row] = []
    for row in sorted(rows, key=lambda row: (row.kind, row.length)):
        if group and (row.kind != group[0].kind or len(group) == GROUP or row.length > SPREAD * group[0].length + 16):
            yield group
            group = []
        group.append(row)
    if group:
        yield group
