"""python -m worker.relay: stands between Redis and SQL on one side and the process that holds the models on the other.

Its threads: this one takes questions from the stream and looks after everything; one for each serving process hears what it
says and announces it at once; one writes outcomes to SQL, so that no announcement waits for the database.

A tokenizer or a forward pass that runs away cannot be ended from within. A second serving process, the spare, waits with
everything imported: while one model holds the first, it answers the questions of all other models, and when the first is
ended, it takes its place.
"""

# ruff: noqa: E402  (Django must be set up before its models are imported)
from __future__ import annotations

import logging
import math
import os
import queue
import signal
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import Any
from uuid import UUID, uuid4

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "webapp.settings")
import django

django.setup()

import redis
from django.conf import settings
from django.db import DatabaseError, connection
from django.utils.timezone import now
from django.utils.translation import gettext as _

from webapp.live import announce
from webapp.playground.line import CANCELLED, GROUP, STREAM
from webapp.playground.models import PATIENCE_S, Prediction
from webapp.work.models import Worker
from worker import machine
from worker.serving.process import Serving

log = logging.getLogger("worker.relay")
AT_ONCE = 64  # questions that a serving process may hold; the others wait in Redis, where another relay can take them
BLOCK_MS = 500  # the longest look at the stream, and so the longest wait for a signal to be heeded
RECLAIM_S = settings.AGENT_POLL / 2  # so often the entries of dead relays are looked for, and those of this one touched
IDLE_MS = int(1500 * settings.AGENT_POLL)  # an entry that nobody touched for so long belongs to a dead relay
STALL_S = 30.0  # a serving process that holds questions and says nothing for so long is stuck
LOST_S = 10.0  # a call that takes so long is waited for by those who asked its model, and by nobody else
PATIENCE_PER_LOAD = 4.0  # a load may take so many times what was expected
SPARE_S = 120.0  # so long the models of a spare are kept warm when they are no longer needed: who held the others up once may do it again
STREAM_LIFE_S = 60


@dataclass
class Held:
    """A question in the hands of a serving process."""

    entry: str  # in the stream
    came: float  # a clock
    question: dict[str, Any]
    by: Serving | None = None
    is_begun: bool = False  # pieces of its answer were read: another process would begin anew

    @property
    def model(self) -> str:
        return str(self.question["model"])


