"""What every worker process does beside its work: it takes what waits, shows that it lives, and buries the dead."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Sequence
from typing import Any

from django.conf import settings
from django.db import close_old_connections, connection

from webapp.work.models import Claimable, Worker, WorkItem, sweep_workers

log = logging.getLogger(__name__)


class Agent:
    """Two threads. One claims and does, one thing at a time, when rung and every AGENT_POLL seconds anyway; the other
    beats, sweeps dead leases and keeps the lease of short work. Neither needs Redis, so a dead broker costs one poll."""

    def __init__(self, worker: Worker, kinds: Sequence[type[Claimable]], do: Callable[[Any], None], idle: Callable[[], None]) -> None:
        self.worker, self.kinds, self.do, self.idle = worker, kinds, do, idle
        self.bell = threading.Event()
        self.leaving = threading.Event()
        self.doing: Claimable | None = None
        self._threads = [threading.Thread(target=self._loop, args=loop, daemon=True, name=loop[0]) for loop in self._loops()]

    def _loops(self) -> list[tuple[str, Callable[[], None], threading.Event, float]]:
        beat_s = min(settings.AGENT_POLL, settings.LEASE_RENEW)
        return [("work", self.work, self.bell, settings.AGENT_POLL), ("agent", self.tend, self.leaving, beat_s)]

    def start(self) -> None:
        for thread in self._threads:
            thread.start()

    def look(self) -> None:
        """Somebody rang."""
        self.bell.set()

    def _loop(self, name: str, act: Callable[[], None], wake: threading.Event, every_s: float) -> None:
        while not self.leaving.is_set():
            try:
                close_old_connections()
                act()
            except Exception:  # a loop that ends would leave a deaf worker; the cause stands in the log
                log.exception("the %s thread stumbled and goes on", name)
                connection.close()
                time.sleep(min(1.0, every_s))
            wake.wait(every_s)
            self.bell.clear() if wake is self.bell else None
        connection.close()

    def work(self) -> None:
        """Claim and do until nothing is left."""
        while not self.leaving.is_set():
            found = next((thing for kind in self.kinds if (thing := kind.claim(self.worker))), None)
            if found is None:
                return self.idle()
            self.doing = found
            try:
                self.do(found)
            finally:
                self.doing = None

    def tend(self) -> None:
        """One round of the agent."""
        if not self.worker.beat():
            self.worker.save(force_insert=True)
        doing = self.doing
        if isinstance(doing, WorkItem):  # a run's supervisor renews its own lease, while the trainer makes progress
            doing.renew()
        for kind in Claimable.__subclasses__():  # of every kind: below, the dead are struck off, and what they held with them
            if kind.sweep():  # type: ignore[type-abstract,attr-defined]
                self.bell.set()
        sweep_workers()

    def leave(self, limit_s: float = 20.0) -> None:
        """Take nothing new, end in order what goes on, or put it back; then be gone."""
        self.worker.drain()
        self.leaving.set()
        self.bell.set()
        deadline = time.monotonic() + limit_s
        for thread in self._threads:  # also the one that beats: it would enter the worker again
            if thread.is_alive():
                thread.join(max(deadline - time.monotonic(), 0))
        doing = self.doing
        if isinstance(doing, WorkItem):
            doing.put_back()
        elif doing is not None:  # its trainer dies with us: only who finds this worker dead puts the run back at once
            return
        self.worker.leave()
