"""What was asked of a model and what it answered."""

from __future__ import annotations

import logging
import time
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from typing import Any

import redis
from asgiref.sync import sync_to_async
from django.conf import settings
from django.db import models
from django.utils.translation import gettext as _

from webapp.catalog.models import ModelVersion
from webapp.live import hub
from webapp.people.access import READ, Actor
from webapp.people.models import TeamScoped
from webapp.playground import line
from webapp.work.models import Worker
from worker.nlp import TASKS
from worker.spec import SpecError

log = logging.getLogger(__name__)
MOST_AT_ONCE = 64  # texts in one question
MOST_PARAMETERS = 32
PATIENCE_S = 60.0  # so long an answer is waited for
LOOK_S = 2.0  # the hub is a hint: so often the stream and the table are looked at while waiting

Inputs = dict[str, str] | list[dict[str, str]]


class NotAnswering(Exception):
    """The model cannot be asked (yet, or any more); the message says why."""


class Busy(Exception):
    """Too many questions wait; ask again in `retry_s` seconds."""

    retry_s = 2


class Unserved(Exception):
    """Nobody is there to answer; the message says how to change that."""


class NoAnswer(Exception):
    """The answer did not come in time."""


class Prediction(TeamScoped):
    class State(models.TextChoices):
        QUEUED = "queued"
        DONE = "done"
        FAILED = "failed"

    model = models.ForeignKey(ModelVersion, models.CASCADE, related_name="predictions")
    untuned = models.BooleanField(default=False)  # asked of the model's base, for the comparison
    inputs: Any = models.JSONField(default=dict)  # {field: text}, or a list of up to MOST_AT_ONCE of them
    parameters: Any = models.JSONField(default=dict)
    answer: Any = models.JSONField(default=dict)  # one answer, or a list of them
    reason = models.TextField(blank=True)
    state = models.CharField(max_length=8, choices=State.choices, default=State.QUEUED)
    latency_ms = models.FloatField(null=True)

    class Meta:
        indexes = [models.Index(fields=["model", "created_by", "-id"])]

    @property
    def stream(self) -> str:
        return f"prediction:{self.pk}"

    # --- asking ---
    @classmethod
    def ask(
        cls, actor: Actor, model: ModelVersion, inputs: Any, parameters: dict[str, Any] | None = None, untuned: bool = False
    ) -> Prediction:
        """Put a question into the line. Raises SpecError, NotAnswering, Busy or Unserved, each with a sentence."""
        team: Any = model.team_id or actor.team_id
        actor.require(READ, team)
        if not model.is_answering:
            raise NotAnswering(why_silent(model))
        if untuned and (model.parent is None or model.parent.deleted_at or model.parent.state != ModelVersion.State.READY):
            raise SpecError("untuned", _("The base of this model is not there, so it cannot be asked."))
        inputs = checked(model.task, inputs)
        parameters = checked_parameters(parameters or {})
        if not Worker.listening().filter(kind="serve").exists():
            raise Unserved(_("No serve worker is running. Start one: make up starts all workers; alone it is python -m worker.relay."))
        try:
            if line.waiting() >= settings.ASK_LIMIT:
                raise Busy(_("Too many questions wait for the models. Ask again in a few seconds."))
            prediction = cls.objects.create(
                team_id=team, created_by=actor.user, model=model, inputs=inputs, parameters=parameters, untuned=untuned
            )
            line.join(prediction.pk)
        except redis.RedisError as error:
            log.warning("Redis is away: %s", error)
            raise Unserved(_("The line to the models is down (Redis does not answer). Try again in a moment.")) from None
        return prediction

    # --- answering; the relay calls these ---
    def question(self) -> dict[str, Any]:
        """What the serving process needs to know (docs/internals.md)."""
        source = self.model.parent if self.untuned and self.model.parent else self.model
        return {
            "id": str(self.pk),
            "model": str(source.path),
            "task": self.model.task,
            "inputs": self.inputs,
            "parameters": self.parameters,
            "untuned": self.untuned,
            "labels": self.model.labels,
        }

    def finish(self, answer: Any, latency_ms: float) -> bool:
        return self._settle(state=self.State.DONE, answer=answer, latency_ms=latency_ms)

    def fail(self, reason: str) -> bool:
        return self._settle(state=self.State.FAILED, reason=reason)

    def _settle(self, **fields: Any) -> bool:
        """The first outcome stands; a second answer to the same question changes nothing."""
        return bool(Prediction.objects.filter(pk=self.pk, state=self.State.QUEUED).update(**fields))

    # --- waiting ---
    async def answered(self, timeout: float = PATIENCE_S) -> dict[str, Any]:
        """The last frame: {"type": "answer", "answer", "latency_ms"} or {"type": "failed", "reason"}. Raises NoAnswer."""
        async with aclosing(self.frames(timeout)) as frames:
            async for frame in frames:
                if is_last(frame):
                    return frame
        raise NoAnswer(_("No answer came within %(seconds)d s. Ask again.") % {"seconds": timeout})

    async def frames(self, timeout: float = PATIENCE_S) -> AsyncGenerator[dict[str, Any]]:
        """All that is said about this question, up to the answer; ends without one when it does not come in `timeout` seconds."""
        deadline = time.monotonic() + timeout
        async with hub.watch(self.stream) as watch:  # join first, then look at what was said before
            found: Sequence[dict[str, Any]] = await sync_to_async(self.said)()
            while True:
                for frame in found:
                    yield frame
                    if is_last(frame):
                        return
                if (left := deadline - time.monotonic()) <= 0:
                    break
                found = await watch.gather(min(left, LOOK_S)) or await sync_to_async(self.outcome)()
        await sync_to_async(self.fail)(_("No answer came in time. Ask again."))

    def outcome(self) -> Sequence[dict[str, Any]]:
        """The last frame, if there is one by now."""
        return [frame for frame in self.said() if is_last(frame)]

    def said(self) -> Sequence[dict[str, Any]]:
        """The frames so far; the table has the last word."""
        self.refresh_from_db(fields=["state", "answer", "reason", "latency_ms"])
        if self.state == self.State.DONE:
            return [{"type": "answer", "answer": self.answer, "latency_ms": self.latency_ms}]
        if self.state == self.State.FAILED:
            return [{"type": "failed", "reason": self.reason}]
        try:
            return line.said(self.stream)
        except redis.RedisError:
            return []

    @property
    def texts(self) -> list[str]:
        """What was asked, one line a field, of the first row."""
        row = self.inputs[0] if isinstance(self.inputs, list) else self.inputs
        return list(row.values())

    @property
    def outcome_line(self) -> str:
        """What was answered, in a word."""
        if isinstance(self.answer, list):
            return _("%(count)d answers") % {"count": len(self.answer)}
        return str(self.answer.get("label") or self.answer.get("text") or self.answer.get("answer") or "")

    @property
    def confidence(self) -> float | None:
        scores = self.answer.get("scores") if isinstance(self.answer, dict) else None
        return scores.get(self.answer["label"]) if scores else None

    @classmethod
    def recent(cls, actor: Actor, model: ModelVersion, most: int = 10) -> models.QuerySet[Any]:
        """The last answers that this person got from `model`."""
        mine = cls.objects.visible_to(actor).filter(model=model, created_by=actor.user, untuned=False)
        return mine.filter(state=cls.State.DONE).order_by("-pk")[:most]


