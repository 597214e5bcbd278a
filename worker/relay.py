"""python -m worker.relay: stands between Redis and SQL on one side and the process that holds the models on the other.

Three threads: this one takes questions from the stream and looks after everything; one hears what the serving process
says and announces it at once; one writes outcomes to SQL, so that no announcement waits for the database.
"""

# ruff: noqa: E402  (Django must be set up before its models are imported)
from __future__ import annotations

import logging
import os
import queue
import signal
import sys
import threading
import time
from collections.abc import Callable
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
from worker.serving.process import Serving

log = logging.getLogger("worker.relay")
AT_ONCE = 64  # questions that the serving process may hold; the others wait in Redis, where another relay can take them
BLOCK_MS = 500  # the longest look at the stream, and so the longest wait for a signal to be heeded
RECLAIM_S = settings.AGENT_POLL / 2  # so often the entries of dead relays are looked for, and those of this one touched
IDLE_MS = int(1500 * settings.AGENT_POLL)  # an entry that nobody touched for so long belongs to a dead relay
STALL_S = 30.0  # a serving process that holds questions and says nothing for so long is stuck
PATIENCE_PER_LOAD = 4.0  # a load may take so many times what was expected
STREAM_LIFE_S = 60


class Relay:
    def __init__(self) -> None:
        self.redis = redis.Redis.from_url(settings.REDIS_URL, socket_timeout=10, socket_connect_timeout=5, decode_responses=True)
        self.name = f"{os.uname().nodename}:{os.getpid()}:{uuid4().hex[:8]}"  # of this consumer
        self.held: dict[str, tuple[str, float]] = {}  # prediction -> (entry in the stream, when it came)
        self.outcomes: queue.Queue[tuple[str, str, dict[str, Any], float] | None] = queue.Queue()
        self.scribe = threading.Thread(target=self.write_down, daemon=True)
        self.serving: Serving | None = None
        self.restart_at = 0.0
        self.back_off = 0.2
        self.heeded = "0"  # the last wish to cancel that was read
        self.is_stopping = False
        self.beat_at = self.reclaim_at = 0.0
        self.worker: Worker | None = None
        self.warm: list[str] = []  # folders of the models that the serving process holds

    # --- the main thread ---
    def run(self) -> None:
        signal.signal(signal.SIGTERM, self.stop)
        signal.signal(signal.SIGINT, self.stop)
        self.scribe.start()
        while not self.is_stopping:
            self.guarded(self.tend)
            if self.serving and len(self.held) < AT_ONCE:
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
        device = {"kind": settings.SERVE_DEVICE, "memory_mb": settings.SERVE_MEMORY // 1024**2, "warm": self.warm}
        if self.worker is None or not self.worker.beat(device=device):
            self.worker = Worker.register("serve", [STREAM], device)

    def look_after_serving(self) -> None:
        serving, clock = self.serving, time.monotonic()
        if serving is None:
            if clock >= self.restart_at:
                self.serving = Serving(self.hear, settings.SERVE_MEMORY, settings.SERVE_DEVICE, settings.SERVE_ENGINE)
            return
        if self.held and clock > serving.patient_until:
            log.error("the serving process says nothing; it is ended")
            serving.kill()
            self.bury(_("The model took far too long over this and was stopped. Ask again with a shorter text."))
        elif serving.is_gone:
            serving.thread.join(5)  # hear its last words first
            log.error("the serving process ended with status %s", serving.process.returncode)
            self.bury(
                _("The process that holds the models stopped, perhaps for want of memory. It starts again; ask once more in a few seconds.")
            )
        elif not self.held:
            serving.be_idle()

    def bury(self, reason: str) -> None:
        """Nothing of what the dead process held will be answered: say so, and start another one a little later."""
        assert self.serving is not None
        for identifier in list(self.held):
            self.settle(identifier, {"type": "failed", "reason": reason})
        self.back_off = 0.2 if time.monotonic() - self.serving.began > 60 else min(2 * self.back_off, 30.0)
        self.restart_at = time.monotonic() + self.back_off
        self.warm = []
        self.serving = None

    def heed(self) -> None:
        """Let go of what nobody waits for any more."""
        found: Any = self.redis.xread({CANCELLED: self.heeded}, count=1000)
        for _stream, entries in found or []:
            for entry, fields in entries:
                self.heeded = entry
                if (name := fields.get("prediction", "")) in self.held:
                    self.settle(name, {"type": "failed", "reason": _("Stopped before the answer came.")})
                    if self.serving:
                        self.serving.tell({"cancel": name})

    def read(self) -> None:
        room = AT_ONCE - len(self.held)
        found: Any = self.redis.xreadgroup(GROUP, self.name, {STREAM: ">"}, count=room, block=BLOCK_MS)
        for _stream, entries in found or []:
            self.take(entries)

    def reclaim(self) -> None:
        """Take over what a dead relay left, and touch what this one holds so that nobody takes it."""
        entries: list[Any] = [entry for entry, _came in list(self.held.values())]
        if entries:
            self.redis.xclaim(STREAM, GROUP, self.name, 0, entries, justid=True)
        if room := AT_ONCE - len(self.held):
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
        self.held[str(prediction.pk)] = (entry, time.monotonic())
        if now() - prediction.created_at > timedelta(seconds=PATIENCE_S):
            return self.settle(str(prediction.pk), {"type": "failed", "reason": _("No answer came in time. Try again.")})
        if self.serving:
            self.serving.be_patient(STALL_S)
            self.serving.tell(prediction.question())

    def leave(self) -> None:
        """Finish what is held, end the child, say goodbye. What is not finished goes to the next relay."""
        deadline = time.monotonic() + 8
        while self.held and self.serving and not self.serving.is_gone and time.monotonic() < deadline:
            time.sleep(0.02)
        if self.serving:
            self.serving.end(3.0)
        self.outcomes.put(None)
        self.scribe.join(5)
        if self.worker:
            self.guarded(self.worker.leave)
        self.guarded(self.sign_off)

    def sign_off(self) -> None:
        if not self.held:  # what a consumer holds would go with it
            self.redis.xgroup_delconsumer(STREAM, GROUP, self.name)

    # --- the thread that hears ---
    def hear(self, message: dict[str, Any]) -> None:
        """One message of the serving process."""
        identifier, kind = message.get("id", ""), message["type"]
        if kind == "warm":
            self.warm, self.beat_at = message["folders"], 0.0  # told at the next beat, which is now
            return
        if self.serving:
            self.serving.be_patient(STALL_S + PATIENCE_PER_LOAD * message.get("expected_s", 0))
        if kind in ("answer", "failed"):
            self.settle(identifier, message)
        elif kind != "alive":
            announce(f"prediction:{identifier}", {name: value for name, value in message.items() if name != "id"}, STREAM_LIFE_S)

    def settle(self, identifier: str, message: dict[str, Any]) -> None:
        """Announce the outcome at once; the table learns it a moment later. SQL first would put its lock before the answer."""
        entry, came = self.held.pop(identifier, ("", 0.0))
        if not entry:
            return
        latency_ms = round((time.monotonic() - came) * 1000, 1)
        if message["type"] == "answer":
            frame = {"type": "answer", "answer": message["answer"], "latency_ms": latency_ms, "engine": message.get("engine", "")}
        else:
            frame = {"type": "failed", "reason": message["reason"]}
        announce(f"prediction:{identifier}", frame, STREAM_LIFE_S)
        self.outcomes.put((identifier, entry, frame, latency_ms))

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
