"""The tests of queue, fences and cursor once more, on a PostgreSQL of their own."""

import contextlib
import glob
import os
import pathlib
import shutil
import socket
import subprocess
import sys
import tempfile

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]
SUITES = [f"tests/{name}.py" for name in ("work/test_claims", "work/test_turns", "runs/test_engine_verbs", "runs/test_engine_cursor")]


def programs():
    found = sorted(glob.glob("/usr/lib/postgresql/*/bin"))
    return pathlib.Path(found[-1]) if found else None


def as_nobody(command):
    """PostgreSQL refuses to run as root."""
    return ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", *command] if os.geteuid() == 0 else command


@pytest.fixture(scope="session")
def postgresql():
    """The address of a private cluster on loopback, gone afterwards."""
    bin = programs()
    if bin is None or (os.geteuid() == 0 and not shutil.which("setpriv")):
        pytest.skip("PostgreSQL's programs (/usr/lib/postgresql) are not on this machine")
    home = pathlib.Path(tempfile.mkdtemp(prefix="pg-"))
    if os.geteuid() == 0:
        os.chown(home, 65534, 65534)
    with contextlib.closing(socket.socket()) as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    data = home / "data"
    subprocess.run(
        as_nobody([bin / "initdb", "-D", data, "-U", "tunebench", "-A", "trust", "-E", "UTF8", "--no-sync"]),
        check=True,
        cwd=home,
        stdout=subprocess.DEVNULL,
    )
    options = f"-p {port} -k {home} -h 127.0.0.1 -c fsync=off"
    control = [bin / "pg_ctl", "-D", data, "-w", "-s"]
    subprocess.run(as_nobody([*control, "-l", home / "log", "-o", options, "start"]), check=True, cwd=home)
    yield f"postgres://tunebench@127.0.0.1:{port}/postgres"
    subprocess.run(as_nobody([*control, "-m", "immediate", "stop"]), check=True, cwd=home)
    shutil.rmtree(home, ignore_errors=True)


@pytest.mark.postgres
def test_the_queue_and_the_curve_work_the_same_on_postgresql(postgresql):
    environ = {name: value for name, value in os.environ.items() if not name.startswith(("PYTEST_", "TEST_HOME", "TUNEBENCH_HOME"))}
    environ["DATABASE_URL"] = postgresql
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *SUITES]
    done = subprocess.run(command, cwd=ROOT, env=environ, capture_output=True, text=True, timeout=170)
    assert done.returncode == 0, done.stdout[-5000:] + done.stderr[-2000:]
    assert " skipped" not in done.stdout.splitlines()[-1]
