"""The cache is Redis; while that is away or frozen, each process makes do with its own memory, so that people still come in.

The limits on guessing passwords stand in it: in memory they hold for each process instead of for all.
"""

from __future__ import annotations

import logging
import time
from typing import Any

from django.core.cache.backends.locmem import LocMemCache
from django.core.cache.backends.redis import RedisCache
from redis.backoff import NoBackoff
from redis.exceptions import RedisError
from redis.retry import Retry

log = logging.getLogger(__name__)

PATIENCE_S = 0.5  # for one answer of Redis
AWAY_S = 5.0  # so long nobody asks it again


class Cache(RedisCache):
    asked_again_at = 0.0  # of all instances: there is one for each thread

    def __init__(self, server: str, params: dict[str, Any]) -> None:
        patience = {"socket_timeout": PATIENCE_S, "socket_connect_timeout": PATIENCE_S, "retry": Retry(NoBackoff(), 0)}
        super().__init__(server, params | {"OPTIONS": patience})
        self.memory = LocMemCache("while Redis is away", params)

    def _do(self, act: str, *args: Any, **more: Any) -> Any:
        if time.monotonic() >= Cache.asked_again_at:
            try:
                return getattr(RedisCache, act)(self, *args, **more)
            except (RedisError, OSError) as error:
                Cache.asked_again_at = time.monotonic() + AWAY_S
                log.warning("Redis is away (%s); the cache is in memory for now", error)
        return getattr(self.memory, act)(*args, **more)


def sheltered(act: str) -> Any:
    def method(self: Cache, *args: Any, **more: Any) -> Any:
        return self._do(act, *args, **more)

    return method


for act in ("add", "get", "set", "touch", "delete", "get_many", "set_many", "delete_many", "has_key", "incr", "clear"):
    setattr(Cache, act, sheltered(act))
