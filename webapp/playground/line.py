"""The line in which questions wait for a serve worker: one Redis stream, read by a consumer group."""

from __future__ import annotations

import json
from functools import cache
from typing import Any
from uuid import UUID

import redis
from django.conf import settings

STREAM = "predict"
GROUP = "serve"
CANCELLED = "predict:cancelled"  # a stream that every relay reads: who holds the question lets it go
KEPT_WISHES = 1_000


@cache
def line() -> redis.Redis:
    """This process's connections to Redis."""
    return redis.Redis.from_url(settings.REDIS_URL, socket_timeout=5, socket_connect_timeout=5, decode_responses=True)


def waiting() -> int:
    """How many questions wait or are being answered: the relay takes an entry away when it is done."""
    return int(line().xlen(STREAM))


def join(prediction: UUID) -> None:
    line().xadd(STREAM, {"prediction": str(prediction)})


def cancel(prediction: UUID) -> None:
    line().xadd(CANCELLED, {"prediction": str(prediction)}, maxlen=KEPT_WISHES, approximate=True)


def said(stream: str) -> list[dict[str, Any]]:
    """The frames that `stream` still holds, oldest first."""
    entries: Any = line().xrange(stream)
    return [json.loads(fields["frame"]) for _id, fields in entries if "frame" in fields]
