"""What workers do: one Celery task that rings, and the verbs of short work by name. Thin; no torch in this process."""

from __future__ import annotations

import logging
import time
from importlib import import_module
from typing import Any

from django.db.models import Q
from django.utils.translation import gettext as _

from webapp import queue
from webapp.catalog.fetching import tidy
from webapp.datasets.reading import ReadingError
from webapp.datasets.reading.limited import Unwanted
from webapp.home.purge import purge
from webapp.runs.models import Run
from webapp.work.agent import Agent
from webapp.work.models import Claimable, Hopeless, Worker, WorkItem
from worker import machine
from worker.supervisor import Spares, attend

log = logging.getLogger(__name__)

KINDS = {  # imported when first called
    "read_files": "webapp.datasets.work.read_files",
    "publish_version": "webapp.datasets.work.publish_version",
    "baselines": "webapp.datasets.work.baselines",
    "fetch_model": "webapp.catalog.fetching.fetch_model",
    "keep_checkpoint": "worker.keeping.keep_checkpoint",
}

MOST_READINGS = 4  # side by side, if there is so much memory for each
MEMORY_OF_A_READING = 3 * 1024**3
DOWNLOADS = 2  # side by side
PURGE_S = 6 * 3600.0
purged_at = -PURGE_S  # a clock

agent: Agent | None = None  # of this process, once it works
spares = Spares()


@queue.app.task(name=queue.RING)  # type: ignore[untyped-decorator]
def ring() -> None:
    if agent:
        agent.look()


def make_agent(queues: list[str]) -> Agent:
    """The agent of a worker that listens to these queues."""
    trains = bool({queue.TRAIN_CPU, queue.TRAIN_GPU} & set(queues))
    worker = Worker.register("train" if trains else "data", queues, machine.device())
    kinds: list[type[Claimable]] = [*([Run] if trains else []), *([WorkItem] if queue.DATA in queues else [])]
    return Agent(worker, kinds, do, rest if trains else look_around, [Q()] if trains else lanes())


def lanes() -> list[Q]:
    """What a data worker does side by side: slow files beside the others, and downloads apart from both."""
    readings = max(2, min(MOST_READINGS, machine.memory() // MEMORY_OF_A_READING))
    return [~Q(kind="fetch_model")] * readings + [Q(kind="fetch_model")] * DOWNLOADS


def look_around() -> None:
    """What a data worker does while nothing waits."""
    global purged_at
    tidy()
    if time.monotonic() >= purged_at + PURGE_S:
        purged_at = time.monotonic()
        purge()


def rest() -> None:
    """What a training worker does while no run waits."""
    spares.warm()
    Run.clear_ended()


def do(thing: Run | WorkItem) -> None:
    if isinstance(thing, Run):
        assert agent is not None
        attend(thing, spares, agent.leaving)
    else:
        do_item(thing)


def do_item(item: WorkItem) -> None:
    """Call its verb and enter how it went."""
    try:
        verb(item.kind)(item)
    except Unwanted:
        item.fail(_("It was deleted before this was done."), "unwanted")
    except (ReadingError, Hopeless) as error:  # people can mend it, we cannot
        item.fail(str(error))
    except Exception:
        log.exception("%s failed", item)
        item.try_again(_("This failed for a reason of ours; it stands in the worker's log. It is tried three times."))
    else:
        item.succeed()


def verb(kind: str) -> Any:
    module, name = KINDS[kind].rsplit(".", 1)
    return getattr(import_module(module), name)
