"""One attempt, attended: what the trainer says is written down, what people want reaches it, every end is named."""

import threading
import time
from pathlib import Path

import pytest
from django.db import connection

from tests.worker.conftest import dumped
from webapp.runs import cursor, states
from webapp.runs.models import Run
from worker import supervisor
from worker.nlp import TASKS
from worker.nlp.recipe import read_settings
from worker.supervisor import attend

pytestmark = pytest.mark.django_db(transaction=True)


def steps_of(run):
    return [point["step"] for point in cursor.read(run).points]


def test_a_run_goes_from_the_queue_to_a_model(attended):
    run = attended(steps=20)
    assert (run.state, run.reason, run.step, run.steps) == ("succeeded", "", 20, 20)
    assert run.metrics["macro_f1"] == 0.9
    assert (run.result.task, run.result.labels, run.result.parent, run.result.team) == (
        "classification",
        ["bad", "good"],
        run.base,
        run.team,
    )
    assert steps_of(run) == list(range(1, 21))
    attempt = run.attempts.get()
    assert (attempt.outcome, attempt.exit_code, attempt.last_step) == ("succeeded", 0, 20)
    assert run.finished_at is not None and run.lease_until is None


def test_a_trainer_that_dies_goes_on_from_its_last_checkpoint_with_each_step_once(attended):
    run = attended(steps=20, every=5, crash_at=13, once=True)
    assert (run.state, run.reason_code, run.attempts_fruitless) == ("retry_wait", "crash", 0)
    assert run.not_before is not None
    assert run.attempts.get().signal == 9
    run = attended(run)
    assert run.state == "succeeded"
    assert run.attempts.get(fence=2).resumed_step == 10
    assert steps_of(run) == list(range(1, 21))


def test_three_attempts_without_a_checkpoint_are_enough(attended):
    run = attended(every=100, crash_at=3, crash_by=1)
    attended(run)
    run = attended(run)
    assert (run.state, run.reason_code, run.attempts_total) == ("failed", "crash_loop", 3)
    assert "It went wrong. Do it better." in run.why


def test_what_people_must_mend_is_not_tried_again(attended):
    run = attended(crash_at=2, crash_by=42)
    assert (run.state, run.reason_code, run.why) == ("failed", "user_data", "It went wrong. Do it better.")


def test_memory_running_out_splits_the_batch_and_counts_no_attempt_as_fruitless(attended, tmp_path):
    run = attended(crash_at=2, crash_by=43, once=True, dump=str(tmp_path / "dump"))
    assert (run.state, run.oom_replans, run.attempts_fruitless) == ("retry_wait", 1, 0)
    before = dumped(tmp_path / "dump")["spec"]["settings"]
    run = attended(run)
    after = dumped(tmp_path / "dump")["spec"]["settings"]
    assert after["accumulation"] == 2 * before.get("accumulation", 1)
    assert run.state == "succeeded"


def test_where_a_gpu_forbids_limits_a_trainer_that_takes_too_much_is_ended_and_that_is_no_crash(attended, settings, monkeypatch):
    monkeypatch.setattr(supervisor.machine, "gpus", lambda: [{"name": "a GPU", "memory_mb": 80_000}])
    settings.TRAIN_MEMORY = 1
    run = attended(steps=2000)
    assert run.reason_code == "out_of_memory" and run.why.startswith("Ran out of memory.")


def test_a_trainer_that_the_kernel_took_for_want_of_memory_splits_its_batch(attended, monkeypatch):
    counts = iter([4, 5])  # of the kernel: at the start of the trainer, and after its end
    monkeypatch.setattr(supervisor.machine, "kernel_kills", lambda: next(counts))
    run = attended(steps=20, crash_at=13, once=True)
    assert (run.state, run.reason_code, run.oom_replans, run.attempts_fruitless) == ("retry_wait", "out_of_memory", 1, 0)


def test_parts_of_a_batch_never_pass_what_the_trainer_takes(queued):
    run = queued()
    run.settings["accumulation"], run.oom_replans = 64, 4
    settings = supervisor.spec_of(run).settings
    assert read_settings(TASKS["classification"].settings, {"accumulation": settings["accumulation"]}, "full")["accumulation"] == 256


def test_a_value_that_is_no_number_is_left_out_of_the_curve(attended):
    run = attended(steps=8, nan_at=4)
    assert run.state == "succeeded"
    assert steps_of(run) == list(range(1, 9))
    assert not any("eval_loss" in p["values"] for p in cursor.read(run).points)


