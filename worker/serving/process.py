"""The serving process as its relay sees it: started, told by lines, heard by a thread, ended."""

from __future__ import annotations

import json
import logging
import math
import os
import queue
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from worker import machine

log = logging.getLogger("worker.relay")
ROOT = Path(__file__).resolve().parent.parent.parent
COMMAND = [sys.executable, "-m", "worker.serving"]
PASSED_ON = ("PATH", "HOME", "LANG", "LC_ALL", "LD_LIBRARY_PATH", "CUDA_VISIBLE_DEVICES", "VIRTUAL_ENV", "TMPDIR", "OMP_NUM_THREADS")


def environment(memory: int, device: str, engine: str) -> dict[str, str]:
    """What the process may know: no secrets, no way to the database, no hub."""
    kept = {"OMP_NUM_THREADS": "1"} | {name: os.environ[name] for name in PASSED_ON if name in os.environ}
    return kept | {
        "SERVE_MEMORY": str(memory),
        "SERVE_LIMIT": str(machine.serving_memory(memory)),
        "SERVE_DEVICE": device,
        "SERVE_ENGINE": engine,
        "OMP_WAIT_POLICY": "PASSIVE",
        "TOKENIZERS_PARALLELISM": "false",
        "HF_HUB_OFFLINE": "1",
        "TRANSFORMERS_OFFLINE": "1",
    }


class Serving:
    """One serving process. Start it in a thread that lives as long as the relay: the process dies with that thread."""

    def __init__(self, hear: Callable[[dict[str, Any]], None], memory: int, device: str, engine: str = "auto") -> None:
        self.hear = hear
        self.lines: queue.SimpleQueue[str | None] = queue.SimpleQueue()  # that it is still to be told
        self.warm: list[str] = []  # folders of the models that it holds
        self.computing = ("", 0.0)  # (folder of the model that it loads or asks now, since when); said by itself
        self.patient_until = math.inf  # a clock; what is silent beyond it, though it was asked, is stuck
        self.process = subprocess.Popen(
            COMMAND,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=environment(memory, device, engine),
            cwd=ROOT,
            encoding="utf-8",
            process_group=0,  # a terminal's Ctrl-C is the relay's to act on
        )
        self.began = time.monotonic()
        self.thread = threading.Thread(target=self.listen, daemon=True)
        self.thread.start()
        threading.Thread(target=self.talk, daemon=True).start()

    def tell(self, question: dict[str, Any]) -> None:
        self.lines.put(json.dumps(question))

    def talk(self) -> None:
        """In a thread of its own: a process that is stuck reads nothing, and its full pipe must hold up nobody else."""
        assert self.process.stdin is not None
        try:
            while (line := self.lines.get()) is not None:
                print(line, file=self.process.stdin, flush=True)
            self.process.stdin.close()
        except (OSError, ValueError):
            log.warning("the serving process is gone; who asked will be told")

    def listen(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            try:
                self.hear(json.loads(line))
            except Exception:
                log.exception("could not act on %.200r", line)
        self.lines.put(None)

    def stuck_in(self, patience_s: float) -> str:
        """The folder of the model in which it computes for longer than that; empty when there is none."""
        folder, since = self.computing
        return folder if time.monotonic() - since > patience_s else ""

    @property
    def is_ready(self) -> bool:
        """Whether it has ever said what it does, which it does first when all is imported."""
        return self.computing[1] > 0

    @property
    def is_gone(self) -> bool:
        return self.process.poll() is not None

    def be_patient(self, seconds: float) -> None:
        later = time.monotonic() + seconds
        self.patient_until = later if self.patient_until == math.inf else max(self.patient_until, later)

    def be_idle(self) -> None:
        self.patient_until = math.inf

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()
        self.thread.join(5)

    def end(self, timeout_s: float) -> None:
        """Close its input, so that it leaves by itself; insist when it does not."""
        self.lines.put(None)
        try:
            self.process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            self.kill()
        self.thread.join(5)
