"""The trainer as a process of its own: what it says on its pipe, how it ends, and that it never outlives its supervisor."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
import torch

from tests.worker import toys
from worker.spec import Exit

ROOT = Path(__file__).resolve().parents[2]
TRAINER = [sys.executable, "-m", "worker.trainer"]
PATIENCE_S = 60  # a trainer runs at low priority, and this machine may be busy
LONG = {"epochs": 100, "checkpoint_s": 1}


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    return toys.base_model(tmp_path_factory.mktemp("base"))


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return toys.reviews(tmp_path_factory.mktemp("data") / "rows.parquet", 400)


@pytest.fixture
def start(tmp_path):
    started = []

    def run(spec=None, stdin=subprocess.PIPE):
        arguments = []
        if spec:
            (tmp_path / "spec.json").write_text(spec.to_json())
            arguments = [str(tmp_path / "spec.json")]
        process = subprocess.Popen([*TRAINER, *arguments], stdin=stdin, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=ROOT)
        started.append(process)
        return process

    yield run
    for process in started:
        if process.poll() is None:
            process.kill()
        process.wait()
        for pipe in (process.stdin, process.stdout, process.stderr):
            if pipe:
                pipe.close()


def messages_until(process, kind):
    for line in process.stdout:
        message = json.loads(line)
        if message["kind"] == kind:
            return message
        assert message["kind"] != "failed", message
    raise AssertionError(f"no {kind}: {process.stderr.read()[-2000:]}")


def tell(process, **what):
    process.stdin.write(json.dumps(what) + "\n")
    process.stdin.flush()


def test_a_warm_spare_takes_a_spec_pauses_on_wish_and_says_so(start, tmp_path, base, data):
    process = start()
    messages_until(process, "spare")
    process.stdin.write(toys.spec_for(tmp_path, base, data, settings=LONG).to_json() + "\n")
    process.stdin.flush()
    messages_until(process, "point")
    tell(process, wish="pause")
    stopped = messages_until(process, "stopped")
    assert process.wait(PATIENCE_S) == Exit.STOPPED
    assert list((tmp_path / "run" / "1" / "checkpoints").glob(f"{stopped['step']}/manifest.json"))


def test_a_whole_run_needs_neither_the_web_nor_a_pipe(tmp_path, base, data):
    (tmp_path / "spec.json").write_text(toys.spec_for(tmp_path, base, data, settings={"epochs": 1}).to_json())
    code = (
        "import sys, runpy; sys.argv = ['trainer', sys.argv[1]]\n"
        "class Wall:\n"
        "    def find_spec(self, name, *rest):\n"
        "        assert name.split('.')[0] not in {'django', 'celery', 'redis', 'channels', 'webapp'}, name\n"
        "sys.meta_path.insert(0, Wall())\n"
        "runpy.run_module('worker.trainer', run_name='__main__')"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path / "spec.json")], stdin=subprocess.DEVNULL, capture_output=True, text=True, cwd=ROOT
    )
    assert done.returncode == Exit.DONE, done.stderr[-2000:]
    assert all(json.loads(line)["kind"] for line in done.stdout.splitlines())
    assert json.loads(done.stdout.splitlines()[-1])["kind"] == "done"


def test_the_end_of_its_input_ends_it_at_once(start, tmp_path, base, data):
    process = start(toys.spec_for(tmp_path, base, data, settings=LONG))
    messages_until(process, "point")
    process.stdin.close()
    assert process.wait(PATIENCE_S) == Exit.STOPPED


def test_it_stops_by_itself_when_nobody_renews_the_lease(start, tmp_path, base, data):
    process = start(toys.spec_for(tmp_path, base, data, settings=LONG, lease_s=600))
    messages_until(process, "point")
    tell(process, renew=0.2)
    assert process.wait(PATIENCE_S) == Exit.STOPPED


def test_sigterm_leaves_a_checkpoint_and_one_exit_status(start, tmp_path, base, data):
    process = start(toys.spec_for(tmp_path, base, data, settings=LONG))
    messages_until(process, "point")
    for _again in range(5):
        process.send_signal(signal.SIGTERM)
    assert messages_until(process, "stopped")["wish"] == "pause"
    assert process.wait(PATIENCE_S) == Exit.STOPPED


def test_it_goes_away_when_its_supervisor_is_killed(tmp_path, base, data):
    """The pipe's other end stays open in this test's process, so only the death signal can do it."""
    (tmp_path / "spec.json").write_text(toys.spec_for(tmp_path, base, data, settings=LONG).to_json())
    reading, writing = os.pipe()
    code = f"import subprocess; p = subprocess.Popen({[*TRAINER, str(tmp_path / 'spec.json')]!r}, stdin={reading}); print(p.pid, flush=True); p.wait()"
    supervisor = subprocess.Popen([sys.executable, "-c", code], pass_fds=[reading], stdout=subprocess.PIPE, text=True, cwd=ROOT)
    try:
        trainer = psutil.Process(int(supervisor.stdout.readline()))
        assert any('"point"' in line for line in iter(supervisor.stdout.readline, ""))
        supervisor.kill()
        supervisor.wait()
        gone, _alive = psutil.wait_procs([trainer], timeout=PATIENCE_S)
        assert gone or trainer.status() == psutil.STATUS_ZOMBIE
    finally:
        supervisor.kill()
        os.close(reading)
        os.close(writing)


@pytest.mark.parametrize("how", ["pickle", "code"])
def test_a_hostile_base_model_is_refused_with_its_own_status(start, tmp_path, data, how):
    base = toys.base_model(tmp_path / "hostile")
    if how == "pickle":
        torch.save({"w": torch.zeros(2)}, base / "model.safetensors")
    else:
        config = json.loads((base / "config.json").read_text())
        (base / "config.json").write_text(json.dumps({**config, "auto_map": {"AutoModel": "evil.Evil"}}))
    process = start(toys.spec_for(tmp_path, base, data))
    said = [json.loads(line) for line in process.stdout]
    assert process.wait(PATIENCE_S) == Exit.UNSAFE_MODEL
    assert said[-1]["kind"] == "failed" and said[-1]["text"] and said[-1]["remedy"]


def test_a_setting_out_of_range_and_a_torn_spec_end_with_a_sentence(start, tmp_path, base, data):
    process = start(toys.spec_for(tmp_path, base, data, settings={"epochs": 0}))
    failed = json.loads(process.stdout.readline())
    assert process.wait(PATIENCE_S) == Exit.USER_DATA
    assert failed["code"] == "setting:epochs" and "Epochs" in failed["text"]


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (MemoryError(), Exit.OUT_OF_MEMORY),
        (torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB"), Exit.OUT_OF_MEMORY),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes"), Exit.OUT_OF_MEMORY),
        (OSError(28, "No space left on device"), Exit.DISK_FULL),
        (KeyError("x"), Exit.CRASHED),
    ],
)
def test_what_the_machine_throws_gets_a_cause_and_a_remedy(error, status):
    from worker.trainer.__main__ import _named

    trouble = _named(error)
    assert trouble.status is status and trouble.text.endswith((".", type(error).__name__)) and trouble.remedy


def test_a_warm_spare_reaches_its_first_point_quickly(start, tmp_path, base, data):
    process = start()
    messages_until(process, "spare")
    began = time.monotonic()
    process.stdin.write(toys.spec_for(tmp_path, base, data, settings=LONG).to_json() + "\n")
    process.stdin.flush()
    messages_until(process, "point")
    assert time.monotonic() - began < 3 * (1 + os.getloadavg()[0] / (os.cpu_count() or 1))