class Relay:
    def __init__(self) -> None:
        self.redis = redis.Redis.from_url(settings.REDIS_URL, socket_timeout=10, socket_connect_timeout=5, decode_responses=True)
        self.name = f"{os.uname().nodename}:{os.getpid()}:{uuid4().hex[:8]}"  # of this consumer
        self.held: dict[str, Held] = {}  # by prediction
        self.outcomes: queue.Queue[tuple[str, str, dict[str, Any], float] | None] = queue.Queue()
        self.scribe = threading.Thread(target=self.write_down, daemon=True)
        self.serving: Serving | None = None
        self.spare: Serving | None = None  # waits, and answers for the others while a model holds up `serving`
        self.spare_needed_at = 0.0
        self.restart_at = 0.0
        self.back_off = 0.2
        self.heeded = "0"  # the last wish to cancel that was read
        self.is_stopping = False
        self.beat_at = self.reclaim_at = 0.0
        self.worker: Worker | None = None

    # --- the main thread ---
    def run(self) -> None:
        signal.signal(signal.SIGTERM, self.stop)
        signal.signal(signal.SIGINT, self.stop)
        self.scribe.start()
        while not self.is_stopping:
            self.guarded(self.tend)
            if self.room > 0:
                self.guarded(self.read)
            else:
                time.sleep(0.05)
        self.leave()

    def stop(self, *_: Any) -> None:
        self.is_stopping = True

    def guarded(self, act: Callable[[], None]) -> None:
        """Redis or the database may be away for a while: say so and go on."""
        try:
            act()
        except redis.ResponseError as error:
            if "NOGROUP" not in str(error):
                raise
            self.make_group()
        except (redis.RedisError, OSError) as error:
            log.warning("Redis is away (%s); trying again", error)
            self.pause()
        except DatabaseError as error:
            log.warning("the database is away (%s); trying again", error)
            connection.close()
            self.pause()

    def pause(self) -> None:
        if not self.is_stopping:
            time.sleep(1)

    def make_group(self) -> None:
        try:
            self.redis.xgroup_create(STREAM, GROUP, id="0", mkstream=True)
        except redis.ResponseError as error:
            if "BUSYGROUP" not in str(error):
                raise

    def tend(self) -> None:
        """Everything that has to be looked after between two looks at the stream."""
        self.look_after_serving()
        self.heed()
        clock = time.monotonic()
        if clock >= self.beat_at:
            self.beat_at = clock + settings.AGENT_POLL
            self.beat()
        if clock >= self.reclaim_at:
            self.reclaim_at = clock + RECLAIM_S
            self.reclaim()

    def beat(self) -> None:
        warm = sorted({folder for serving in self.children for folder in serving.warm})
        device = {"kind": settings.SERVE_DEVICE, "memory_mb": settings.SERVE_MEMORY // 1024**2, "warm": warm}
        if self.worker is None or not self.worker.beat(device=device):
            self.worker = Worker.register("serve", [STREAM], device)

    # --- the serving process, and its spare ---
    @property
    def children(self) -> list[Serving]:
        return [serving for serving in (self.serving, self.spare) if serving]

    def start(self) -> Serving:
        def hear(message: dict[str, Any]) -> None:
            self.hear(serving, message)

        serving = Serving(hear, settings.SERVE_MEMORY, settings.SERVE_DEVICE, settings.SERVE_ENGINE)
        return serving

    def answerer(self, model: str = "") -> Serving | None:
        """Who answers for `model` (empty: for one that holds up nobody): the spare, while the other is stuck in another model."""
        stuck_in = self.serving.stuck_in(settings.SERVE_PATIENCE) if self.serving else ""
        return self.spare if self.spare and stuck_in not in ("", model) else self.serving

    def of(self, serving: Serving) -> dict[str, Held]:
        """The questions that it holds."""
        return {name: held for name, held in list(self.held.items()) if held.by is serving}

    @property
    def room(self) -> int:
        """How many more questions may be taken. Those of a model that is stuck take away no place where a spare answers the others."""
        serving = self.answerer()
        return AT_ONCE - len(self.of(serving)) if serving else 0

    def look_after_serving(self) -> None:
        for serving in self.children:
            self.look_after(serving)
        if self.serving:
            self.relieve(self.serving)
        elif time.monotonic() >= self.restart_at:
            self.serving = self.start()

    def look_after(self, serving: Serving) -> None:
        clock = time.monotonic()
        if clock > serving.patient_until:
            log.error("the serving process says nothing; it is ended")
            serving.kill()
            self.bury(
                serving,
                _("The model took far too long over this and was stopped. Ask again with a shorter text."),
                _("A question to another model took far too long, and the process that answers was ended. Ask again."),
            )
        elif serving.is_gone:
            serving.thread.join(5)  # hear its last words first
            log.error("the serving process ended with status %s", serving.process.returncode)
            self.back_off = 0.2 if clock - serving.began > 60 else min(2 * self.back_off, 30.0)
            self.restart_at = clock + self.back_off
            reason = _(
                "The process that holds the models stopped, perhaps for want of memory. It starts again; ask once more in a few seconds."
            )
            self.bury(serving, reason, reason)
        elif not self.of(serving) and not serving.computing[0]:
            serving.be_idle()

    def relieve(self, serving: Serving) -> None:
        """See that a spare waits. While one model holds up `serving`, it takes over the questions of the others."""
        clock, stuck_in = time.monotonic(), serving.stuck_in(settings.SERVE_PATIENCE)
        if not self.spare:
            if (
                serving.is_ready
                and (stuck_in or not serving.computing[0])
                and clock >= self.restart_at
                and machine.has_memory_for_a_spare()
            ):
                self.spare = self.start()
        elif stuck_in:
            self.spare_needed_at = clock
            others = {name: held for name, held in self.of(serving).items() if held.model != stuck_in and not held.is_begun}
            if others:
                log.warning("%s holds up the other models; the spare answers for them", stuck_in)
            for name, held in others.items():
                serving.tell({"cancel": name})
                self.give(held, self.spare)
            if not self.of(serving) and serving.stuck_in(LOST_S):  # nobody waits for what it computes
                serving.kill()
                self.bury(serving)
        elif self.spare.warm and clock - self.spare_needed_at > SPARE_S and not self.of(self.spare):
            self.spare.kill()  # the next one holds no models
            self.spare = None

    def bury(self, serving: Serving, reason: str = "", to_others: str = "") -> None:
        """Nothing of what the dead process held will be answered: say so. The spare takes its place, or another one is started.
        `to_others` is said to those who had asked another model than the one in which it was."""
        for name, held in self.of(serving).items():
            self.settle(name, {"type": "failed", "reason": reason if serving.computing[0] in ("", held.model) else to_others})
        if serving is self.serving:
            self.serving = self.spare
        self.spare = None

    def heed(self) -> None:
        """Let go of what nobody waits for any more."""
        found: Any = self.redis.xread({CANCELLED: self.heeded}, count=1000)
        for _stream, entries in found or []:
            for entry, fields in entries:
                self.heeded = entry
                if held := self.held.get(name := fields.get("prediction", "")):
                    self.settle(name, {"type": "failed", "reason": _("Stopped before the answer came.")})
                    if held.by:
                        held.by.tell({"cancel": name})

    def read(self) -> None:
        found: Any = self.redis.xreadgroup(GROUP, self.name, {STREAM: ">"}, count=max(1, self.room), block=BLOCK_MS)
        for _stream, entries in found or []:
            self.take(entries)

    def reclaim(self) -> None:
        """Take over what a dead relay left, and touch what this one holds so that nobody takes it."""
        entries: list[Any] = [held.entry for held in list(self.held.values())]
        if entries:
            self.redis.xclaim(STREAM, GROUP, self.name, 0, entries, justid=True)
        if (room := self.room) > 0:
            claimed: Any = self.redis.xautoclaim(STREAM, GROUP, self.name, IDLE_MS, count=room)
            self.take([(entry, fields) for entry, fields in claimed[1] if entry])  # Redis 6 gives nothing for deleted entries

    def take(self, entries: list[tuple[str, dict[str, str]]]) -> None:
        """Hand the questions of `entries` to the serving process."""
        names = {fields.get("prediction", entry): entry for entry, fields in entries if fields}
        known = [name for name in names if is_uuid(name)]
        rows = Prediction.objects.filter(pk__in=known).select_related("model__parent") if known else []
        asked = {str(row.pk): row for row in rows}
        for name, entry in names.items():
            prediction = asked.get(name)
            if prediction is None or prediction.state != Prediction.State.QUEUED:
                self.forget(entry)
            elif name not in self.held:
                self.hand_over(entry, prediction)

    def hand_over(self, entry: str, prediction: Prediction) -> None:
        name = str(prediction.pk)
        held = self.held[name] = Held(entry, time.monotonic(), prediction.question())
        serving = self.answerer(held.model)
        if now() - prediction.created_at > timedelta(seconds=PATIENCE_S):
            self.settle(name, {"type": "failed", "reason": _("No answer came in time. Try again.")})
        elif serving and serving.stuck_in(LOST_S) and len(self.of(serving)) >= AT_ONCE:  # those of a stuck model must not fill the line
            reason = _("The model is busy with a question that takes far too long. Ask again in a minute.")
            self.settle(name, {"type": "failed", "reason": reason})
        elif serving:
            self.give(held, serving)

    def give(self, held: Held, serving: Serving) -> None:
        held.by = serving
        if serving.patient_until == math.inf:  # who is asked more and more while it is stuck wins no time by that
            serving.be_patient(STALL_S)
        serving.tell(held.question)

    def leave(self) -> None:
        """Finish what is held, end the child, say goodbye. What is not finished goes to the next relay."""
        deadline = time.monotonic() + 8
        while any(self.of(serving) and not serving.is_gone for serving in self.children) and time.monotonic() < deadline:
            time.sleep(0.02)
        for serving in self.children:
            serving.end(3.0 if serving.warm else 0.0)  # the spare may still be importing
        self.outcomes.put(None)
        self.scribe.join(5)
        if self.worker:
            self.guarded(self.worker.leave)
        self.guarded(self.sign_off)

    def sign_off(self) -> None:
        if not self.held:  # what a consumer holds would go with it
            self.redis.xgroup_delconsumer(STREAM, GROUP, self.name)

    # --- the thread that hears ---
    def hear(self, serving: Serving, message: dict[str, Any]) -> None:
        """One message of a serving process."""
        identifier, kind = message.get("id", ""), message["type"]
        if kind == "warm":
            serving.warm, self.beat_at = message["folders"], 0.0  # told at the next beat, which is now
            return
        if kind in ("busy", "answer", "piece"):  # it goes on
            serving.computing = (message.get("model", serving.computing[0]), time.monotonic())
        if kind != "loading" or not serving.stuck_in(LOST_S):
            serving.be_patient(STALL_S + PATIENCE_PER_LOAD * message.get("expected_s", 0))
        held = self.held.get(identifier)
        if held is None or held.by is not serving:  # nobody waits for it, or another process was asked meanwhile
            return
        if kind in ("answer", "failed"):
            self.settle(identifier, message)
        elif kind != "alive":
            held.is_begun = held.is_begun or kind == "piece"
            announce(f"prediction:{identifier}", {name: value for name, value in message.items() if name != "id"}, STREAM_LIFE_S)

    def settle(self, identifier: str, message: dict[str, Any]) -> None:
        """Announce the outcome at once; the table learns it a moment later. SQL first would put its lock before the answer."""
        held = self.held.pop(identifier, None)
        if held is None:
            return
        latency_ms = round((time.monotonic() - held.came) * 1000, 1)
        if message["type"] == "answer":
            frame = {"type": "answer", "answer": message["answer"], "latency_ms": latency_ms, "engine": message.get("engine", "")}
        else:
            frame = {"type": "failed", "reason": message["reason"]}
        announce(f"prediction:{identifier}", frame, STREAM_LIFE_S)
        self.outcomes.put((identifier, held.entry, frame, latency_ms))

    # --- the thread that writes ---
    def write_down(self) -> None:
        while (outcome := self.outcomes.get()) is not None:
            identifier, entry, frame, latency_ms = outcome
            try:
                prediction = Prediction(pk=UUID(identifier))
                if frame["type"] == "answer":
                    prediction.finish(frame["answer"], latency_ms, frame["engine"])
                else:
                    prediction.fail(frame["reason"])
                self.forget(entry)
            except (DatabaseError, redis.RedisError, OSError) as error:
                log.warning("could not write down %s (%s); its entry stays and is taken up again", identifier, error)
                connection.close()

    def forget(self, entry: str) -> None:
        pipe = self.redis.pipeline()
        pipe.xack(STREAM, GROUP, entry)
        pipe.xdel(STREAM, entry)
        pipe.execute()


def is_uuid(text: str) -> bool:
    try:
        return bool(UUID(text))
    except ValueError:
        return False


def main() -> None:
    logging.basicConfig(stream=sys.stderr, level=logging.INFO, format="%(asctime)s relay %(message)s")
    Relay().run()


if __name__ == "__main__":
    main()
