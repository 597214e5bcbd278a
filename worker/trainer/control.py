"""What the outside wants of this process, and how it notices that nobody wants anything any more."""

from __future__ import annotations

import ctypes
import json
import os
import signal
import stat
import sys
import threading
import time
from typing import IO, Any

from worker.spec import Exit, Wish

PR_SET_PDEATHSIG = 1


class LeaseOver(Exception):
    """Nobody renewed the lease: another attempt may be running. Leave, write nothing."""


class Control:
    """Wishes and lease. This one wants nothing but to run for ever; a test may set `wanted`."""

    def __init__(self) -> None:
        self.wanted = Wish.RUN

    def wish(self) -> Wish:
        """What is wanted now; asked between two steps. Raises LeaseOver."""
        self.still_mine()
        return self.wanted

    def still_mine(self) -> None:
        """Raises LeaseOver when the lease has run out. Asked before each step and before a rename makes files count."""


class Supervised(Control):
    """Reads {"wish"} and {"renew"} lines from the supervisor; the end of input ends this process at once."""

    def __init__(self, lease_s: float) -> None:
        super().__init__()
        self.until = time.clock_gettime(time.CLOCK_BOOTTIME) + lease_s

    def listen(self, lines: IO[str]) -> None:
        threading.Thread(target=self._read, args=(lines,), daemon=True, name="wishes").start()
        signal.signal(signal.SIGTERM, lambda *_: setattr(self, "wanted", Wish.PAUSE))

    def _read(self, lines: IO[str]) -> None:
        for line in lines:
            try:
                said: dict[str, Any] = json.loads(line)
                if "renew" in said:
                    self.until = time.clock_gettime(time.CLOCK_BOOTTIME) + float(said["renew"])
                if "wish" in said:
                    self.wanted = Wish(said["wish"])
            except (ValueError, TypeError, AttributeError):
                print(f"not understood: {line[:200]!r}", file=sys.stderr)
        os._exit(Exit.STOPPED)

    def still_mine(self) -> None:
        if time.clock_gettime(time.CLOCK_BOOTTIME) > self.until:  # this clock also runs while the machine sleeps
            raise LeaseOver


def is_supervised() -> bool:
    """Whether standard input is a pipe: then somebody holds its other end. A person at a terminal renews nothing."""
    mode = os.fstat(0).st_mode
    return stat.S_ISFIFO(mode) or stat.S_ISSOCK(mode)


def die_with_parent() -> None:
    parent = os.getppid()
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:  # it died between the two calls
        os._exit(Exit.STOPPED)
