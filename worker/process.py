"""The trainer as a process of its own: started warm, spoken to in JSON lines, never left behind."""

from __future__ import annotations

import contextlib
import json
import logging
import os
import queue
import signal
import subprocess
import sys
import threading
from collections import deque
from pathlib import Path
from typing import IO, Any, Final, Self

import psutil
from django.conf import settings

from worker import machine
from worker.spec import RunSpec

log = logging.getLogger(__name__)

ROOT = Path(__file__).resolve().parent.parent
COMMAND = [sys.executable, "-m", "worker.trainer"]
# All that a trainer may know of our environment: no database, no broker, no key.
PASSED = ("PATH", "HOME", "LANG", "LC_ALL", "TMPDIR", "LD_LIBRARY_PATH", "CUDA_VISIBLE_DEVICES", "NVIDIA_VISIBLE_DEVICES", "CUDA_HOME")
EXIT_LIMIT_S = 10.0
OOM_SCORE = "500"  # when memory runs out, the kernel should take the trainer and not us


def environment() -> dict[str, str]:
    kept = {name: os.environ[name] for name in PASSED if name in os.environ}
    threads = str(machine.trainer_threads())
    memory = str(machine.trainer_memory(settings.TRAIN_MEMORY))
    return kept | {
        "PYTHONPATH": str(ROOT),
        "PYTHONUNBUFFERED": "1",
        "HF_HUB_OFFLINE": "1",
        "TRANSFORMERS_OFFLINE": "1",
        "HF_HUB_DISABLE_TELEMETRY": "1",
        "TOKENIZERS_PARALLELISM": "false",
        "OMP_NUM_THREADS": threads,
        "TRAIN_MEMORY": memory,
        "OMP_WAIT_POLICY": "PASSIVE",
    }


class Trainer:
    """One process, in a session of its own. As a context manager it is gone at the end, whatever happened."""

    GONE: Final[dict[str, Any]] = {"kind": "gone"}

    def __init__(self) -> None:
        pipe = subprocess.PIPE
        self.process = subprocess.Popen(
            COMMAND, stdin=pipe, stdout=pipe, stderr=pipe, cwd=ROOT, env=environment(), start_new_session=True, close_fds=True
        )
        self.kernel_kills = machine.kernel_kills()
        self.messages: queue.Queue[dict[str, Any]] = queue.Queue()
        self.stderr: deque[str] = deque(maxlen=60)
        with contextlib.suppress(OSError):
            Path(f"/proc/{self.pid}/oom_score_adj").write_text(OOM_SCORE)
        for read, pipe_end in ((self._read_messages, self.process.stdout), (self._read_stderr, self.process.stderr)):
            threading.Thread(target=read, args=(pipe_end,), daemon=True).start()

    @property
    def pid(self) -> int:
        return self.process.pid

    @property
    def is_alive(self) -> bool:
        return self.process.poll() is None

    def _read_messages(self, pipe: IO[bytes]) -> None:
        for line in pipe:
            try:
                message = json.loads(line)
            except ValueError:
                message = None
            if isinstance(message, dict):
                self.messages.put(message)
            else:
                log.warning("the trainer wrote something that is no message: %.200r", line)
        self.messages.put(self.GONE)

    def _read_stderr(self, pipe: IO[bytes]) -> None:
        for line in pipe:
            self.stderr.append(line.decode(errors="replace").rstrip())

    def next(self, timeout_s: float) -> dict[str, Any] | None:
        """The next message; None when there was none in time; GONE after the last."""
        try:
            return self.messages.get(timeout=timeout_s)
        except queue.Empty:
            return None

    def tell(self, message: dict[str, Any] | str) -> None:
        """One line down the pipe. A trainer that is gone hears nothing, which is noticed elsewhere."""
        text = message if isinstance(message, str) else json.dumps(message)
        assert self.process.stdin is not None
        with contextlib.suppress(OSError, ValueError):
            self.process.stdin.write(text.encode() + b"\n")
            self.process.stdin.flush()

    def terminate(self) -> None:
        self._signal(signal.SIGTERM)

    def kill(self) -> None:
        """The process and all that it started."""
        self._signal(signal.SIGKILL)

    def _signal(self, number: signal.Signals) -> None:
        if self.is_alive:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(self.pid, number)

    def status(self) -> int:
        """Its exit status, negative for a signal. A process that has closed its output is given a moment to leave."""
        try:
            return self.process.wait(EXIT_LIMIT_S)
        except subprocess.TimeoutExpired:
            self.kill()
            return self.process.wait()

    @property
    def memory(self) -> int:
        """Bytes in memory now; 0 when it is gone."""
        try:
            return int(psutil.Process(self.pid).memory_info().rss) if self.is_alive else 0
        except psutil.Error:
            return 0

    @property
    def kernel_took_it(self) -> bool:
        """Whether it was killed just when the kernel killed somebody for want of memory."""
        return self.status() == -signal.SIGKILL and machine.kernel_kills() > self.kernel_kills

    def last_words(self) -> str:
        return "\n".join(self.stderr)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, *rest: Any) -> None:
        if kind is not None:
            self.kill()
        assert self.process.stdin is not None
        with contextlib.suppress(OSError):
            self.process.stdin.close()  # end of input: leave
        self.status()


class Spares:
    """At most one trainer that waits with everything imported. Used by one thread, which must live as long as the
    worker: the kernel kills a trainer when the thread that started it ends."""

    def __init__(self) -> None:
        self.waiting: Trainer | None = None

    def warm(self) -> None:
        """See that one waits, unless memory is short."""
        if self.waiting and not self.waiting.is_alive:
            log.warning("the warm spare died: %s", self.waiting.last_words()[-500:])
            self.waiting = None
        if self.waiting is None and machine.has_memory_for_a_spare():
            self.waiting = Trainer()

    def take(self, spec: RunSpec) -> Trainer:
        """A trainer that works on `spec`: the spare, or a new one."""
        trainer, self.waiting = self.waiting, None
        if trainer is None or not trainer.is_alive:
            trainer = Trainer()
        trainer.tell(spec.to_json())
        return trainer

    def close(self) -> None:
        if self.waiting:
            self.waiting.kill()
            self.waiting = None