def test_a_full_disk_makes_the_run_wait(attended):
    run = attended(crash_at=2, crash_by=44)
    assert (run.state, run.reason_code, run.attempts_fruitless) == ("retry_wait", "disk_full", 0)


def test_a_damaged_checkpoint_is_passed_over_for_the_one_before(attended):
    run = attended(steps=20, every=5, crash_at=13, once=True)
    assert run.last_checkpoint.step == 10
    (Path(run.last_checkpoint.path) / "manifest.json").unlink()
    run = attended(run)
    assert (run.state, run.reason_code, run.attempts_fruitless, run.not_before) == ("retry_wait", "damaged", 0, None)
    assert (run.last_checkpoint.step, run.checkpoints.get(step=10).state) == (5, "damaged")
    run = attended(run)
    assert run.state == "succeeded"
    assert run.attempts.get(fence=3).resumed_step == 5
    assert steps_of(run) == list(range(1, 21))


def test_without_any_whole_checkpoint_the_run_begins_anew(attended):
    run = attended(steps=20, every=10, crash_at=13, once=True)
    (Path(run.last_checkpoint.path) / "manifest.json").unlink()
    run = attended(attended(run))
    assert run.state == "succeeded"
    assert steps_of(run) == list(range(1, 21))


def checkpoints_on_disk(run):
    return sorted(f"{path.parts[-3]}/{path.name}" for path in run.folder.glob("*/checkpoints/*"))


def test_what_a_dead_attempt_left_half_done_is_cleared_away_and_what_is_committed_is_kept(attended):
    run = attended(steps=20, every=5, crash_at=13, once=True)
    half_done = run.folder / "1" / "checkpoints" / ".15.tmp"
    uncommitted = run.folder / "1" / "checkpoints" / "15"
    draft = run.folder / ".model.1.tmp"
    for folder in (half_done, uncommitted, draft):
        folder.mkdir()
    theirs = run.folder / "7" / "checkpoints" / ".1.tmp"  # somebody whom we do not know yet
    theirs.mkdir(parents=True)
    run.clear_away()
    assert checkpoints_on_disk(run) == ["1/10", "1/5", "7/.1.tmp"]
    assert not draft.exists()


def test_the_working_attempt_is_left_alone(queued, worker):
    run = queued()
    claimed = Run.claim(worker)
    mine = run.folder / "1" / "checkpoints" / ".5.tmp"
    mine.mkdir(parents=True)
    claimed.clear_away()
    assert mine.exists()


def test_a_run_that_became_a_model_keeps_no_checkpoints_and_one_that_failed_does(attended):
    run = attended(steps=20)
    assert (run.state, checkpoints_on_disk(run)) == ("succeeded", [])
    assert (run.folder / "model").exists()
    run = attended(steps=20, every=5, crash_at=13, crash_by=42)
    assert (run.state, checkpoints_on_disk(run)) == ("failed", ["1/10", "1/5"])


def test_a_run_that_is_cancelled_while_nobody_works_on_it_is_cleared_by_the_next_idle_worker(attended):
    run = attended(steps=20, every=5, crash_at=13)
    assert run.state == "retry_wait" and run.cancel()
    assert checkpoints_on_disk(run) == ["1/10", "1/5"]
    Run.clear_ended()
    assert checkpoints_on_disk(run) == []
    assert not run.checkpoints.filter(state="committed").exists()


def later(seconds, act):
    def wait_and_act():
        time.sleep(seconds)
        act()
        connection.close()

    thread = threading.Thread(target=wait_and_act)
    thread.start()
    return thread


def test_a_cancelled_run_stops_within_a_second(attended, queued):
    run = queued(steps=2000)
    asked = []
    thread = later(0.7, lambda: (Run.objects.get(pk=run.pk).cancel(), asked.append(time.monotonic())))
    run = attended(run)
    took = time.monotonic() - asked[0]
    thread.join()
    assert run.state == "cancelled"
    assert took < 2
    assert run.attempts.get().outcome == "cancelled"


def test_a_trainer_that_does_not_listen_is_killed_within_15_seconds(attended, queued):
    run, asked = queued(steps=200_000, deaf=True), []
    thread = later(0.5, lambda: (Run.objects.get(pk=run.pk).cancel(), asked.append(time.monotonic())))
    run = attended(run)
    thread.join()
    assert run.state == "cancelled"
    assert time.monotonic() - asked[0] < 15


