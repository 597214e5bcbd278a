"""`make up` as a whole: it starts, watches and stops real processes; and the same processes as docker-compose.yml starts them."""

import contextlib
import fcntl
import os
import pathlib
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time

import httpx2
import psutil
import pytest
from django.conf import settings

from tests.conftest import redis_binary
from tests.test_compose import compose
from webapp import stack
from webapp.home.management.commands.demo import NOT_INHERITED, Demo, free_port, running
from worker import supervisor

MANAGE = [sys.executable, str(settings.ROOT / "manage.py")]


def environment(home, **more):
    inherited = {k: v for k, v in os.environ.items() if k not in NOT_INHERITED}
    return inherited | {"TUNEBENCH_HOME": str(home), "HOST": "127.0.0.1", "PORT": str(free_port())} | more


def until(condition, seconds=30, every=0.1):
    deadline = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < deadline, f"not within {seconds} s"
        time.sleep(every)
    return found


def processes_of(home):
    """All live processes that were started for this home, whoever their parent is now."""
    found = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            ours = process.environ().get("TUNEBENCH_HOME") == str(home) or any(str(home) in word for word in process.cmdline())
            if ours and process.pid != os.getpid() and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process)
    return found


@contextlib.contextmanager
def up(home, **more):
    """`manage.py up` in a process group of its own, as a shell with job control starts it."""
    home.mkdir(parents=True, exist_ok=True)
    log = home / "up.log"
    with open(log, "wb") as output:
        process = subprocess.Popen([*MANAGE, "up"], env=environment(home, **more), stdout=output, stderr=output, process_group=0)
    try:
        until(lambda: "Sign in once" in log.read_text() or process.poll() is not None, 90)
        assert process.poll() is None, log.read_text()
        yield process, log
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGINT)
            process.wait(25)
        for left in processes_of(home):
            left.kill()


@pytest.fixture(scope="module")
def small_file(tmp_path_factory):
    path = tmp_path_factory.mktemp("data") / "small.csv"
    rows = [f"I love this {thing},positive\nI hate this {thing},negative" for thing in "abcdefghijklmnopqrstuvwx"]
    path.write_text("text,label\n" + "\n".join(rows) + "\n")
    return path


def from_file_to_answer(base, token, path):
    """The main job in its smallest form; the model's answer to one question."""
    with httpx2.Client(base_url=f"{base}/api/v1", headers={"Authorization": f"Bearer {token}"}, timeout=90) as client:
        demo = Demo(client, print)
        dataset = demo.upload(path)
        wanted = {"version": dataset["versions"][0]["id"], "task": dataset["task"], "method": "quick", "settings": {"epochs": 1}}
        run = demo.follow(demo.call("POST", "/runs", json=wanted)["id"])
        assert run["state"] == "succeeded", run["reason"]
        return demo.call("POST", f"/models/{run['model']}/predictions", json={"inputs": {"text": "I love it"}})


# --- Before anything starts ----------------------------------------------------------------------------------------------
def refused(home, **more):
    """The one sentence with which `up` refuses to start."""
    done = subprocess.run([*MANAGE, "up"], env=environment(home, **more), capture_output=True, text=True, timeout=60)
    assert done.returncode == 1
    lines = [line for line in done.stderr.strip().splitlines() if line]
    assert len(lines) == 1 and "Traceback" not in done.stderr, done.stderr
    return lines[0]


def test_a_worker_is_given_the_time_that_it_may_take_to_put_its_run_back():
    given = next(seconds for names, seconds in stack.STOPPING if "train" in names)
    assert given > supervisor.DRAIN_LIMIT_S
    assert sum(seconds for _names, seconds in stack.STOPPING) < 20


def test_a_taken_port_is_said_in_one_sentence(tmp_path):
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        assert f"Port {port}" in (said := refused(tmp_path, PORT=str(port))) and f"make up PORT={port + 1}" in said
    assert not (tmp_path / "logs").exists()


def test_a_home_that_is_in_use_is_said_in_one_sentence(tmp_path):
    (tmp_path / "up.lock").touch(0o600)
    with open(tmp_path / "up.lock", "a+") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        assert "already runs" in refused(tmp_path)


