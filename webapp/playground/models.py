"""What was asked of a model and what it answered."""

from __future__ import annotations

import logging
import re
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
from worker.spec import Field, Setting, SpecError

log = logging.getLogger(__name__)
MOST_AT_ONCE = 64  # texts in one question
LONGEST_NAME = 100  # characters of a parameter's name
LINE = 160  # characters of an answer in a list
PATIENCE_S = 60.0  # so long an answer, or its next piece, is waited for
CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f]")  # no tab, no line break
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
        CANCELLED = "cancelled"  # nobody waited for it any more

    model = models.ForeignKey(ModelVersion, models.CASCADE, related_name="predictions")
    untuned = models.BooleanField(default=False)  # asked of the model's base, for the comparison
    inputs: Any = models.JSONField(default=dict)  # {field: text}, or a list of up to MOST_AT_ONCE of them
    parameters: Any = models.JSONField(default=dict)
    answer: Any = models.JSONField(default=dict)  # one answer, or a list of them
    reason = models.TextField(blank=True)
    state = models.CharField(max_length=10, choices=State.choices, default=State.QUEUED)
    streamed = models.BooleanField(default=False)  # wanted piece by piece
    latency_ms = models.FloatField(null=True)
    engine = models.CharField(max_length=40, blank=True)  # what computed the answer

    class Meta:
        indexes = [models.Index(fields=["model", "created_by", "-id"])]

    @property
    def stream(self) -> str:
        return f"prediction:{self.pk}"

    # --- asking ---
    @classmethod
    def ask(
        cls,
        actor: Actor,
        model: ModelVersion,
        inputs: Any,
        parameters: dict[str, Any] | None = None,
        untuned: bool = False,
        stream: bool = False,
    ) -> Prediction:
        """Put a question into the line; `stream`: pieces on the way are welcome. Raises SpecError, NotAnswering, Busy or Unserved, each with a sentence."""
        team: Any = model.team_id or actor.team_id
        actor.require(READ, team)
        if not model.is_answering:
            raise NotAnswering(why_silent(model))
        if untuned and (model.parent is None or model.parent.deleted_at or model.parent.state != ModelVersion.State.READY):
            raise SpecError("untuned", _("The base of this model is not there, so it cannot be asked."))
        inputs = checked(model.task, inputs)
        parameters = checked_parameters(model, parameters or {})
        streamed = stream and TASKS[model.task].streams and isinstance(inputs, dict)
        if not Worker.listening().filter(kind="serve").exists():
            raise Unserved(_("No serve worker is running. Start one: make up starts all workers; alone it is python -m worker.relay."))
        try:
            if line.waiting() >= settings.ASK_LIMIT:
                raise Busy(_("Too many questions are waiting. Try again in a few seconds."))
            prediction = cls.objects.create(
                team_id=team,
                created_by=actor.user,
                model=model,
                inputs=inputs,
                parameters=parameters,
                untuned=untuned,
                streamed=streamed,
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
            "facts": self.model.known if self.untuned else {},
            "stream": self.streamed,
        }

    def finish(self, answer: Any, latency_ms: float, engine: str = "") -> bool:
        return self._settle(state=self.State.DONE, answer=answer, latency_ms=latency_ms, engine=engine)

    def fail(self, reason: str) -> bool:
        return self._settle(state=self.State.FAILED, reason=reason)

    def cancel(self) -> bool:
        """Nobody waits for the answer any more: what is still computed for it stops."""
        settled = self._settle(state=self.State.CANCELLED, reason=_("Stopped before the answer came."))
        return self._let_go() if settled else False

    def give_up(self) -> bool:
        """The answer did not come in time."""
        settled = self.fail(_("No answer came in time. Try again."))
        return self._let_go() if settled else False

    def _let_go(self) -> bool:
        try:
            line.cancel(self.pk)
        except redis.RedisError as error:
            log.warning("Redis is away: %s", error)  # then the answer is computed for nobody
        return True

    def _settle(self, **fields: Any) -> bool:
        """The first outcome stands; a second answer to the same question changes nothing."""
        return bool(Prediction.objects.filter(pk=self.pk, state=self.State.QUEUED).update(**fields))

    # --- waiting ---
    async def answered(self, timeout: float = PATIENCE_S) -> dict[str, Any]:
        """The last frame: {"type": "answer", "answer", "latency_ms", "engine"} or {"type": "failed", "reason"}. Raises NoAnswer."""
        async with aclosing(self.frames(timeout)) as frames:
            async for frame in frames:
                if is_last(frame):
                    return frame
        raise NoAnswer(_("No answer came within %(seconds)d s. Ask again.") % {"seconds": timeout})

    async def frames(self, timeout: float = PATIENCE_S) -> AsyncGenerator[dict[str, Any]]:
        """All that is said about this question, up to the answer; ends without one when for `timeout` seconds nothing comes.

        Who leaves before the end takes the question back.
        """
        deadline = time.monotonic() + timeout
        ended, leave = False, self.cancel
        pieces = -1  # seen
        try:
            async with hub.watch(self.stream) as watch:  # join first, then look at what was said before
                found: Sequence[dict[str, Any]] = await sync_to_async(self.said)()
                while True:
                    for frame in found:
                        if frame["type"] == "piece":
                            if frame["seq"] <= pieces:  # said before we joined, and heard again
                                continue
                            pieces = frame["seq"]
                            deadline = time.monotonic() + timeout
                        ended = is_last(frame)
                        yield frame
                        if ended:
                            return
                    if (left := deadline - time.monotonic()) <= 0:
                        break
                    found = await watch.gather(min(left, LOOK_S)) or await sync_to_async(self.outcome)()
            leave = self.give_up
        finally:
            if not ended:
                await sync_to_async(leave)()

    def outcome(self) -> Sequence[dict[str, Any]]:
        """The last frame, if there is one by now."""
        return [frame for frame in self.said() if is_last(frame)]

    def said(self) -> Sequence[dict[str, Any]]:
        """The frames so far; the table has the last word."""
        self.refresh_from_db(fields=["state", "answer", "reason", "latency_ms", "engine"])
        if self.state == self.State.DONE:
            return [{"type": "answer", "answer": self.answer, "latency_ms": self.latency_ms, "engine": self.engine}]
        if self.state != self.State.QUEUED:
            return [{"type": "failed", "reason": self.reason}]
        try:
            return line.said(self.stream)
        except redis.RedisError:
            return []

    @property
    def texts(self) -> list[str]:
        """What was asked, one line a field, of the first row."""
        row = self.inputs[0] if isinstance(self.inputs, list) else self.inputs
        return [row[field.name] for field in TASKS[self.model.task].inputs if field.name in row]  # PostgreSQL sorts the keys of its JSON

    @property
    def outcome_line(self) -> str:
        """What was answered, in a line."""
        if isinstance(self.answer, list):
            return _("%(count)d answers") % {"count": len(self.answer)}
        if self.answer.get("no_answer"):
            return _("No answer in the text")
        said = next((str(self.answer[name]) for name in ("label", "answer", "text") if self.answer.get(name)), "")
        words = " ".join(said[: 2 * LINE].split())
        return words if len(words) <= LINE else words[: LINE - 1] + "…"

    @property
    def confidence(self) -> float | None:
        if not isinstance(self.answer, dict):
            return None
        scores = self.answer.get("scores")
        return scores.get(self.answer.get("label")) if isinstance(scores, dict) else self.answer.get("score")

    def facts(self) -> dict[str, Any]:
        """What the API tells, to anybody in the team."""
        return {
            "id": str(self.pk),
            "model": str(self.model_id),
            "task": self.model.task,
            "state": self.state,
            "inputs": self.inputs,
            "parameters": self.parameters,
            "untuned": self.untuned,
            "answer": self.answer or None,
            "reason": self.reason,
            "latency_ms": self.latency_ms,
            "engine": self.engine,
            "asked_by": self.created_by.username if self.created_by else None,
            "created_at": self.created_at.isoformat(),
        }

    @classmethod
    def recent(cls, actor: Actor, of: ModelVersion | str | None = None, most: int = 10) -> models.QuerySet[Any]:
        """The last answers that this person got: from a model, from all models of a task (its slug), or from any."""
        mine = cls.objects.visible_to(actor).filter(created_by=actor.user, untuned=False, state=cls.State.DONE)
        if of is not None:
            mine = mine.filter(model__task=of) if isinstance(of, str) else mine.filter(model=of)
        return mine.select_related("model").order_by("-pk")[:most]


