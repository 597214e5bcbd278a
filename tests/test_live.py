"""The hub: one reader for a process, whoever watches gets every frame, and a Redis that restarts is survived."""

import asyncio
import os
import subprocess
import uuid

import pytest
import redis

from tests.conftest import redis_binary
from webapp import live
from webapp.live import Reader, announce, hub


async def taken(frames, n, timeout_s=5.0):
    found = []
    async with asyncio.timeout(timeout_s):
        async for frame in frames:
            found.append(frame)
            if len(found) == n:
                return found


def a_stream():
    return f"run:{uuid.uuid4()}"


async def test_a_frame_announced_after_joining_arrives_at_every_watcher():
    stream = a_stream()
    async with hub.watch(stream) as one, hub.watch(stream) as two:
        await asyncio.to_thread(announce, stream, {"type": "state", "n": "ü"})
        assert await taken(one, 1) == await taken(two, 1) == [{"type": "state", "n": "ü"}]


async def test_a_frame_announced_before_joining_does_not():
    stream = a_stream()
    await live.aannounce(stream, {"n": 1})
    async with hub.watch(stream) as frames:
        await live.aannounce(stream, {"n": 2})
        assert await taken(frames, 1) == [{"n": 2}]


async def test_many_who_join_together_share_one_reader_and_get_each_frame_once():
    stream, got = a_stream(), []

    async def watcher(joined):
        async with hub.watch(stream) as frames:
            joined.release()
            got.append([frame["n"] for frame in await taken(frames, 20, 10)])

    joined = asyncio.Semaphore(0)
    tasks = [asyncio.create_task(watcher(joined)) for _ in range(50)]
    for _ in tasks:
        await joined.acquire()
    readers = [task for task in asyncio.all_tasks() if task.get_coro().__qualname__ == Reader.read.__qualname__]
    assert len(readers) == 1
    for n in range(20):
        await live.aannounce(stream, {"n": n})
    await asyncio.gather(*tasks)
    assert got == [list(range(20))] * 50


async def test_a_new_stream_joins_at_once_while_the_reader_blocks_on_another():
    async with hub.watch(a_stream()):
        await asyncio.sleep(0.2)  # now it sits in its blocking read of seconds
        late = a_stream()
        async with hub.watch(late) as frames:
            await live.aannounce(late, {"n": 1})
            assert await taken(frames, 1, timeout_s=1.0) == [{"n": 1}]


async def test_a_slow_watcher_keeps_a_bounded_number_of_frames(monkeypatch):
    monkeypatch.setattr(live, "BUFFERED_FRAMES", 10)
    watch = live.Watch()
    for n in range(1000):
        watch.put(live.Frame(f'{{"n": {n}}}'))
    assert [frame["n"] for frame in await watch.gather(0.1)] == list(range(990, 1000))
    assert await watch.gather(0.01) == []


async def test_the_reader_ends_when_nobody_watches():
    async with hub.watch(a_stream()) as frames:
        reader = hub.reader()
        assert reader.task is not None and frames is not None
    assert reader.watches == {} and reader.after == {}


def start_redis(home):
    server = subprocess.Popen(
        [redis_binary(), "--port", "0", "--unixsocket", f"{home}/r.sock", "--save", "", "--dir", str(home)], stdout=subprocess.DEVNULL
    )
    client = redis.Redis(unix_socket_path=f"{home}/r.sock")
    for _ in range(200):
        try:
            client.ping()
            return server
        except redis.ConnectionError:
            os.sched_yield()
            import time

            time.sleep(0.02)
    raise AssertionError("Redis does not start")


@pytest.fixture
def own_redis(tmp_path, settings, monkeypatch):
    settings.REDIS_URL = f"unix://{tmp_path}/r.sock"
    monkeypatch.setattr(live, "_client", None)
    servers = [start_redis(tmp_path)]

    def restart():
        servers[-1].kill()
        servers[-1].wait()
        servers.append(start_redis(tmp_path))

    yield restart
    servers[-1].kill()
    servers[-1].wait()


async def test_a_redis_that_is_killed_and_comes_back_is_watched_on(own_redis):
    stream = a_stream()
    async with hub.watch(stream) as frames:
        await live.aannounce(stream, {"n": 1})
        await taken(frames, 1)
        await asyncio.to_thread(own_redis)
        for n in range(50):  # the first ones may fall into the gap, as SQL makes good
            await live.aannounce(stream, {"n": n})
            if await frames.gather(0.2):
                return
    raise AssertionError("no frame came after the restart")


async def test_without_redis_nothing_raises(tmp_path, settings, monkeypatch):
    settings.REDIS_URL = f"unix://{tmp_path}/nobody.sock"
    monkeypatch.setattr(live, "_client", None)
    announce("run:x", {"n": 1})
    await live.aannounce("run:x", {"n": 1})
    async with hub.watch("run:x") as frames:
        assert await frames.gather(0.1) == []
