"""What every worker process does beside its work: it takes what waits, shows that it lives, and buries the dead."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from django.conf import settings
from django.db import close_old_connections, connection
from django.db.models import Q

from webapp.work.models import Claimable, Worker, WorkItem, sweep_workers

log = logging.getLogger(__name__)


class Agent:
    """A thread for each lane, and one more. Those claim and do, one thing at a time each of what its lane takes, when rung and
    every AGENT_POLL seconds anyway; this one beats, sweeps dead leases and keeps the leases of short work. None needs Redis, so a
    dead broker costs one poll."""

    def __init__(
        self,
        worker: Worker,
        kinds: Sequence[type[Claimable]],
        do: Callable[[Any], None],
        idle: Callable[[], None],
        lanes: Sequence[Q] = (Q(),),
    ) -> None:
        self.worker, self.kinds, self.do, self.idle = worker, kinds, do, idle
        self.bells = [threading.Event() for _lane in lanes]
        self.leaving = threading.Event()
        self.doing: dict[int, Claimable] = {}  # by lane
        self._threads = [threading.Thread(target=self._loop, args=loop, daemon=True, name=loop[0]) for loop in self._loops(lanes)]

    def _loops(self, lanes: Sequence[Q]) -> list[tuple[str, Callable[[], None], threading.Event, float]]:
        beat_s = min(settings.AGENT_POLL, settings.LEASE_RENEW)
        work = [(f"work {at}", partial(self.work, at, lane), self.bells[at], settings.AGENT_POLL) for at, lane in enumerate(lanes)]
        return [*work, ("agent", self.tend, self.leaving, beat_s)]

    def start(self) -> None:
        for thread in self._threads:
            thread.start()

    def look(self) -> None:
        """Somebody rang."""
        for bell in self.bells:
            bell.set()

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
            wake.clear() if wake is not self.leaving else None
        connection.close()

    def work(self, at: int = 0, lane: Q = Q()) -> None:
        """Claim and do until nothing is left."""
        while not self.leaving.is_set():
            found = next((thing for kind in self.kinds if (thing := kind.claim(self.worker, lane))), None)
            if found is None:
                return self.idle() if at == 0 else None
            self.doing[at] = found
            try:
                self.do(found)
            finally:
                del self.doing[at]
                self.look() if len(self.bells) > 1 else None  # the next of its team may go on now, in any lane

    def tend(self) -> None:
        """One round of the agent."""
        if not self.worker.beat():
            self.worker.save(force_insert=True)
        for doing in list(self.doing.values()):
            if isinstance(doing, WorkItem):  # a run's supervisor renews its own lease, while the trainer makes progress
                doing.renew()
        for kind in Claimable.__subclasses__():  # of every kind: below, the dead are struck off, and what they held with them
            if kind.sweep():  # type: ignore[type-abstract,attr-defined]
                self.look()
        sweep_workers()

    def leave(self, limit_s: float = 20.0) -> None:
        """Take nothing new, end in order what goes on, or put it back; then be gone."""
        self.worker.drain()
        self.leaving.set()
        self.look()
        deadline = time.monotonic() + limit_s
        for thread in self._threads:  # also the one that beats: it would enter the worker again
            if thread.is_alive():
                thread.join(max(deadline - time.monotonic(), 0))
        left = list(self.doing.values())
        for doing in left:
            if isinstance(doing, WorkItem):
                doing.put_back()
        if all(isinstance(doing, WorkItem) for doing in left):  # a trainer dies with us: only who finds this worker dead puts its run back
            self.worker.leave()