def test_finishing_early_keeps_what_was_learned(attended, queued):
    run = queued(steps=2000)
    thread = later(0.7, lambda: Run.objects.get(pk=run.pk).finish())
    run = attended(run)
    thread.join()
    assert run.state == "succeeded"
    assert 0 < run.step < 2000
    assert run.result is not None


def test_a_pause_keeps_a_checkpoint_and_resuming_goes_on_from_it(attended, queued):
    run = queued(steps=100, step_s=0.02, every=1000)
    thread = later(0.7, lambda: Run.objects.get(pk=run.pk).pause())
    run = attended(run)
    thread.join()
    assert run.state == "paused"
    assert run.last_checkpoint.step == run.step > 0
    assert run.resume()
    run = attended(run)
    assert run.state == "succeeded"
    assert steps_of(run) == list(range(1, 101))


def test_a_leaving_worker_puts_its_run_back_uncounted(attended, queued, leaving):
    run = queued(steps=100, step_s=0.02, every=1000)
    thread = later(0.7, leaving.set)
    run = attended(run)
    thread.join()
    assert (run.state, run.attempts_total, run.attempts_fruitless, run.desired) == ("queued", 0, 0, "run")
    assert run.last_checkpoint.step == run.step > 0
    leaving.clear()
    run = attended(run)
    assert run.state == "succeeded"
    assert steps_of(run) == list(range(1, 101))


def test_a_trainer_that_hangs_is_noticed(attended, monkeypatch):
    monkeypatch.setattr(states, "LEAST_STALL_S", 0.8)
    run = attended(steps=20, hang_at=7, once=True)
    assert (run.state, run.reason_code) == ("retry_wait", "stalled")
    assert attended(run).state == "succeeded"


def test_a_supervisor_whose_lease_was_taken_kills_its_trainer_and_writes_nothing_more(queued, worker, spares, leaving, monkeypatch):
    run = queued(steps=2000)
    claimed = Run.claim(worker)
    pids = []
    monkeypatch.setattr(type(spares), "take", lambda self, spec, take=type(spares).take: pids.append(take(self, spec)) or pids[-1])

    def taken_over():
        Run.objects.filter(pk=run.pk).update(fence=2, state="running")

    thread = later(0.7, taken_over)
    attend(claimed, spares, leaving)
    thread.join()
    assert not pids[0].is_alive
    chunks = run.chunks.count()
    assert not run.chunks.filter(fence=2).exists()
    time.sleep(0.4)
    assert run.chunks.count() == chunks
    run.refresh_from_db()
    assert (run.state, run.fence) == ("running", 2)


def test_caching_is_shown_as_progress_and_noise_is_survived(attended, monkeypatch):
    seen = []
    monkeypatch.setattr("webapp.live.announce", lambda stream, frame: seen.append(frame))
    run = attended(caching=3, noise=True)
    assert run.state == "succeeded"
    assert {"what": "caching", "done": 3, "total": 3} in [f.get("progress") for f in seen if f["type"] == "state"]
    kinds = [frame["type"] for frame in seen]
    assert kinds.index("cut") < kinds.index("points")
    assert [f["seq"] for f in seen if f["type"] == "points"] == list(range(1, kinds.count("points") + 1))


def test_a_trainer_knows_no_secret(attended, tmp_path, monkeypatch):
    for name in ("SECRET_KEY", "DATABASE_URL", "REDIS_URL", "HF_TOKEN", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, f"canary-{name}")
    run = attended(dump=str(tmp_path / "dump"))
    assert run.state == "succeeded"
    environ = dumped(tmp_path / "dump")["environ"]
    assert "canary" not in str(environ)
    assert "TUNEBENCH_HOME" not in environ
    assert environ["HF_HUB_OFFLINE"] == "1"


def test_a_database_that_is_away_for_a_moment_costs_no_point(attended, monkeypatch):
    from django.db import OperationalError

    from webapp.runs.models import Attempt

    real, calls = Attempt.record, []

    def sometimes(self, *args, **kwargs):
        calls.append(1)
        if len(calls) in (2, 3, 5):
            if len(calls) == 5:
                real(self, *args, **kwargs)  # committed, but the answer was lost
                self.seq -= 1
            raise OperationalError("gone away")
        return real(self, *args, **kwargs)

    monkeypatch.setattr(Attempt, "record", sometimes)
    run = attended(steps=150)
    assert len(calls) > 5
    assert run.state == "succeeded"
    assert steps_of(run) == list(range(1, 151))
