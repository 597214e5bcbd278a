"""Attends one attempt: starts the trainer, writes down what it says under the fence, tells it what people want.

SQL first, then the announcement. A `Fenced` from any write means that somebody else owns the run now: the trainer is
killed and nothing more is written.
"""

from __future__ import annotations

import contextlib
import logging
import math
import shutil
import statistics
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from django.conf import settings
from django.db import InterfaceError, OperationalError, connection
from django.utils.timezone import now

from webapp.runs import cursor, states
from webapp.runs.models import Attempt, Fenced, Run
from webapp.runs.states import Ending
from worker import machine
from worker.nlp.recipe import MOST_PARTS
from worker.process import Spares, Trainer
from worker.spec import Exit, RunSpec, Wish
from worker.spec import gettext_noop as _

__all__ = ["Spares", "attend"]

log = logging.getLogger(__name__)

FRAME_S = 0.2  # points are gathered for so long: at most five writes a second
STATE_S = 1.0  # step, rate and remaining time are announced so often
WISH_S = 0.4  # wishes are asked for so often when no point comes
STOP_LIMIT_S = 12.0  # from the wish to SIGKILL, SIGTERM after half of it: a cancel is over within 15 s, whatever the trainer is doing
PAUSE_LIMIT_S = 90.0  # the same where a checkpoint is to be written first
DRAIN_LIMIT_S = 12.0  # the worker itself is about to be stopped
MERGE_EVERY = 5_000  # frames, about a quarter of an hour


def spec_of(run: Run) -> RunSpec:
    """What the trainer must know. An attempt that ran out of memory splits each batch once more."""
    last, chosen = run.last_checkpoint, dict(run.settings)
    if run.oom_replans:
        chosen["accumulation"] = min(int(chosen.get("accumulation", 1)) * 2**run.oom_replans, MOST_PARTS)
    return RunSpec(
        run=str(run.pk),
        fence=run.fence,
        task=run.task,
        method=run.method,
        base=str(run.base.path),
        base_name=run.base.name,
        data=str(run.version.path),
        data_sha256=run.version.hash,
        out=str(run.folder),
        settings=chosen,
        labels=tuple(label["name"] for label in run.version.labels),
        resume=last.path if last else "",
        resume_sha256=last.manifest_sha256 if last else "",
        threads=machine.trainer_threads(),
        lease_s=local_lease_s(),
    )


def local_lease_s() -> float:
    """The trainer and we give up before anybody else may take the run."""
    ttl_s: float = settings.LEASE_TTL
    return ttl_s - min(30.0, ttl_s / 4)


def boottime() -> float:
    return time.clock_gettime(time.CLOCK_BOOTTIME)  # goes on while the machine sleeps


def attend(run: Run, spares: Spares, leaving: threading.Event) -> None:
    """One attempt from its claim to its end. Raises nothing that the run is to blame for."""
    attempt = Attempt.objects.select_related("run__version__dataset", "run__base", "run__last_checkpoint").get(run=run, fence=run.fence)
    try:
        run.folder.mkdir(parents=True, exist_ok=True)
        run.clear_away()
        with spares.take(spec_of(attempt.run)) as trainer:
            Attendance(attempt, trainer, spares, leaving).follow()
    except Fenced:
        log.warning("run %s was taken from attempt %s", run.pk, attempt.fence)
    except (OperationalError, InterfaceError):
        log.exception("the database was away for too long; the lease of run %s runs out", run.pk)
        connection.close()
    except Exception as error:
        log.exception("run %s broke in its supervisor", run.pk)
        with contextlib.suppress(Fenced):
            attempt.end(Ending("crash", f"The supervisor stumbled: {type(error).__name__}.", _("Look into the worker's log.")))
    else:
        run.refresh_from_db()
        run.clear_away()