def test_a_nearly_full_disk_is_said_before_anything_starts(tmp_path, monkeypatch):
    monkeypatch.setattr(stack.shutil, "disk_usage", lambda folder: shutil._ntuple_diskusage(10**9, 10**9 - 10**8, 10**8))
    with pytest.raises(stack.CannotStart, match="100 MB free"):
        stack.check_disk(tmp_path)


@pytest.mark.parametrize("version", ["3.8", "3.10"])
def test_a_python_that_is_too_old_is_told_so(tmp_path, version):
    python = shutil.which(f"python{version}")
    if not python or subprocess.run([python, "--version"], capture_output=True).returncode:
        python = shutil.which(f"python{version}", path=f"{pathlib.Path.home()}/.pyenv/versions")
    script = tmp_path / "webapp" / "install.py"
    script.parent.mkdir()
    shutil.copy(settings.ROOT / "webapp" / "install.py", script)
    (tmp_path / "requirements.lock").write_text("six==1.17.0\n")
    faked = f"import sys, runpy; sys.version_info = ({version.replace('.', ', ')}, 0); runpy.run_path({str(script)!r}, run_name='__main__')"
    command = [python, "-I", str(script)] if python else [sys.executable, "-I", "-c", faked]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 1
    assert done.stderr.count("\n") == 1 and f"found {version}" in done.stderr and "3.11" in done.stderr
    assert not (tmp_path / ".venv").exists()


# --- On one machine --------------------------------------------------------------------------------------------------------
def test_a_fallen_worker_is_started_again_and_ctrl_c_leaves_nothing_behind(tmp_path, small_file):
    home = tmp_path / ("deep" * 20) / ("er" * 20)  # a path that fits into no socket's address
    with up(home) as (process, log):
        folder = pathlib.Path((home / "redis.folder").read_text())
        assert folder.stat().st_mode & 0o777 == 0o700 and (folder / "redis.sock").is_socket()
        relay = until(lambda: [p for p in processes_of(home) if "worker.relay" in p.cmdline()])[0]
        relay.kill()
        until(lambda: "serve ended (status -9)" in log.read_text())
        until(lambda: [p for p in processes_of(home) if "worker.relay" in p.cmdline() and p.pid != relay.pid])
        began = time.monotonic()
        os.killpg(process.pid, signal.SIGINT)
        assert process.wait(25) == 0
        assert time.monotonic() - began < 20
        assert processes_of(home) == []
        assert "Stopped." in log.read_text()
    shutil.rmtree(folder)


def test_killing_the_parent_takes_every_child_along(tmp_path):
    with up(tmp_path) as (process, _):
        assert len(processes_of(tmp_path)) >= 6
        process.kill()
        until(lambda: processes_of(tmp_path) == [], 30)


# --- As docker-compose.yml starts it --------------------------------------------------------------------------------------
@pytest.fixture(scope="module")
def postgres_port():
    """A private PostgreSQL cluster with the user, password and database of the compose file."""
    if not (found := sorted(pathlib.Path("/usr/lib/postgresql").glob("*/bin/initdb"))):
        pytest.skip("PostgreSQL is not installed (apt-get install postgresql)")
    programs, port = found[-1].parent, free_port()
    folder = pathlib.Path(tempfile.mkdtemp(prefix="tb-pg-"))
    names = compose()["services"]["postgres"]["environment"]
    (folder / "password").write_text(names["POSTGRES_PASSWORD"])
    other_user = []
    if os.getuid() == 0:  # initdb refuses to run as root
        other_user = ["setpriv", "--reuid=nobody", "--regid=nogroup", "--clear-groups"]
        for path in (folder, folder / "password"):
            shutil.chown(path, "nobody", "nogroup")

    def run(*command, **more):
        subprocess.run([*other_user, *map(str, command)], cwd=folder, check=True, stdout=subprocess.DEVNULL, **more)

    user = f"--username={names['POSTGRES_USER']}"
    run(programs / "initdb", "-D", folder / "data", user, "--auth=scram-sha-256", f"--pwfile={folder / 'password'}", "--no-sync")
    options = f"-p {port} -c listen_addresses=127.0.0.1 -c unix_socket_directories={folder} -c fsync=off"
    run(programs / "pg_ctl", "-D", folder / "data", "-w", "-l", folder / "log", "-o", options, "start")
    try:
        secret = {**os.environ, "PGPASSWORD": names["POSTGRES_PASSWORD"]}
        run(programs / "createdb", "-h", "127.0.0.1", "-p", port, user, names["POSTGRES_DB"], env=secret)
        yield port
    finally:
        run(programs / "pg_ctl", "-D", folder / "data", "-m", "immediate", "stop")
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="module")
def redis_port(tmp_path_factory):
    """A Redis on TCP, started with the compose file's own words."""
    port = free_port()
    words = compose()["services"]["redis"]["command"][1:]
    own = ["--port", str(port), "--bind", "127.0.0.1", "--dir", str(tmp_path_factory.mktemp("redis"))]
    server = subprocess.Popen([redis_binary(), *words, *own], stdout=subprocess.DEVNULL)
    yield port
    server.terminate()
    server.wait()


