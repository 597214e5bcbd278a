"""Whatever is killed, frozen, flushed or doubled: an accepted run ends by itself, and each step stands once in its curve."""

import os
import signal
import time

import psutil
import pytest
import redis
from django.conf import settings

from tests.chaos.conftest import until
from webapp import queue
from webapp.runs import cursor
from webapp.runs.models import Run
from webapp.work.models import Worker, WorkItem

pytestmark = [pytest.mark.chaos, pytest.mark.django_db(transaction=True), pytest.mark.timeout(150)]


def fresh(run):
    return Run.objects.get(pk=run.pk)


def reaches(run, step):
    return until(lambda: fresh(run).step >= step)


def succeeds(run, steps, limit_s=60):
    until(lambda: fresh(run).is_over, limit_s)
    run = fresh(run)
    assert run.state == "succeeded", (run.state, run.reason)
    assert [point["step"] for point in cursor.read(run).points] == list(range(1, steps + 1))
    assert run.result is not None
    return run


def open_pid(run):
    return until(lambda: run.attempts.filter(ended_at=None).values_list("pid", flat=True).first())


def test_doubled_rings_lead_to_one_attempt(start, queued):
    start("train")
    until(lambda: Worker.listening("train.cpu").exists())
    run = queued(steps=60, step_s=0.02)
    for _ in range(10):
        queue.ring(queue.TRAIN_CPU)
        time.sleep(0.05)
    run = succeeds(run, 60)
    assert (run.attempts_total, run.attempts.count()) == (1, 1)


def test_without_any_message_the_poll_of_the_agent_starts_the_run(start, queued, monkeypatch):
    start("train", REDIS_URL="unix:///nowhere/redis.sock")  # a broker that never answers
    succeeds(queued(steps=10), 10)


def test_a_redis_that_is_flushed_midway_costs_nothing(start, queued):
    start("train")
    runs = [queued(steps=40, step_s=0.02) for _ in range(2)]
    reaches(runs[0], 10)
    client = redis.Redis.from_url(settings.REDIS_URL)
    for _ in range(5):
        client.flushall()
        time.sleep(0.1)
    for run in runs:
        succeeds(run, 40)
        assert run.attempts.count() == 1


def test_a_killed_trainer_goes_on_from_its_checkpoint(start, queued):
    start("train")
    run = queued(steps=60, step_s=0.04, every=5)
    reaches(run, 12)
    os.kill(open_pid(run), signal.SIGKILL)
    run = succeeds(run, 60)
    assert [a.outcome for a in run.attempts.order_by("fence")] == ["crash", "succeeded"]
    assert run.attempts.get(fence=2).resumed_step >= 10


def test_a_killed_worker_takes_its_trainer_along_and_the_next_one_goes_on(start, queued):
    first = start("train")
    run = queued(steps=80, step_s=0.04, every=5)
    reaches(run, 12)
    pid = open_pid(run)
    first.kill()
    killed_at = time.monotonic()
    until(lambda: not psutil.pid_exists(pid) or psutil.Process(pid).status() == psutil.STATUS_ZOMBIE, 5)
    assert time.monotonic() - killed_at < 4
    start("train")
    run = succeeds(run, 80)
    assert [a.outcome for a in run.attempts.order_by("fence")] == ["lost", "succeeded"]
    assert run.attempts.get(fence=2).resumed_step >= 10


def test_a_killed_web_does_not_touch_a_run(start, queued):
    web = start("web")
    start("train")
    run = queued(steps=60, step_s=0.04)
    reaches(run, 12)
    web.kill()
    start("web")
    run = succeeds(run, 60)
    assert run.attempts.count() == 1


def test_a_worker_that_is_stopped_in_order_puts_its_run_back_and_loses_no_step(start, queued):
    first = start("train")
    run = queued(steps=80, step_s=0.04, every=1000)
    reaches(run, 12)
    assert first.stop() == 0
    put_back = fresh(run)
    assert (put_back.state, put_back.attempts_total) == ("queued", 0)
    assert put_back.last_checkpoint.step == put_back.step >= 12
    assert not Worker.objects.filter(kind="train").exists()
    start("train")
    run = succeeds(run, 80)
    assert run.attempts.get(fence=2).resumed_step == put_back.step


def test_a_worker_that_froze_and_comes_back_writes_nothing(start, queued):
    """The lease of the tests is six seconds; supervisor and trainer sleep longer than that."""
    zombie = start("train")
    run = queued(steps=400, step_s=0.03, every=5)
    reaches(run, 12)
    trainers = zombie.trainers()
    for process in trainers:
        process.suspend()
    zombie.signal(signal.SIGSTOP)
    start("train")
    until(lambda: fresh(run).fence == 2 and fresh(run).state == "running", 100)
    held = run.chunks.filter(fence=1).count(), run.checkpoints.filter(fence=1).count()
    for process in trainers:
        process.resume()
    zombie.signal(signal.SIGCONT)
    until(
        lambda: not any(p.is_running() and p.status() != psutil.STATUS_ZOMBIE for p in trainers if p.pid == run.attempts.get(fence=1).pid),
        20,
    )
    time.sleep(1)
    assert (run.chunks.filter(fence=1).count(), run.checkpoints.filter(fence=1).count()) == held
    run = succeeds(run, 400)
    assert run.attempts.get(fence=1).outcome == "lost"


class Canary:
    """Touches a file when it is unpickled."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.mknod, (self.path,)


def test_a_pickled_message_is_refused_and_the_worker_lives(start, tmp_path):
    canary, client = tmp_path / "canary", redis.Redis.from_url(settings.REDIS_URL)
    worker = start("data")
    until(lambda: Worker.listening(queue.DATA).exists())
    queue.app.send_task(queue.RING, args=[Canary(str(canary))], queue=queue.DATA, serializer="pickle")
    until(lambda: client.llen(f"tunebench:{queue.DATA}") == 0)
    item = WorkItem.objects.create(kind="baselines", subject="01a20982-5f52-7cab-9596-a2059b413567")
    until(lambda: WorkItem.objects.get(pk=item.pk).attempts_total)
    assert worker.process.poll() is None
    assert not canary.exists()


def test_short_work_that_breaks_is_tried_three_times_and_says_so(start):
    item = WorkItem.objects.create(kind="baselines", subject="01a20982-5f52-7cab-9596-a2059b413567")  # of a version that is gone
    start("data")
    until(lambda: WorkItem.objects.get(pk=item.pk).state == "failed", 40)
    item.refresh_from_db()
    assert item.attempts_total == 3
    assert "worker's log" in item.reason