class Attendance:
    def __init__(self, attempt: Attempt, trainer: Trainer, spares: Spares, leaving: threading.Event) -> None:
        self.attempt, self.trainer, self.spares, self.leaving = attempt, trainer, spares, leaving
        self.points: list[dict[str, Any]] = []
        self.log: list[dict[str, Any]] = []
        self.unsent: tuple[list[dict[str, Any]], list[dict[str, Any]]] | None = None
        self.told: str = Wish.RUN
        self.told_at = 0.0
        self.termed = False
        self.is_ready = self.is_done = self.progressed = False
        self.failure: dict[str, Any] = {}
        self.verdict: Ending | None = None  # why we killed it
        self.started_at = self.heard_at = self.renewed_at = boottime()
        self.framed_at = self.stated_at = self.asked_at = self.progress_at = 0.0
        self.merged_seq = 0
        self.pace: deque[tuple[float, int]] = deque(maxlen=60)

    def follow(self) -> None:
        """Until it is done, or the trainer is gone, and all it said is written down."""
        self.attempt.started(self.trainer.pid)
        while not self.is_done and (message := self.trainer.next(timeout_s=FRAME_S / 2)) is not Trainer.GONE:
            if message:
                self.heard_at = boottime()
                self.insist(partial(getattr(self, f"on_{message.get('kind')}", self.on_unknown), message))
            if not self.is_done:
                self.insist(self.tend)
        if not self.is_done:
            self.insist(self.end)
        cursor.merge(self.attempt.run, self.attempt.fence)

    def insist(self, act: Callable[[], None]) -> None:
        """Do it, again and again while the database is away, until the lease is nearly over. The trainer goes on meanwhile."""
        while True:
            try:
                return act()
            except (OperationalError, InterfaceError):
                connection.close()
                if boottime() - self.renewed_at > local_lease_s():
                    raise
                log.warning("the database does not answer; run %s goes on without it", self.attempt.run_id)
                time.sleep(0.2)

    def tend(self) -> None:
        """What is due by the clock."""
        t = boottime()
        self.press(t)
        if machine.gpus() and self.trainer.memory > machine.trainer_memory(settings.TRAIN_MEMORY):  # without one it limits itself
            self.kill(states.ending_of(Exit.OUT_OF_MEMORY, progressed=self.progressed))
        if t - self.renewed_at >= settings.LEASE_RENEW:
            self.obey(self.attempt.renew())
            self.renewed_at, self.asked_at = t, t
            self.trainer.tell({"renew": local_lease_s()})
        if t - self.framed_at >= FRAME_S and self.is_ready:
            self.flush()
        if t - self.asked_at >= WISH_S:
            self.obey(self.attempt.wish())
            self.asked_at = t
        if t - self.stated_at >= STATE_S and self.is_ready:
            self.attempt.run.refresh_from_db()
            self.attempt.run.announce()
            self.stated_at = t

    # --- wishes ---

    def obey(self, wish: str) -> None:
        if self.leaving.is_set() and wish in (Wish.RUN, Wish.FINISH):
            wish = Wish.PAUSE
        if states.STRENGTH[wish] > states.STRENGTH[self.told]:
            self.trainer.tell({"wish": wish})
            self.told, self.told_at = wish, boottime()
            if not self.leaving.is_set():
                self.attempt.stopping()

    def press(self, t: float) -> None:
        """A trainer that does not go when told, or does not come forward at all, is made to."""
        if self.told in (Wish.CANCEL, Wish.PAUSE):
            limit_s = DRAIN_LIMIT_S if self.leaving.is_set() else STOP_LIMIT_S if self.told == Wish.CANCEL else PAUSE_LIMIT_S
            if t - self.told_at > limit_s:
                self.kill(Ending("stopped" if self.leaving.is_set() else "crash", _("The trainer did not stop when asked.")))
            elif t - self.told_at > limit_s / 2 and not self.termed:
                self.termed = True
                self.trainer.terminate()
        if not self.is_ready and t - max(self.started_at, self.heard_at) > states.START_LIMIT_S:
            self.kill(Ending("start_timeout", _("The trainer did not begin in time."), _("Look at the log; the run is tried again.")))
        if self.is_ready and t - self.heard_at > self.stall_limit_s():
            self.kill(Ending("stalled", _("The trainer made no progress for too long."), _("The run is tried again.")))

    def stall_limit_s(self) -> float:
        between = [b[0] - a[0] for a, b in zip(self.pace, list(self.pace)[1:], strict=False)]
        return max(states.LEAST_STALL_S, 20 * statistics.median(between) if between else 0)

    def kill(self, verdict: Ending) -> None:
        self.verdict = self.verdict or verdict
        self.trainer.kill()

    # --- what the trainer says ---

    def on_ready(self, message: dict[str, Any]) -> None:
        self.attempt.ready(int(message["steps"]), int(message.get("resumed_step") or 0))
        self.is_ready = True
        for note in message.get("notes", []):
            self.say("info", note)
        self.spares.warm()  # now, since its imports would have slowed this one's start

    def on_progress(self, message: dict[str, Any]) -> None:
        whole = message["done"] >= message["total"]
        if whole or boottime() - self.progress_at >= 0.5:
            self.progress_at = boottime()
            self.attempt.progress(str(message["what"]), int(message["done"]), int(message["total"]))

    def on_point(self, message: dict[str, Any]) -> None:
        point = {key: message[key] for key in ("step", "epoch", "time", "values")}
        point["values"] = {name: value for name, value in point["values"].items() if math.isfinite(value)}  # JSON knows no other
        self.points.append(point)
        if "loss" in message["values"]:
            self.pace.append((float(message["time"]), int(message["step"])))

    def on_log(self, message: dict[str, Any]) -> None:
        self.say(str(message.get("level", "info")), str(message.get("text", "")))

    def on_checkpoint(self, message: dict[str, Any]) -> None:
        self.flush()  # the points up to it first
        said = {key: message[key] for key in ("step", "path", "manifest_sha256", "bytes", "best", "metric")}
        for path in self.attempt.checkpoint(**said):
            if Path(path).is_relative_to(self.attempt.run.folder):
                shutil.rmtree(path, ignore_errors=True)
        self.progressed = True

    def on_done(self, message: dict[str, Any]) -> None:
        self.flush()
        self.attempt.finalize()
        said = {key: message[key] for key in ("step", "metrics", "evaluation", "bytes", "model_sha256")}
        self.attempt.succeed(**said)
        self.is_done = True

    def on_stopped(self, message: dict[str, Any]) -> None:
        self.say("info", f"Stopped at step {message['step']}.")

    def on_failed(self, message: dict[str, Any]) -> None:
        self.failure = message
        self.say("error", " ".join(str(message.get(key, "")) for key in ("text", "remedy")).strip())

    def on_spare(self, message: dict[str, Any]) -> None:
        """It had waited warm."""

    def on_unknown(self, message: dict[str, Any]) -> None:
        log.warning("the trainer said something unknown: %.200r", message)

    def say(self, level: str, text: str) -> None:
        self.log.append({"at": now().isoformat(timespec="seconds"), "level": level, "text": text[:2_000]})

    # --- writing down ---

    def flush(self) -> None:
        """Write what was gathered as one frame. A frame whose writing broke is written again as it was."""
        self.framed_at = boottime()
        if self.unsent is None:
            if not self.points and not self.log:
                return
            self.unsent = (self.points, self.log)
            self.points, self.log = [], []
        wish = self.attempt.record(*self.unsent, **self.rates())
        self.unsent = None
        self.asked_at = boottime()
        self.obey(wish)
        if self.attempt.seq - self.merged_seq >= MERGE_EVERY:
            cursor.merge(self.attempt.run, self.attempt.fence)
            self.merged_seq = self.attempt.seq

    def rates(self) -> dict[str, Any]:
        assert self.unsent is not None
        known = [point["values"]["tokens_per_s"] for point in self.unsent[0] if "tokens_per_s" in point["values"]]
        columns: dict[str, Any] = {"tokens_per_s": known[-1]} if known else {}
        if len(self.pace) > 1 and self.attempt.run.steps:
            (t0, step0), (t1, step1) = self.pace[0], self.pace[-1]
            if step1 > step0:
                columns["eta_s"] = max(self.attempt.run.steps - step1, 0) * (t1 - t0) / (step1 - step0)
        return columns

    def end(self) -> None:
        """The trainer is gone without a result."""
        status = self.trainer.status()
        said = {key: str(self.failure.get(key, "")) for key in ("text", "remedy")}
        ending = self.verdict or states.ending_of(status, self.trainer.last_words(), progressed=self.progressed, **said)
        if ending.kind == "crash" and self.trainer.kernel_took_it:
            ending = states.ending_of(Exit.OUT_OF_MEMORY, progressed=self.progressed)
        elif ending.kind == "out_of_memory" and not self.is_ready:  # smaller batches mend nothing of what comes before them
            ending = replace(states.ending_of(Exit.OUT_OF_MEMORY), is_final=True)
        if ending.kind == "stopped" and self.told == Wish.RUN and status == Exit.STOPPED:
            # it left on its own word, a lease that ran out or a signal from outside: nobody asked for that here
            ending = Ending("crash", _("The trainer left without being asked."), progressed=self.progressed)
        if ending.kind in ("crash", "stalled", "start_timeout") and (words := self.trainer.last_words()):
            self.say("error", words[-2_000:])
        self.flush()
        self.attempt.end(ending, status)
