"""Where questions wait and are answered together: whatever waits when the model is free makes the next round."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from typing import Any

from worker.serving.pool import Pool
from worker.serving.questions import Question, Row, groups
from worker.weights import Unusable

log = logging.getLogger(__name__)
ROUND = 32  # texts in one round; a newcomer waits for one round at most
SHARE = 8  # texts of one question in a round, so that a long list does not hold up the others


class Desk:
    def __init__(self, pool: Pool, say: Callable[[dict[str, Any]], None]) -> None:
        self.pool, self.say = pool, say
        self.waiting: dict[str, Question] = {}  # in the order of arrival
        self.changed = threading.Condition()
        self.is_closed = False

    # --- the reading thread ---
    def hear(self, line: dict[str, Any]) -> None:
        """One line of the relay: a question, or the wish to forget one."""
        if "cancel" in line:
            return self.drop(str(line["cancel"]))
        try:
            question = Question.read(line)
        except Unusable as refusal:
            return self.fail(str(line["id"]), str(refusal))
        except (KeyError, TypeError, AttributeError):
            log.exception("not a question")
            return self.fail(str(line.get("id")), "The question did not arrive in one piece. Ask again.")
        if expected_s := self.pool.expected_s(question.key):
            self.say({"id": question.id, "type": "loading", "expected_s": expected_s})
        with self.changed:
            self.waiting[question.id] = question
            self.changed.notify()

    def close(self) -> None:
        with self.changed:
            self.is_closed = True
            self.changed.notify()

    # --- the answering thread ---
    def work(self) -> None:
        """Answer until closed and nothing waits."""
        while rows := self.take():
            for group in groups(rows):
                self.answer(group)

    def take(self) -> list[Row]:
        """The rows of the next round; empty when the desk is closed."""
        with self.changed:
            self.changed.wait_for(lambda: self.waiting or self.is_closed)
            rows: list[Row] = []
            for question in list(self.waiting.values()):
                start = question.asked_rows
                question.asked_rows = min(start + SHARE, start + ROUND - len(rows), len(question.inputs))
                rows += [Row(question, number) for number in range(start, question.asked_rows)]
            return rows

    def answer(self, group: list[Row]) -> None:
        rows = [row for row in group if row.question.id in self.waiting]  # others were dropped or failed meanwhile
        if not rows:
            return
        try:
            answers = self.ask(rows)
        except Unusable as refusal:
            for identifier in {row.question.id for row in rows}:
                self.fail(identifier, str(refusal))
        except (KeyboardInterrupt, SystemExit):
            raise
        except BaseException:  # a tokenizer may panic in Rust, and that is no Exception
            log.exception("could not answer %d texts together", len(rows))
            self.answer_one_by_one(rows)
        else:
            for row, answer in zip(rows, answers, strict=True):
                self.keep(row, answer)

    def answer_one_by_one(self, rows: list[Row]) -> None:
        """One bad text must not cost its neighbours their answers."""
        if len(rows) == 1:
            return self.fail(rows[0].question.id, "The model could not read this text. Change it and ask again.")
        for row in rows:
            self.answer([row])

    def ask(self, rows: list[Row]) -> list[dict[str, Any]]:
        question = rows[0].question
        warm = self.pool.get(question.key)
        return warm.answer([row.inputs for row in rows], question.labels, question.parameters, question.key.untuned)

    def keep(self, row: Row, answer: dict[str, Any]) -> None:
        row.question.answers[row.number] = answer
        if row.question.is_answered:
            self.drop(row.question.id)
            self.say(row.question.to_wire())

    def fail(self, identifier: str, reason: str) -> None:
        self.drop(identifier)
        self.say({"id": identifier, "type": "failed", "reason": reason})

    def drop(self, identifier: str) -> None:
        with self.changed:
            self.waiting.pop(identifier, None)
