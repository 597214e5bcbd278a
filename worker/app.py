"""The entry of the workers: `celery -A worker.app worker -P solo -Q data` (or train.cpu, train.gpu).

A message only rings: claiming and doing happen in the agent's own threads, so that a broker that is away, or a message
that is lost, doubled or late, changes nothing but the time of the next look.
"""

from __future__ import annotations

import os

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "webapp.settings")

import django

django.setup()

from typing import Any  # noqa: E402

from celery.signals import celeryd_after_setup, worker_shutdown, worker_shutting_down  # noqa: E402

from webapp.queue import app  # noqa: E402
from webapp.work.agent import Agent  # noqa: E402
from worker import tasks  # noqa: E402

__all__ = ["app"]


@celeryd_after_setup.connect  # type: ignore[untyped-decorator]
def begin(instance: Any, **kwargs: Any) -> None:
    """Before the first connection to the broker: work that waits in SQL does not need one."""
    tasks.agent = tasks.make_agent(list(instance.app.amqp.queues.consume_from))
    tasks.agent.start()


@worker_shutting_down.connect  # type: ignore[untyped-decorator]
def drain(**kwargs: Any) -> None:
    """SIGTERM: called inside a signal handler, so nothing but a flag."""
    if tasks.agent:
        tasks.agent.leaving.set()
        tasks.agent.look()


@worker_shutdown.connect  # type: ignore[untyped-decorator]
def end(**kwargs: Any) -> None:
    if isinstance(tasks.agent, Agent):
        tasks.agent.leave()
        tasks.spares.close()
