"""Leases and fences in SQL. These tests also run on PostgreSQL (test_on_postgresql.py)."""

import socket
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import psutil
import pytest
import redis
from django.db import connection, transaction
from django.db.models import F, Q
from django.utils.timezone import now

from webapp import queue
from webapp.runs.models import Run
from webapp.work.agent import Agent
from webapp.work.models import Worker, WorkItem, boot_id, hence, sweep_workers

pytestmark = [pytest.mark.postgres, pytest.mark.django_db]
at_once = pytest.mark.django_db(transaction=True)  # threads with connections of their own need committed rows


@pytest.fixture
def hand(db):
    return Worker.register("data", ["data"])


def item(**more):
    return WorkItem.objects.create(kind="read_files", subject="01a20982-5f52-7cab-9596-a2059b413567", **more)


def in_threads(n, act):
    """`act` at the same moment in n threads, each with its own connection."""
    gate = threading.Barrier(n)

    def run(i):
        gate.wait()
        try:
            return act(i)
        finally:
            connection.close()

    with ThreadPoolExecutor(n) as pool:
        return list(pool.map(run, range(n)))


@at_once
def test_many_who_claim_at_once_get_each_thing_once(hand):
    for _ in range(5):
        item()
    got = [found.pk for found in in_threads(12, lambda i: WorkItem.claim(hand)) if found]
    assert len(got) == len(set(got))
    while left := WorkItem.claim(hand):
        got.append(left.pk)
    assert sorted(got) == sorted(WorkItem.objects.values_list("pk", flat=True))
    assert set(WorkItem.objects.values_list("fence", "attempts_total")) == {(1, 1)}


@at_once
def test_doubled_rings_for_one_run_open_one_attempt(submit, worker):
    run = submit()
    claims = [found for found in in_threads(10, lambda i: Run.claim(worker)) if found]
    assert claims == [run]
    assert run.attempts.count() == 1


def test_the_lease_is_measured_by_the_clock_of_the_database(hand, settings):
    settings.LEASE_TTL = 30
    item()
    held = WorkItem.claim(hand)
    left_s = (held.lease_until - now()).total_seconds()
    assert 25 < left_s < 31


def test_what_is_not_due_yet_is_left_alone(hand):
    waiting = item(state="retry_wait")
    WorkItem.objects.update(not_before=hence(30))
    assert WorkItem.claim(hand) is None
    WorkItem.objects.update(not_before=hence(-1))
    assert WorkItem.claim(hand) == waiting


def test_a_lease_that_is_renewed_is_not_swept_and_one_that_is_not_is(hand, settings):
    settings.LEASE_GRACE = 0
    item()
    held = WorkItem.claim(hand)
    assert WorkItem.sweep() == 0
    WorkItem.objects.update(lease_until=hence(-1))
    assert held.renew()
    assert WorkItem.sweep() == 0
    WorkItem.objects.update(lease_until=hence(-1))
    assert WorkItem.sweep() == 1
    held.refresh_from_db()
    assert (held.state, held.reason_code) == ("retry_wait", "lost")


@at_once
def test_any_number_of_sweepers_bury_a_thing_once(submit, worker, settings):
    settings.LEASE_GRACE = 0
    run = submit()
    Run.claim(worker)
    Run.objects.update(lease_until=hence(-1))
    assert sum(in_threads(6, lambda i: Run.sweep())) == 1
    run.refresh_from_db()
    assert (run.state, run.attempts_fruitless) == ("retry_wait", 1)
    assert run.attempts.get().outcome == "lost"


def test_whoever_was_thought_dead_can_enter_nothing_any_more(hand):
    item()
    zombie = WorkItem.claim(hand)
    assert zombie.bury(Q())
    WorkItem.objects.update(not_before=None)
    heir = WorkItem.claim(hand)
    assert (heir, heir.fence) == (zombie, 2)
    assert not zombie.renew()
    assert not zombie.succeed()
    assert not zombie.fail("no")
    assert not zombie.put_back()
    assert heir.succeed()
    assert WorkItem.objects.get().state == "succeeded"


def test_work_that_breaks_three_times_is_given_up(hand):
    item()
    for attempt in range(3):
        WorkItem.objects.update(not_before=None)
        assert WorkItem.claim(hand).try_again("It broke.")
        assert WorkItem.objects.get().state == ("retry_wait" if attempt < 2 else "failed")


def test_a_process_that_ended_is_buried_at_once(submit, db):
    """The fast path: on one machine nobody waits for a lease."""
    process = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
    theirs = Worker.register("train", ["train.cpu"])
    Worker.objects.filter(pk=theirs.pk).update(pid=process.pid, pid_started=psutil.Process(process.pid).create_time())
    run = submit()
    assert Run.claim(theirs)
    assert Run.sweep() == 0
    process.kill()
    process.wait()
    assert Run.sweep() == 1
    run.refresh_from_db()
    assert run.state == "retry_wait"
    sweep_workers()
    assert not Worker.objects.filter(pk=theirs.pk).exists()


