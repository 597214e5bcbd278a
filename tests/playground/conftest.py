"""A model of Alice's to ask, and the real relay with its serving process."""

import os
import pathlib
import signal
import subprocess
import sys
import time

import pytest
from django.conf import settings

from tests.worker.tiny import LABELS, tiny_base, tiny_classifier
from webapp.catalog.models import ModelVersion
from webapp.people.access import actor_of
from webapp.playground import line
from webapp.work.models import Worker


@pytest.fixture(scope="session")
def folders(tmp_path_factory):
    home = tmp_path_factory.mktemp("asked")
    return {"model": tiny_classifier(home / "model"), "base": tiny_base(home / "base")}


@pytest.fixture
def model(team, alice, folders):
    base = ModelVersion.objects.create(name="tiny base", kind="folder", team=team, folder=str(folders["base"]))
    return ModelVersion.trained(
        team, alice, "reviews-1", folders["model"], "classification", LABELS, base, {"macro_f1": 0.75}, 1000, "ab" * 32
    )


@pytest.fixture
def actor(alice):
    return actor_of(alice)


class Relay:
    """python -m worker.relay on the database and the Redis of the tests."""

    def __init__(self, command=(sys.executable, "-m", "worker.relay")):
        database = settings.DATABASES["default"]["NAME"]
        environment = os.environ | {"DATABASE_URL": f"sqlite:///{database}", "DJANGO_SETTINGS_MODULE": "webapp.settings"}
        self.log = pathlib.Path(settings.HOME) / "relay.log"
        with self.log.open("ab") as log:
            self.process = subprocess.Popen([*command], env=environment, cwd=settings.ROOT, stderr=log, stdout=log)

    def children(self):
        import psutil

        return sorted(psutil.Process(self.process.pid).children(), key=lambda child: child.create_time())

    def serving(self):
        """The process that answers: the spare that waits behind it is younger."""
        return self.children()[0]

    def kill(self):
        self.process.kill()
        self.process.wait()

    def end(self):
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(20)


def eventually(true, seconds=30):
    """Wait until `true()` is; a loaded machine gets its time."""
    deadline = time.monotonic() + seconds
    while not (found := true()):
        assert time.monotonic() < deadline, "it did not happen"
        time.sleep(0.05)
    return found


def serves():
    return Worker.listening().filter(kind="serve").exists()


RELAYS = []  # one for all test modules that import these fixtures: two would take each other's questions


@pytest.fixture(scope="session")
def one_relay(django_db_setup):
    if not RELAYS:
        RELAYS.append(Relay())
    yield RELAYS
    if RELAYS[0].process.poll() is None:
        RELAYS[0].end()


@pytest.fixture
def relay(transactional_db, one_relay):
    """The relay of this session, heard of in the database of this test; another one if a test has ended it."""
    if one_relay[0].process.poll() is not None:
        one_relay[0] = Relay()
    eventually(serves)
    return one_relay[0]


@pytest.fixture
def listening(db):
    """A serve worker by its row alone: questions are taken, nobody answers them."""
    line.line().delete(line.STREAM)
    yield Worker.register("serve", [line.STREAM])
    line.line().delete(line.STREAM)