def test_the_services_of_the_compose_file_do_the_main_job_on_postgresql_and_a_tcp_redis(tmp_path, small_file, postgres_port, redis_port):
    services, port = compose()["services"], free_port()
    moved = {"/data": str(tmp_path), "@postgres:5432": f"@127.0.0.1:{postgres_port}", "@redis:6379": f"@127.0.0.1:{redis_port}"}

    def here(text):
        for theirs, ours in moved.items():
            text = text.replace(theirs, ours)
        return text

    def variables(name):
        inherited = {k: v for k, v in os.environ.items() if k not in NOT_INHERITED}
        return inherited | {k: here(v) for k, v in services[name]["environment"].items()}

    def command(words):
        return [{"python": sys.executable, "0.0.0.0": "127.0.0.1", "8000": str(port)}.get(word, word) for word in words]

    def run(name, *words):
        done = subprocess.run(command(words), cwd=settings.ROOT, env=variables(name), capture_output=True, text=True, timeout=120)
        return done.returncode, done.stdout or done.stderr

    status, said = run("setup", *services["setup"]["command"])
    assert status == 0 and re.search(r"/sign-in/\S{20,}", said), said
    status, said = run("web", "python", "manage.py", "token", "--user", "owner")
    assert status == 0, said
    running_ones = {}
    try:
        for name in ("web", "train", "data", "serve"):
            with open(tmp_path / f"{name}.log", "wb") as log:
                running_ones[name] = subprocess.Popen(
                    command(services[name]["command"]), cwd=settings.ROOT, env=variables(name), stdout=log, stderr=log
                )
        until(lambda: all(run(n, *services[n]["healthcheck"]["test"][1:])[0] == 0 for n in ("train", "data", "serve")), 60, 1)
        check = [word.replace("8000", str(port)) for word in services["web"]["healthcheck"]["test"][1:]]
        assert run("web", *check)[0] == 0
        answer = from_file_to_answer(f"http://127.0.0.1:{port}", said.strip().splitlines()[-1], small_file)
        assert set(answer["scores"]) == {"positive", "negative"} and answer["label"] in answer["scores"]
    except BaseException:
        print(*(f"--- {n}\n{(tmp_path / f'{n}.log').read_text()[-2000:]}" for n in running_ones), sep="\n")
        raise
    finally:
        for process in running_ones.values():  # as `docker compose stop` does
            process.terminate()
        for process in running_ones.values():
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                process.kill()
    ends = {name: process.returncode for name, process in running_ones.items()}
    assert ends == {**dict.fromkeys(running_ones, 0), "web": -signal.SIGTERM}  # uvicorn ends in order, then repeats the signal
    until(lambda: processes_of(tmp_path) == [], 10)


def test_running_gives_a_stack_for_the_api_and_takes_it_away_again(tmp_path, small_file):
    with running(tmp_path, print) as (base, token):
        answer = from_file_to_answer(base, token, small_file)
    assert answer["label"] in {"positive", "negative"}
    assert processes_of(tmp_path) == []
