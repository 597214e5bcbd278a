"""Live frames: one reader of Redis Streams per process, fanned out in memory to whoever watches.

SQL is the truth and a frame only the news of it, so nothing here raises for want of Redis: whoever watches also looks
into SQL from time to time.
"""

from __future__ import annotations

import asyncio
import json
import logging
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any
from uuid import uuid4
from weakref import WeakKeyDictionary

import redis
import redis.asyncio
from django.conf import settings
from redis.exceptions import RedisError

log = logging.getLogger(__name__)

KEPT_FRAMES = 1_000  # in a stream; who missed more reads SQL
STREAM_LIFE_S = 24 * 3600  # after the last frame
BLOCK_MS = 5_000
SOCKET_TIMEOUT_S = 20.0  # well above the blocking read, else idle readers are cut off
BUFFERED_FRAMES = 512  # for one slow watcher; the oldest go first and it finds them in SQL
BROKEN = (RedisError, OSError, asyncio.TimeoutError)

_client: redis.Redis | None = None


def _sync_client() -> redis.Redis:
    global _client
    if _client is None:
        _client = redis.Redis.from_url(settings.REDIS_URL, socket_timeout=2.0, socket_connect_timeout=1.0)
    return _client


def announce(stream: str, frame: dict[str, Any], life_s: int = STREAM_LIFE_S) -> None:
    """Tell whoever watches `stream`. Never raises: a lost frame costs a catch-up poll, nothing else."""
    try:
        pipe = _sync_client().pipeline(transaction=False)
        pipe.xadd(stream, {"frame": json.dumps(frame, ensure_ascii=False)}, maxlen=KEPT_FRAMES, approximate=True)
        pipe.expire(stream, life_s)
        pipe.execute()
    except (RedisError, OSError) as error:
        log.warning("could not announce on %s: %s", stream, error)


async def aannounce(stream: str, frame: dict[str, Any], life_s: int = STREAM_LIFE_S) -> None:
    """The same from async code."""
    try:
        pipe = hub.reader().commands.pipeline(transaction=False)
        pipe.xadd(stream, {"frame": json.dumps(frame, ensure_ascii=False)}, maxlen=KEPT_FRAMES, approximate=True)
        pipe.expire(stream, life_s)
        await pipe.execute()
    except BROKEN as error:
        log.warning("could not announce on %s: %s", stream, error)


class Frame(dict[str, Any]):
    """A frame as it was announced; `text` is its JSON, written once for all who watch."""

    text: str

    def __init__(self, text: str) -> None:
        super().__init__(json.loads(text))
        self.text = text


class Watch:
    """The frames of one stream for one watcher, from the moment it joined."""

    def __init__(self) -> None:
        self.waiting: deque[Frame] = deque(maxlen=BUFFERED_FRAMES)
        self.arrived = asyncio.Event()

    def put(self, frame: Frame) -> None:
        self.waiting.append(frame)
        self.arrived.set()

    async def gather(self, timeout_s: float | None = None) -> list[Frame]:
        """All frames that wait, as soon as there is one; an empty list after `timeout_s`."""
        with suppress(asyncio.TimeoutError):
            await asyncio.wait_for(self.arrived.wait(), timeout_s)
        self.arrived.clear()
        frames = list(self.waiting)
        self.waiting.clear()
        return frames

    async def __aiter__(self) -> AsyncIterator[Frame]:
        while True:
            while self.waiting:
                yield self.waiting.popleft()
            self.arrived.clear()
            await self.arrived.wait()


class Reader:
    """The one task of an event loop that reads all watched streams."""

    def __init__(self) -> None:
        self.watches: dict[str, set[Watch]] = {}
        self.after: dict[str, str] = {}  # stream -> id of the last frame taken
        self.wake = f"hub:{uuid4()}"  # a frame here ends the blocking read, so that a new stream joins at once
        self.task: asyncio.Task[None] | None = None
        self.commands: Any = redis.asyncio.Redis.from_url(settings.REDIS_URL, socket_timeout=5.0, socket_connect_timeout=2.0)
        self.blocking: Any = redis.asyncio.Redis.from_url(settings.REDIS_URL, socket_timeout=SOCKET_TIMEOUT_S, socket_connect_timeout=2.0)

    async def join(self, stream: str, watch: Watch) -> None:
        """From the return of this, no frame of `stream` is missed while Redis answers."""
        self.watches.setdefault(stream, set()).add(watch)
        if self.task is None or self.task.done():
            self.task = asyncio.get_running_loop().create_task(self.read())  # set before the first await: one reader only
        with suppress(*BROKEN):
            await self.follow(stream)
            await self.commands.pipeline(transaction=False).xadd(self.wake, {"join": stream}, maxlen=1).expire(self.wake, 60).execute()

    async def leave(self, stream: str, watch: Watch) -> None:
        watching = self.watches.get(stream, set())
        watching.discard(watch)
        if not watching:
            self.watches.pop(stream, None)
            self.after.pop(stream, None)

    async def follow(self, stream: str) -> None:
        """Remember where the stream ends now; all that comes later will be read."""
        if stream in self.after:
            return
        newest = await self.commands.xrevrange(stream, count=1)
        self.after.setdefault(stream, newest[0][0].decode() if newest else "0-0")

    async def read(self) -> None:
        """Read while anybody watches. Survives restarts of Redis."""
        woken, pause_s = "0-0", 0.1
        while self.watches:
            try:
                for stream in [s for s in self.watches if s not in self.after]:
                    await self.follow(stream)
                for name, entries in await self.blocking.xread({**self.after, self.wake: woken}, count=500, block=BLOCK_MS) or []:
                    stream, last = name.decode(), entries[-1][0].decode()
                    if stream == self.wake:
                        woken = last
                        continue
                    if stream in self.after:
                        self.after[stream] = last
                    self.fan_out(stream, entries)
                pause_s = 0.1
            except BROKEN as error:
                log.warning("the live reader lost Redis (%s); it tries again", error)
                await asyncio.sleep(pause_s)
                pause_s = min(2 * pause_s, 2.0)

    def fan_out(self, stream: str, entries: list[tuple[bytes, dict[bytes, bytes]]]) -> None:
        watching = self.watches.get(stream)
        if not watching:
            return
        for _id, fields in entries:
            frame = Frame(fields[b"frame"].decode())
            for watch in watching:
                watch.put(frame)


class Hub:
    """One reader for each event loop; a server process has one loop."""

    def __init__(self) -> None:
        self._readers: WeakKeyDictionary[asyncio.AbstractEventLoop, Reader] = WeakKeyDictionary()

    def reader(self) -> Reader:
        loop = asyncio.get_running_loop()
        if loop not in self._readers:
            self._readers[loop] = Reader()
        return self._readers[loop]

    @asynccontextmanager
    async def watch(self, stream: str) -> AsyncIterator[Watch]:
        """Join first, then read SQL, then take the frames: what lands in between arrives twice, never zero times."""
        reader, watch = self.reader(), Watch()
        try:
            await reader.join(stream, watch)
            yield watch
        finally:
            await reader.leave(stream, watch)


hub = Hub()
