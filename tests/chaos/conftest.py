"""Real workers and a real web process on the test's own database, to be killed."""

import contextlib
import os
import pathlib
import signal
import socket
import subprocess
import sys
import time

import psutil
import pytest
from django.conf import settings
from django.db import connection

from tests.runs.conftest import base, submit, version  # noqa: F401
from tests.worker.conftest import queued  # noqa: F401

ROOT = pathlib.Path(__file__).resolve().parents[2]


def until(what, limit_s=60.0, every_s=0.05):
    """Wait for `what()` to be true and give it. The limit is generous: the machine may be busy."""
    ends = time.monotonic() + limit_s
    while not (found := what()):
        assert time.monotonic() < ends, "it did not happen in time"
        time.sleep(every_s)
    return found


class Process:
    """One of ours, in a session of its own, with all that it started."""

    def __init__(self, arguments, **environ):
        database = settings.DATABASES["default"]["NAME"] if connection.vendor == "sqlite" else None
        given = {"DJANGO_SETTINGS_MODULE": "tests.settings", "PYTHONPATH": str(ROOT), "DATABASE_URL": f"sqlite:///{database}"}
        self.log = (pathlib.Path(os.environ["TUNEBENCH_HOME"]) / "chaos.log").open("ab")
        self.process = subprocess.Popen(
            [sys.executable, *arguments],
            cwd=ROOT,
            env=os.environ | given | environ,
            start_new_session=True,
            stdout=self.log,
            stderr=self.log,
        )

    def signal(self, number):
        self.process.send_signal(number)

    def kill(self):
        """SIGKILL to this process alone, as the kernel would."""
        self.process.kill()
        self.process.wait()

    def stop(self, limit_s=40):
        self.process.terminate()
        return self.process.wait(limit_s)

    def trainers(self):
        """Trainers that work (the waiting spare is one as well)."""
        with contextlib.suppress(psutil.NoSuchProcess):
            return [child for child in psutil.Process(self.process.pid).children() if "fake_trainer" in " ".join(child.cmdline())]
        return []

    def clean(self):
        for child in self.trainers():
            child.kill()
        with contextlib.suppress(ProcessLookupError):
            self.process.send_signal(signal.SIGCONT)
        if self.process.poll() is None:
            self.kill()
        self.log.close()


@pytest.fixture
def start(transactional_db):
    """start("train") or start("web"): a real process, killed at the end whatever happens."""
    started = []

    def start(kind, **environ):
        port = 0
        if kind == "web":
            with contextlib.closing(socket.socket()) as free:
                free.bind(("127.0.0.1", 0))
                port = free.getsockname()[1]
            arguments = ["-m", "uvicorn", "webapp.asgi:application", "--port", str(port), "--log-level", "warning"]
        else:
            queues = {"train": "train.cpu", "data": "data"}[kind]
            arguments = [str(ROOT / "tests/chaos/small_worker.py"), "-Q", queues, "-n", f"{kind}{len(started)}@%h"]
        started.append(Process(arguments, **environ))
        started[-1].port = port
        return started[-1]

    yield start
    for process in started:
        process.clean()