def is_last(frame: dict[str, Any]) -> bool:
    return frame["type"] in ("answer", "failed")


def why_silent(model: ModelVersion) -> str:
    if model.deleted_at:
        return _("This model was deleted.")
    if model.state == ModelVersion.State.FETCHING:
        return _("This model is still being fetched. It can be asked when that is done.")
    if model.state == ModelVersion.State.FAILED:
        return _("This model could not be fetched: %(reason)s") % {"reason": model.reason}
    return _("This is a base model. Fine-tune it before asking it anything.")


def checked(task: str, inputs: Any) -> Inputs:
    """`inputs` when they are what the task asks for. Raises SpecError with the field and the limit."""
    if isinstance(inputs, list):
        if not 1 <= len(inputs) <= MOST_AT_ONCE:
            raise SpecError("inputs", _("Send between 1 and %(most)d texts at once.") % {"most": MOST_AT_ONCE})
        return [checked_row(task, row, f"inputs.{number}") for number, row in enumerate(inputs)]
    return checked_row(task, inputs, "inputs")


def checked_row(task: str, row: Any, place: str) -> dict[str, str]:
    """The fields that say something, each within its limit. A task that must have one text takes it as `text`, too."""
    fields = TASKS[task].inputs
    known, needed = [field.name for field in fields], [field.name for field in fields if field.required]
    alias = {"text": needed[0]} if len(needed) == 1 and "text" not in known else {}
    if not isinstance(row, dict) or not {alias.get(name, name) for name in row} <= {*known}:
        raise SpecError(place, _("The inputs of this task are: %(names)s.") % {"names": ", ".join(known)})
    given = {alias.get(name, name): (f"{place}.{name}", value) for name, value in row.items()}
    texts = {field.name: checked_text(field, *given.get(field.name, (f"{place}.{field.name}", None))) for field in fields}
    return {name: text for name, text in texts.items() if text or name in needed}