def is_last(frame: dict[str, Any]) -> bool:
    return frame["type"] in ("answer", "failed")


def why_silent(model: ModelVersion) -> str:
    if model.deleted_at:
        return _("This model was deleted.")
    if model.state == ModelVersion.State.FETCHING:
        return _("This model is still being fetched. It can be asked when that is done.")
    if model.state == ModelVersion.State.FAILED:
        return _("This model could not be fetched: %(reason)s") % {"reason": model.reason}
    return _("This is a base model: it answers nothing yet. Fine-tune it first.")


def checked(task: str, inputs: Any) -> Inputs:
    """`inputs` when they are what the task asks for. Raises SpecError with the field and the limit."""
    if isinstance(inputs, list):
        if not 1 <= len(inputs) <= MOST_AT_ONCE:
            raise SpecError("inputs", _("Send between 1 and %(most)d texts at once.") % {"most": MOST_AT_ONCE})
        return [checked_row(task, row, f"inputs.{number}") for number, row in enumerate(inputs)]
    return checked_row(task, inputs, "inputs")


def checked_row(task: str, row: Any, place: str) -> dict[str, str]:
    fields = TASKS[task].inputs
    names = ", ".join(field.name for field in fields)
    if not isinstance(row, dict) or set(row) - {field.name for field in fields}:
        raise SpecError(place, _("The inputs of this task are: %(names)s.") % {"names": names})
    for field in fields:
        value, where = row.get(field.name), f"{place}.{field.name}"
        if not isinstance(value, str) or not value.strip():
            raise SpecError(where, _("%(field)s is empty. Write something to ask.") % {"field": _(field.label)})
        if len(value) > field.most_chars:
            limit, length = f"{field.most_chars:,}", f"{len(value):,}"
            sentence = _("%(field)s is too long: %(length)s characters, at most %(limit)s.")
            raise SpecError(where, sentence % {"field": _(field.label), "length": length, "limit": limit})
        if not is_writable(value):
            raise SpecError(where, _("%(field)s holds half a character (a surrogate without its partner).") % {"field": _(field.label)})
    return {field.name: row[field.name].replace("\0", "") for field in fields}


def is_writable(text: str) -> bool:
    """JSON can hold half a character; no pipe and no database takes it."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def checked_parameters(parameters: Any) -> dict[str, Any]:
    """A few plain values; the task reads those that it knows."""
    plain = isinstance(parameters, dict) and len(parameters) <= MOST_PARAMETERS
    words = [str(word) for pair in parameters.items() for word in pair] if plain else []
    is_short = all(len(word) <= 1000 and "\0" not in word and is_writable(word) for word in words)
    if not plain or not is_short or not all(isinstance(value, str | int | float | bool) for value in parameters.values()):
        raise SpecError("parameters", _("Parameters are up to %(most)d names with a number or a short text.") % {"most": MOST_PARAMETERS})
    return dict(parameters)
