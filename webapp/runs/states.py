"""The state machine of a run, as pure functions: a snapshot goes in, a change comes out, or None when nothing may happen.

`Run.move` applies a change as one compare-and-swap in SQL; the simulation in tests/runs applies it to a dictionary.
The numbers T1 to T14 are those of the design's table of transitions.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from worker.spec import Exit, Wish
from worker.spec import gettext_noop as _

QUEUED, STARTING, RUNNING, FINALIZING = "queued", "starting", "running", "finalizing"
RETRY_WAIT, PAUSED, STOPPING = "retry_wait", "paused", "stopping"
SUCCEEDED, FAILED, CANCELLED = "succeeded", "failed", "cancelled"

LEASED = frozenset({STARTING, RUNNING, FINALIZING, STOPPING})  # somebody holds it
WAITING = frozenset({QUEUED, RETRY_WAIT})  # somebody may take it
TERMINAL = frozenset({SUCCEEDED, FAILED, CANCELLED})

MOST_FRUITLESS = 3  # attempts in a row that committed no checkpoint
MOST_ATTEMPTS = 20
MOST_REPLANS = 4  # halvings of the batch when memory runs out
LONGEST_DELAY_S = 600.0
DISK_DELAY_S = 120.0
START_LIMIT_S = 900.0  # from the start of the process to its "ready"
LEAST_STALL_S = 600.0  # no step for so long, or for 20 typical steps, means it hangs

NO_MEMORY = ("memory allocation of ", "std::bad_alloc", "Cannot allocate memory", "can't allocate memory")

STRENGTH: Mapping[str, int] = {Wish.RUN: 0, Wish.PAUSE: 1, Wish.FINISH: 2, Wish.CANCEL: 3}


@dataclass(frozen=True)
class Row:
    """What of a run decides."""

    state: str = QUEUED
    desired: str = Wish.RUN
    fence: int = 0
    attempts_total: int = 0
    attempts_fruitless: int = 0
    oom_replans: int = 0


@dataclass(frozen=True)
class Change:
    """The next state and what else changes with it. `delay_s` is when it may be claimed; an `outcome` closes the attempt."""

    state: str
    fields: Mapping[str, Any] = field(default_factory=dict)
    delay_s: float = 0.0
    outcome: str = ""


@dataclass(frozen=True)
class Ending:
    """How a trainer process ended, in the words of T9."""

    kind: str  # stopped | user_data | out_of_memory | disk_full | unsafe_model | damaged | crash | stalled | start_timeout | lost
    text: str = ""  # for people: the cause
    remedy: str = ""
    progressed: bool = False  # a checkpoint was committed in this attempt
    is_final: bool = False  # another attempt would end the same

    @property
    def reason(self) -> str:
        """One sentence a line, so that `Run.why` can translate each."""
        return "\n".join(part for part in (self.text, self.remedy) if part)


def held(row: Row, fence: int) -> bool:
    """Whether whoever holds `fence` may still write."""
    return row.fence == fence and row.state in LEASED


def claim(row: Row) -> Change | None:
    """T3: a worker takes it; the fence rises, so all earlier holders are shut out."""
    if row.state not in WAITING or row.desired not in (Wish.RUN, Wish.FINISH):
        return None
    return Change(STARTING, {"fence": row.fence + 1, "attempts_total": row.attempts_total + 1})


def ready(row: Row, fence: int) -> Change | None:
    """T4: the trainer has loaded everything and begins. One that was told to leave meanwhile goes on stopping."""
    if not held(row, fence):
        return None
    return Change(RUNNING if row.state == STARTING else row.state, {"reason_code": "", "reason": ""})


def stop(row: Row, fence: int) -> Change | None:
    """T11, T12: the supervisor has told the trainer to leave."""
    return Change(STOPPING) if held(row, fence) and row.state != STOPPING else None


def saved(row: Row, fence: int) -> Change | None:
    """T7: a checkpoint was committed, so this attempt was not in vain."""
    return Change(row.state, {"attempts_fruitless": 0}) if held(row, fence) else None


def finalize(row: Row, fence: int) -> Change | None:
    """T8, first half: the trainer is done, its result is being entered."""
    return Change(FINALIZING) if held(row, fence) else None


def succeed(row: Row, fence: int) -> Change | None:
    """T8, second half. A wish that came too late does not undo a finished run."""
    if not held(row, fence):
        return None
    return Change(SUCCEEDED, {"reason_code": "", "reason": "", "desired": Wish.RUN}, outcome="succeeded")


def end(row: Row, fence: int, ending: Ending, base_delay_s: float = 10.0) -> Change | None:
    """T9, T10, T13: the attempt is over without a result."""
    if not held(row, fence):
        return None
    why = {"reason_code": ending.kind, "reason": ending.reason}
    if row.desired == Wish.CANCEL:
        return Change(CANCELLED, {"reason_code": "cancelled", "reason": ""}, outcome="cancelled")
    if ending.kind in ("user_data", "unsafe_model"):
        return Change(FAILED, why, outcome=ending.kind)
    if row.desired == Wish.PAUSE:
        return Change(PAUSED, {"reason_code": "paused", "reason": ""}, outcome="paused")
    if ending.kind == "stopped":  # drained: the worker leaves, the run does not
        return Change(QUEUED, {"attempts_total": row.attempts_total - 1}, outcome="drained")
    if ending.kind == "disk_full":  # not counted: it lasts until somebody makes room
        return Change(RETRY_WAIT, {**why, "attempts_total": row.attempts_total - 1}, delay_s=DISK_DELAY_S, outcome="disk_full")
    if (
        ending.kind == "damaged" and row.attempts_total < MOST_ATTEMPTS
    ):  # nothing was tried; each time there is one checkpoint less to go on from
        return Change(RETRY_WAIT, why, outcome="damaged")
    if ending.kind == "out_of_memory":
        if ending.is_final or row.oom_replans >= MOST_REPLANS:
            return Change(FAILED, why, outcome="out_of_memory")
        return Change(RETRY_WAIT, {**why, "oom_replans": row.oom_replans + 1}, outcome="out_of_memory")
    return _after_crash(row, ending, base_delay_s)


def _after_crash(row: Row, ending: Ending, base_delay_s: float) -> Change:
    fruitless = row.attempts_fruitless + (not ending.progressed)
    counted = {"attempts_fruitless": fruitless, "reason_code": ending.kind, "reason": ending.reason}
    if fruitless >= MOST_FRUITLESS or row.attempts_total >= MOST_ATTEMPTS:
        gave_up = "\n".join((_("Gave up after several attempts."), ending.reason)).strip()
        return Change(FAILED, {**counted, "reason_code": "crash_loop", "reason": gave_up}, outcome=ending.kind)
    delay_s = min(base_delay_s * 2 ** max(fruitless - 1, 0), LONGEST_DELAY_S)
    return Change(RETRY_WAIT, counted, delay_s=delay_s, outcome=ending.kind)


def lost(row: Row, fence: int, progressed: bool, base_delay_s: float = 10.0) -> Change | None:
    """T10: nobody renewed the lease. The fence stays; leaving the leased states already shuts the dead holder out."""
    goes_on, anew = _("The worker was lost; the run resumes from its last checkpoint."), _("The worker was lost; the run starts again.")
    return end(row, fence, Ending("lost", goes_on if progressed else anew, progressed=progressed), base_delay_s)


def want(row: Row, wish: str) -> Change | None:
    """T11, T12: somebody asks for pause, finish or cancel. A stronger wish replaces a weaker one, never the reverse."""
    if row.state in TERMINAL or STRENGTH[wish] <= STRENGTH[row.desired]:
        return None
    if row.state in LEASED:
        return None if row.state == FINALIZING and wish != Wish.CANCEL else Change(row.state, {"desired": wish})
    if wish == Wish.CANCEL:
        return Change(CANCELLED, {"desired": wish, "reason_code": "cancelled", "reason": ""})
    if wish == Wish.PAUSE:
        return Change(PAUSED, {"desired": wish, "reason_code": "paused", "reason": ""}) if row.state in WAITING else None
    return Change(QUEUED, {"desired": wish}) if row.attempts_total else None  # nothing to keep before the first attempt


def resume(row: Row) -> Change | None:
    """T12, back: a paused run queues again."""
    return Change(QUEUED, {"desired": Wish.RUN, "reason_code": "", "reason": ""}) if row.state == PAUSED else None


def ending_of(status: int, stderr_tail: str = "", text: str = "", remedy: str = "", progressed: bool = False) -> Ending:
    """What an exit status means. `text` and `remedy` are the trainer's own words, if it had any left."""
    kinds = {
        Exit.STOPPED: "stopped",
        Exit.USER_DATA: "user_data",
        Exit.OUT_OF_MEMORY: "out_of_memory",
        Exit.DISK_FULL: "disk_full",
        Exit.UNSAFE_MODEL: "unsafe_model",
        Exit.DAMAGED: "damaged",
    }
    said = {
        "out_of_memory": (
            _("Ran out of memory."),
            _("Use smaller batches, shorter texts or a smaller base model, or give trainers more memory (TRAIN_MEMORY)."),
        ),
        "disk_full": (_("The disk is full."), _("Free some space; the run resumes by itself.")),
        "user_data": (_("These rows or settings cannot be used for training."), _("See the log below.")),
        "damaged": (_("The last checkpoint was damaged."), _("The run resumes from the previous one.")),
        "unsafe_model": (_("The base model is not safe to load."), _("Choose one with safetensors weights and no code of its own.")),
    }
    kind = kinds.get(Exit(status), "crash") if status in {int(e) for e in Exit} else "crash"
    if kind == "crash" and any(word in stderr_tail for word in NO_MEMORY):  # of a library that does not ask twice
        kind, text, remedy = "out_of_memory", "", ""
    if kind == "crash":
        last = stderr_tail.strip().splitlines()[-1][:300] if stderr_tail.strip() else ""
        how = f"was stopped by signal {-status}" if status < 0 else f"ended with status {status}"
        memory = _("The machine may have run out of memory: take a smaller batch.") if status == -9 else ""
        return Ending(kind, text or f"The trainer {how}.{f' {last}' if last else ''}", remedy or memory, progressed)
    cause, mend = said.get(kind, ("", ""))
    return Ending(kind, text or cause, remedy or mend, progressed)
