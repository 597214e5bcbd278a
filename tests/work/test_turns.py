"""Whose turn it is: slow files of one team and slow downloads hold up nobody else."""

import threading
import time
import uuid

import pytest
from django.db import connection, transaction

from webapp.work.agent import Agent
from webapp.work.models import Worker, WorkItem
from worker.tasks import lanes

pytestmark = [pytest.mark.postgres, pytest.mark.django_db(transaction=True)]
OURS, THEIRS = uuid.uuid4(), uuid.uuid4()


def item(team, kind="read_files"):
    return WorkItem.add(kind, uuid.uuid4(), team=team)


@pytest.fixture
def at_work():
    """at_work(): an agent whose items last until `release`, and are noted in `begun`."""
    begun, release, agents = [], threading.Event(), []

    def do(thing):
        begun.append(thing.pk)
        release.wait(20)
        thing.succeed()

    def start():
        agents.append(Agent(Worker.register("data", ["data"]), [WorkItem], do, lambda: None, lanes()))
        agents[0].start()
        return begun, release, agents[0]

    yield start
    release.set()
    for agent in agents:
        agent.leave(5)


def until(true, seconds=10):
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_slow_files_of_one_team_hold_up_no_other_team(at_work):
    slow = [item(OURS) for _ in range(6)]
    begun, release, agent = at_work()
    until(lambda: len(begun) == 1)
    theirs = item(THEIRS)
    agent.look()
    until(lambda: theirs.pk in begun)
    time.sleep(0.2)
    assert begun == [slow[0].pk, theirs.pk]
    release.set()
    until(lambda: len(begun) == 7)
    assert begun[2:] == [each.pk for each in slow[1:]]


def test_downloads_of_many_teams_hold_up_no_reading(at_work):
    for _ in range(8):
        item(uuid.uuid4(), "fetch_model")
    begun, _release, agent = at_work()
    until(lambda: len(begun) == 2)
    reading = item(THEIRS)
    agent.look()
    until(lambda: reading.pk in begun)
    time.sleep(0.2)
    assert len(begun) == 3


def test_a_worker_that_leaves_puts_all_that_it_held_back(at_work):
    ours, theirs = item(OURS), item(THEIRS)
    begun, _release, agent = at_work()
    until(lambda: len(begun) == 2)
    agent.leave(0.2)
    for each in (ours, theirs):
        each.refresh_from_db()
        assert (each.state, each.attempts_total) == ("queued", 0)


def test_two_workers_that_look_at_the_same_moment_keep_the_turns():
    first, second = (Worker.register("data", ["data"]) for _ in range(2))
    item(OURS), item(OURS)
    claimed = []

    def other():
        try:
            claimed.append(WorkItem.claim(second))
        finally:
            connection.close()

    thread = threading.Thread(target=other)
    with transaction.atomic():
        assert WorkItem.claim(first)
        thread.start()
        thread.join(1)  # the other one looks before it can see what the first has taken
    thread.join(20)
    assert claimed == [None] and WorkItem.objects.filter(state="running").count() == 1
