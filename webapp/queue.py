"""The Celery instance, the queues, and the ring. A message carries nothing but "look": SQL says what there is to do."""

import logging
import os
from typing import Any

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "webapp.settings")

from celery import Celery
from django.conf import settings
from django.db import transaction

log = logging.getLogger(__name__)

DATA = "data"
TRAIN_CPU = "train.cpu"
TRAIN_GPU = "train.gpu"
RINGING = {"socket_timeout": 0.5, "socket_connect_timeout": 0.5, "max_retries": 0}  # a page must not hang on a frozen broker
RING = "worker.ring"  # the one task name; worker/tasks.py answers to it


def make_app() -> Celery:
    app = Celery("tunebench")
    socket = settings.REDIS_URL.startswith("unix://")
    url = settings.REDIS_URL.replace("unix://", "redis+socket://", 1) if socket else settings.REDIS_URL
    transport: dict[str, Any] = {
        "visibility_timeout": 3600,
        "socket_timeout": 30,
        "health_check_interval": 25,
        "retry_on_timeout": True,
        "global_keyprefix": "tunebench:",
    }
    if not socket:
        transport |= {"socket_keepalive": True, "socket_connect_timeout": 4}  # a page rings, and must not wait for a dead host
    app.conf.update(
        broker_url=url,
        broker_transport_options=transport,
        broker_connection_retry_on_startup=True,
        broker_connection_max_retries=None,
        task_serializer="json",
        accept_content=["json"],
        result_accept_content=["json"],
        task_ignore_result=True,
        task_acks_late=False,
        task_reject_on_worker_lost=False,
        worker_prefetch_multiplier=1,
        worker_disable_prefetch=True,
        worker_enable_remote_control=False,
        worker_hijack_root_logger=False,
        worker_pool="solo",
    )
    return app


app = make_app()


def ring(*queues: str) -> None:
    """Tell whoever listens on `queues` to look. Never raises: a lost ring costs a poll interval, nothing else."""
    for queue in queues:
        try:
            with app.connection_for_write(transport_options=RINGING) as connection:
                app.send_task(RING, queue=queue, expires=60, retry=False, connection=connection)
        except Exception as error:  # the broker may be away; the agents poll
            log.warning("could not ring %s: %s", queue, error)
            return  # the others would only be waited for as well


def ring_on_commit(*queues: str) -> None:
    transaction.on_commit(lambda: ring(*queues))
