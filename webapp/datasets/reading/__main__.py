"""The child of limited.py: one job in, JSON lines out, with as little power as it can do with."""

from __future__ import annotations

import ctypes
import importlib
import json
import os
import resource
import signal
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any, TextIO

from webapp.datasets.reading import Limits, ReadingError


def cap(limits: Limits) -> None:
    """Mapped files count into AS but not into DATA, so that a large file may be mapped and a bomb may not be unfolded."""
    for what, most in (
        (resource.RLIMIT_DATA, limits.memory),
        (resource.RLIMIT_AS, limits.memory + 4 * limits.plain),
        (resource.RLIMIT_CPU, limits.cpu_s),
        (resource.RLIMIT_FSIZE, limits.file),
        (resource.RLIMIT_CORE, 0),
    ):
        hard = resource.getrlimit(what)[1]
        most = most if hard == resource.RLIM_INFINITY else min(most, hard)
        resource.setrlimit(what, (most, most))


def die_with_parent() -> None:
    """A reading whose worker was killed is read by nobody."""
    ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG


class Teller:
    """Writes messages to the parent; progress at most five times a second."""

    def __init__(self, out: TextIO, silent_cpu_s: float) -> None:
        self.out, self.last, self.silent_cpu_s = out, 0.0, silent_cpu_s
        self.is_alive()

    def is_alive(self) -> None:
        """From here on it may compute for so long; then the kernel ends it (SIGPROF), whatever library it is in."""
        signal.setitimer(signal.ITIMER_PROF, self.silent_cpu_s)

    def say(self, **message: Any) -> None:
        self.out.write(json.dumps(message) + "\n")  # escapes to ASCII: lone surrogates cannot break the pipe
        self.out.flush()

    def progress(self, what: str, done: int, total: int) -> None:
        self.is_alive()
        if time.monotonic() - self.last > 0.2:
            self.last = time.monotonic()
            self.say(kind="progress", what=what, done=done, total=total)


def verb(name: str) -> Callable[..., dict[str, Any]]:
    module = importlib.import_module(f"webapp.datasets.reading.{name}")
    function: Callable[..., dict[str, Any]] = getattr(module, name)
    return function


def main() -> None:
    die_with_parent()
    job = json.load(sys.stdin)
    limits = replace(Limits(), **job.get("limits") or {})
    teller = Teller(os.fdopen(os.dup(1), "w"), limits.silent_cpu_s)
    os.dup2(2, 1)  # what libraries print is no message
    cap(limits)
    try:
        teller.say(kind="result", result=verb(job["verb"])(job, limits, teller.progress))
    except ReadingError as error:
        teller.say(kind="error", error=error.to_json())
    except MemoryError:
        from webapp.datasets.reading.limited import out_of_memory

        teller.say(kind="error", error=out_of_memory(limits).to_json())


main()
