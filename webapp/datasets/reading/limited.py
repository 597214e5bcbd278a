"""Run a reading in a child process that cannot take the worker down with it."""

from __future__ import annotations

import contextlib
import json
import logging
import os
import queue
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import IO, Any

from webapp.datasets.reading import Limits, ReadingError
from worker.spec import storable

log = logging.getLogger(__name__)
ROOT = Path(__file__).resolve().parents[3]
KEPT = ("PATH", "LANG", "LC_ALL", "TMPDIR", "LD_LIBRARY_PATH", "VIRTUAL_ENV")  # no secret ever reaches the child
NO_MEMORY = ("memory allocation of", "Cannot allocate memory", "MemoryError", "out of memory")
WATCH_S = 1.0  # so often it is asked whether anybody still waits
SILENCE_S = 5.0  # between closing its output and leaving


class Unwanted(Exception):
    """Nobody waits for this reading any more."""


def run(
    verb: str,
    job: dict[str, Any],
    on_progress: Callable[[str, int, int], None] | None = None,
    is_wanted: Callable[[], bool] = lambda: True,
) -> dict[str, Any]:
    """What the verb answers. Raises ReadingError with a plain sentence for every failure, a killed child included, and Unwanted
    soon after `is_wanted` said no."""
    limits = replace(Limits(), **job.get("limits") or {})
    with tempfile.TemporaryFile() as noise, child(verb, job, noise) as process:
        deadline = threading.Timer(limits.wall_s, kill, [process])
        deadline.start()
        answer: dict[str, Any] | None = None
        try:
            assert process.stdin and process.stdout
            with contextlib.suppress(BrokenPipeError):
                process.stdin.write(json.dumps({**job, "verb": verb}).encode())
                process.stdin.close()
            for line in lines_of(process.stdout):
                if not (line or is_wanted()):
                    raise Unwanted
                if not line:
                    continue
                message = storable(json.loads(line))
                if message["kind"] == "progress":
                    if on_progress:
                        on_progress(message["what"], message["done"], message["total"])
                else:
                    answer = message
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(SILENCE_S)
        finally:
            late = not deadline.is_alive()
            deadline.cancel()
            kill(process)
        if answer and answer["kind"] == "result":
            result: dict[str, Any] = answer["result"]
            return result
        if answer:
            raise ReadingError(**answer["error"])
        raise post_mortem(process.returncode, late, limits, last_words(noise))


def lines_of(pipe: IO[bytes]) -> Iterator[bytes]:
    """Its lines, and an empty one every WATCH_S: whoever reads looks up then."""
    arrived: queue.SimpleQueue[bytes | None] = queue.SimpleQueue()

    def gather() -> None:
        for line in pipe:
            arrived.put(line)
        arrived.put(None)

    threading.Thread(target=gather, daemon=True).start()
    due = time.monotonic() + WATCH_S
    while True:
        try:
            line = arrived.get(timeout=max(0.0, due - time.monotonic()))
        except queue.Empty:
            line = b""
        if line is None:
            return
        if line:
            yield line
        if time.monotonic() >= due:
            due = time.monotonic() + WATCH_S
            yield b""


def child(verb: str, job: dict[str, Any], noise: Any) -> subprocess.Popen[bytes]:
    environment = {name: os.environ[name] for name in KEPT if name in os.environ}
    environment |= {"POLARS_MAX_THREADS": "1", "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "PYTHONUTF8": "1"}
    return subprocess.Popen(
        [sys.executable, "-m", "webapp.datasets.reading"],
        cwd=ROOT,
        env=environment,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=noise,
        start_new_session=True,
    )


def kill(process: subprocess.Popen[bytes]) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        if process.returncode is None:
            os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def last_words(noise: Any) -> str:
    noise.seek(max(0, noise.seek(0, os.SEEK_END) - 4_000))
    text: str = noise.read().decode("utf-8", "replace")
    return text


def post_mortem(status: int, late: bool, limits: Limits, noise: str) -> ReadingError:
    """Why the child left without an answer."""
    log.warning("a reading ended with status %s and said: %s", status, noise or "nothing")
    if status == -signal.SIGPROF:
        text = f"Reading came no further for {limits.silent_cpu_s:.0f} seconds and was stopped. Save the file again as CSV, or upload a part of it."
        return ReadingError("too_slow", text)
    if late or status == -signal.SIGXCPU:
        return ReadingError("too_slow", f"Reading took longer than {limits.wall_s / 60:.0f} minutes. Split the file and upload the parts.")
    if status == -signal.SIGXFSZ or "No space left" in noise:
        return ReadingError("too_large", "There is not enough room to unpack this file. Upload a smaller part of it.")
    if status in (-signal.SIGKILL, -signal.SIGABRT, -signal.SIGSEGV, -signal.SIGBUS) or any(word in noise for word in NO_MEMORY):
        return out_of_memory(limits)
    return ReadingError("unreadable", "This file could not be read: it is damaged in a way that stopped the reader. Save it again as CSV.")


def out_of_memory(limits: Limits) -> ReadingError:
    return ReadingError(
        "too_much_memory",
        f"Reading this file needs more memory than allowed ({limits.memory // 1024**2:,} MB). "
        "Upload it as CSV, JSON Lines or Parquet in smaller parts, or leave out columns that are not needed.",
    )
