"""Where questions wait and are answered together: whatever waits when the model is free makes the next round.

Answers that are written piece by piece (a task that `streams`) are held open and go on by one token in turn, between
the rounds, so that neither a short question nor another writer waits for a long text.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from worker import machine
from worker.nlp import language
from worker.serving.pool import Pool, Warm
from worker.serving.questions import Question, Row, groups
from worker.serving.writing import ALIVE_S, Writing
from worker.spec import SpecError, Trouble, storable
from worker.weights import Unusable

log = logging.getLogger(__name__)
ROUND = 32  # texts in one round; a newcomer waits for one round at most
SHARE = 8  # texts of one question in a round, so that a long list does not hold up the others
SIDE_BY_SIDE = 8  # answers that are written at the same time; the next ones wait
PART_CHARS = 40_000  # characters answered together at most: how long they take is only known afterwards
LONGEST_S = 60.0  # one call is given so long: whoever asked waits no longer
WRITTEN_S = 45.0  # an answer that is written in one go is given so long, and then ended without harm to anybody else
GATHER_S = 0.005  # so long a round waits for those who were answered in the one before
TOLD_S = 1.0  # who writes on says so again so often
OF_ONE = 4  # of them at most for the same question


class Overdue(Unusable):
    """What was answered together took too long; one alone may be done in time."""


class Desk:
    def __init__(self, pool: Pool, say: Callable[[dict[str, Any]], None]) -> None:
        self.pool, self.say = pool, say
        self.waiting: dict[str, Question] = {}  # in the order of arrival; out of it means that nobody wants it any more
        self.writing: list[Writing] = []
        self.changed = threading.Condition()
        self.is_closed = False
        self.last_round = 0  # questions in it
        self.computing: tuple[set[str], float] | None = None  # (questions of the call that runs now, since when)
        self.told = ("", 0.0)  # (folder of the model that is busy, when it was said)

    # --- the reading thread ---
    def hear(self, line: dict[str, Any]) -> None:
        """One line of the relay: a question, or the wish to forget one."""
        if "cancel" in line:
            return self.drop(str(line["cancel"]))
        try:
            question = Question.read(line)
        except (Unusable, SpecError) as refusal:
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
        over = threading.Event()
        threading.Thread(target=self.tell_alive, args=[over], daemon=True).start()
        while not self.is_over():
            rows = self.take()
            for row in rows:
                if row.question.is_written:
                    self.begin(row)
            for group in groups([row for row in rows if not row.question.is_written]):
                self.answer(group)
            self.write_on()
            if not self.writing:
                self.tell_busy("")
        over.set()

    def tell_busy(self, folder: str, goes_on: bool = False) -> None:
        """Said before the model of `folder` is loaded or asked (empty: none is): if it never comes back, the relay knows whose questions
        wait for nothing. `goes_on`: it came back and is asked for more."""
        clock = time.monotonic()
        if folder != self.told[0] or (goes_on and clock - self.told[1] > TOLD_S):
            self.told = (folder, clock)
            self.say({"id": "", "type": "busy", "model": folder})

    def is_over(self) -> bool:
        """Closed, and nothing is left to do."""
        with self.changed:
            return self.is_closed and not self.writing and not any(question.has_more for question in self.waiting.values())

    def take(self) -> list[Row]:
        """The rows of the next round; none when the desk is closed, when only written answers are left to do, or when
        whoever asked went away meanwhile."""
        with self.changed:
            self.changed.wait_for(lambda: self.writing or self.is_closed or any(q.has_more for q in self.waiting.values()))
            self.gather()
            rows: list[Row] = []
            for question in list(self.waiting.values()):
                room = min(SHARE, ROUND - len(rows))
                if question.is_written:
                    begun = [row.question for row in rows if row.question.is_written] + [writing.row.question for writing in self.writing]
                    room = min(SIDE_BY_SIDE - len(begun), OF_ONE - sum(each is question for each in begun))
                start = question.asked_rows
                question.asked_rows = min(start + max(0, room), len(question.inputs))
                rows += [Row(question, number) for number in range(start, question.asked_rows)]
            self.last_round = len({row.question.id for row in rows})
            return rows

    def gather(self) -> None:
        """Who were answered together ask again together: without a moment's patience the first of them has the next pass alone."""
        if self.last_round > 1:
            self.changed.wait_for(lambda: self.writing or self.is_closed or len(self.waiting) >= self.last_round, GATHER_S)

    def is_wanted(self, row: Row) -> bool:
        return row.question.id in self.waiting

    def open(self, rows: list[Row]) -> Warm | None:
        """The warm model of `rows`, which are of one kind; None when it cannot be had, and then they were told why."""
        key = rows[0].question.key
        is_news = key not in self.pool.warm
        self.tell_busy(key.folder)
        try:
            warm = self.pool.get(key, busy={writing.row.question.key for writing in self.writing})
            if is_news:
                self.say({"id": "", "type": "warm", "folders": [each.folder for each in self.pool.warm if not each.untuned]})
            return warm
        except Unusable as refusal:
            for identifier in {row.question.id for row in rows}:
                self.fail(identifier, str(refusal))
            return None

    # --- answers in one go ---
    def answer(self, group: list[Row]) -> None:
        """The answers of a group, in parts that take a moment each."""
        rows = [row for row in group if self.is_wanted(row)]  # others were dropped or failed meanwhile
        if rows and (warm := self.open(rows)):
            while rows:
                size = min(warm.part, max(1, PART_CHARS // max(1, rows[-1].length)))
                self.answer_together(warm, [row for row in rows[:size] if self.is_wanted(row)])
                rows = rows[size:]
                self.write_on()

    def answer_together(self, warm: Warm, rows: list[Row]) -> None:
        if not rows:
            return
        question = rows[0].question
        try:
            answers = self.asked(warm, question, rows)
        except Overdue as refusal:
            if len(rows) > 1:
                return self.answer_one_by_one(warm, rows, refusal)
            self.fail(question.id, str(refusal))
        except (Unusable, Trouble) as refusal:
            for identifier in {row.question.id for row in rows}:
                self.fail(identifier, told(refusal))
        except (KeyboardInterrupt, SystemExit):
            raise
        except BaseException as problem:  # a tokenizer may panic in Rust, and that is no Exception
            log.exception("could not answer %d texts together", len(rows))
            self.answer_one_by_one(warm, rows, problem)
        else:
            for row, answer in zip(rows, answers, strict=True):
                self.keep(row, answer, warm.engine)

    def asked(self, warm: Warm, question: Question, rows: list[Row]) -> list[dict[str, Any]]:
        """The answers of the task; while it computes, the relay hears that it does."""
        self.tell_busy(question.key.folder)
        with self.busy(rows):
            return warm.answer([row.inputs for row in rows], question.labels, question.parameters, question.key.untuned, question.facts)

    @contextmanager
    def busy(self, rows: list[Row]) -> Iterator[None]:
        """Within, something is computed for `rows`. An answer that is written in one go can be ended between two words."""
        began = time.monotonic()
        self.computing = ({row.question.id for row in rows}, began)
        before = language.pause.set(lambda: self.look_up(rows, began))
        try:
            yield
        finally:
            language.pause.reset(before)
            self.computing = None

    def look_up(self, rows: list[Row], began: float) -> None:
        """Raises Unusable when nobody wants the answers any more, and Overdue when they take too long."""
        if not any(self.is_wanted(row) for row in rows):
            raise Unusable("Stopped before the answer came.")
        if time.monotonic() - began > WRITTEN_S:
            raise Overdue(
                f"The model wrote for {WRITTEN_S:.0f} seconds and was not done. Ask again with a shorter text, fewer beams or a shorter answer."
            )

    def tell_alive(self, over: threading.Event) -> None:
        """In a thread of its own: one call may take long. Not for ever: then nobody waits for it any more."""
        while not over.wait(ALIVE_S):
            identifiers, since = self.computing or (set(), 0.0)
            if time.monotonic() - since < LONGEST_S:
                for identifier in identifiers:
                    self.say({"id": identifier, "type": "alive"})

    def answer_one_by_one(self, warm: Warm, rows: list[Row], problem: BaseException) -> None:
        """One bad text must not cost its neighbours their answers."""
        if len(rows) == 1:
            return self.fail_to_read(rows[0], problem)
        for row in rows:
            self.answer_together(warm, [row])

    # --- answers that are written piece by piece ---
    def begin(self, row: Row) -> None:
        if not self.is_wanted(row) or not (warm := self.open([row])):
            return
        question = row.question
        try:
            pieces = warm.stream(row.inputs, question.labels, question.parameters, question.key.untuned, question.facts)
            self.writing.append(Writing(row, warm.engine, pieces))
        except Exception as problem:
            log.exception("could not begin an answer")
            self.fail_to_read(row, problem)

    def write_on(self) -> None:
        """One more token of every answer that is being written; those that are whole, broken off or unwanted are let go."""
        for writing in self.writing[:]:
            if self.is_wanted(writing.row):
                self.step(writing)
            if writing.answer is not None or not self.is_wanted(writing.row):
                writing.close()
                self.writing.remove(writing)

    def step(self, writing: Writing) -> None:
        row = writing.row
        self.tell_busy(row.question.key.folder, goes_on=True)
        try:
            with self.busy([row]):
                writing.step()
        except (Unusable, Trouble) as refusal:
            self.fail(row.question.id, told(refusal))
        except (KeyboardInterrupt, SystemExit):
            raise
        except BaseException as problem:
            log.exception("an answer broke off")
            self.fail_to_read(row, problem)
        else:
            if news := writing.news(time.monotonic()):
                self.say(news)
            if writing.answer is not None:
                self.keep(row, writing.answer, writing.engine)

    # --- outcomes ---
    def keep(self, row: Row, answer: dict[str, Any], engine: str) -> None:
        row.question.answers[row.number] = storable(answer)
        row.question.engine = engine
        if row.question.is_answered:
            self.drop(row.question.id)
            self.say(row.question.to_wire())

    def fail_to_read(self, row: Row, problem: BaseException) -> None:
        if machine.ran_out(problem):
            reason = "Ran out of memory over this text. Ask again with a shorter one, fewer beams or a shorter answer."
        else:
            reason = "The model could not read this text. Change it and ask again."
        self.fail(row.question.id, reason)

    def fail(self, identifier: str, reason: str) -> None:
        self.drop(identifier)
        self.say({"id": identifier, "type": "failed", "reason": reason})

    def drop(self, identifier: str) -> None:
        with self.changed:
            self.waiting.pop(identifier, None)


def told(refusal: Exception) -> str:
    return f"{refusal.text} {refusal.remedy}" if isinstance(refusal, Trouble) else str(refusal)