def checked_text(field: Field, place: str, value: Any) -> str:
    """A text without control characters; a space stands for each, so that places in an answer are places in the question."""
    if value is None or (isinstance(value, str) and not CONTROL.sub(" ", value).strip()):
        if field.required:
            raise SpecError(place, _("%(field)s is empty. Enter some text first.") % {"field": _(field.label)})
        return ""
    if not isinstance(value, str):
        raise SpecError(place, _("%(field)s must be a string.") % {"field": _(field.label)})
    if len(value) > field.most_chars:
        limit, length = f"{field.most_chars:,}", f"{len(value):,}"
        sentence = _("%(field)s is too long: %(length)s characters, at most %(limit)s.")
        raise SpecError(place, sentence % {"field": _(field.label), "length": length, "limit": limit})
    if not is_writable(value):
        raise SpecError(place, _("%(field)s holds half a character (a surrogate without its partner).") % {"field": _(field.label)})
    return CONTROL.sub(" ", value)


def is_writable(text: str) -> bool:
    """JSON can hold half a character; no pipe and no database takes it."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


SWAP = "direction"  # the parameter that the swap button turns, for models that can both


def known_by(model: ModelVersion, setting: Setting) -> bool:
    """Whether the parameter does anything for a model of this shape, and in languages that it can turn around."""
    return (not setting.shapes or model.shape in setting.shapes) and (setting.name != SWAP or bool(model.known.get("both_ways")))


def checked_parameters(model: ModelVersion, parameters: Any) -> dict[str, Any]:
    """Every parameter of the model's task, those that were given within their bounds and with an effect. Raises SpecError with the
    field and the reason."""
    task = TASKS[model.task]
    if not isinstance(parameters, dict) or any(len(str(name)) > LONGEST_NAME or not is_writable(str(name)) for name in parameters):
        raise SpecError("parameters", _("Parameters are names with a number or a short text each."))
    try:
        task.check_effects(parameters, model.shape)
        found = task.read_parameters(parameters)
        if found.get(SWAP, "forward") != "forward" and not model.known.get("both_ways"):
            raise SpecError(SWAP, _("This model was trained in one direction only, so it cannot translate back. Leave this out."))
        return found
    except SpecError as refusal:
        raise SpecError(f"parameters.{refusal.field}", str(refusal)) from None