def test_any_worker_of_the_machine_buries_what_a_dead_one_of_another_kind_held(submit, hand):
    process = subprocess.Popen([sys.executable, "-c", ""])
    theirs = Worker.register("train", ["train.cpu"])
    run = submit()
    assert Run.claim(theirs)
    process.wait()
    Worker.objects.filter(pk=theirs.pk).update(pid=process.pid)
    Agent(hand, [WorkItem], lambda _item: None, lambda: None).tend()
    run.refresh_from_db()
    assert (run.state, run.attempts.get().outcome) == ("retry_wait", "lost")
    assert not Worker.objects.filter(pk=theirs.pk).exists()


@at_once
def test_a_worker_that_leaves_is_not_entered_again(hand):
    agent = Agent(hand, [WorkItem], lambda _item: None, lambda: None)
    beaten, beat = threading.Event(), hand.beat

    def slow_beat():
        beaten.set()
        time.sleep(0.3)
        return beat()

    hand.beat = slow_beat
    agent.start()
    assert beaten.wait(5)
    agent.leave()
    time.sleep(0.5)
    assert not Worker.objects.filter(pk=hand.pk).exists()


@at_once
def test_a_worker_that_must_leave_its_run_behind_stays_entered_until_it_is_found_dead(submit, worker):
    submit()
    hold, held = threading.Event(), threading.Event()

    def do(run):
        held.set()
        hold.wait(5)

    agent = Agent(worker, [Run], do, lambda: None)
    agent.start()
    assert held.wait(5)
    agent.leave(limit_s=0.2)
    assert Run.objects.get().lease_owner == worker
    hold.set()


def test_a_process_number_that_is_used_again_names_another_process(db):
    worker = Worker.register("data", ["data"])
    assert not worker.is_gone
    worker.pid_started -= 100
    assert worker.is_gone
    worker.boot_id = "another boot"
    assert not worker.is_gone  # of other machines and boots we know nothing
    assert boot_id()


def test_a_worker_that_is_silent_is_not_counted_as_listening(hand):
    assert list(Worker.listening("data")) == [hand]
    assert not Worker.listening("train.cpu").exists()
    Worker.objects.update(last_seen=hence(-3600))
    assert not Worker.listening("data").exists()
    assert hand.beat()
    assert Worker.listening("data").exists()


def test_a_broker_that_accepts_and_says_nothing_holds_nobody_up(settings, monkeypatch):
    with socket.create_server(("127.0.0.1", 0)) as frozen:
        settings.REDIS_URL = f"redis://127.0.0.1:{frozen.getsockname()[1]}/0"
        ours = queue.app
        monkeypatch.setattr(queue, "app", queue.make_app())
        ours.set_current()  # the last one made would be everybody's
        began = time.monotonic()
        queue.ring(queue.TRAIN_CPU, queue.TRAIN_GPU)
        assert time.monotonic() - began < 5


def test_a_claim_that_is_rolled_back_leaves_nothing(submit, worker):
    run = submit()
    with transaction.atomic():
        assert Run.claim(worker)
        transaction.set_rollback(True)
    assert not run.attempts.exists()
    assert Run.claim(worker).fence == 1


@at_once
def test_fifty_identical_requests_at_once_start_one_run(submit):
    runs = in_threads(50 if connection.vendor == "postgresql" else 20, lambda i: submit(idempotency_key="k", request_hash="h"))
    assert len({run.pk for run in runs}) == 1
    assert Run.objects.count() == 1


@at_once
def test_frames_of_many_runs_written_at_once_all_arrive(submit, worker):
    """Writers on one database wait for each other, none fails."""
    for _ in range(6):
        submit()
    attempts = []
    while claimed := Run.claim(worker):
        attempts.append(claimed.attempts.get())
    for attempt in attempts:
        attempt.ready(100, 0)

    def write(i):
        for step in range(1, 31):
            attempts[i].record([{"step": step, "epoch": 0.1, "time": 1.0, "values": {"loss": 1.0}}], [])

    in_threads(6, write)
    assert all(attempt.run.chunks.count() == 30 for attempt in attempts)
    assert Run.objects.filter(step=30).count() == 6
    assert Run.objects.filter(fence=F("attempts_total")).count() == 6


def test_a_ring_lies_in_the_queue_of_those_who_listen(settings):
    with redis.Redis.from_url(settings.REDIS_URL) as broker:
        before = broker.llen("tunebench:" + queue.TRAIN_GPU)
        queue.ring(queue.TRAIN_GPU)
        assert broker.llen("tunebench:" + queue.TRAIN_GPU) == before + 1
