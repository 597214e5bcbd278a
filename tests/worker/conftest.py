"""Runs of Alice's, and a supervisor with the small trainer in place of the large one."""

import json
import sys
import threading
from pathlib import Path

import pytest
from django.db import transaction

from tests.runs.conftest import base, submit, version, worker  # noqa: F401

FAKE = [sys.executable, str(Path(__file__).parent / "fake_trainer.py")]


@pytest.fixture(autouse=True)
def gradients_again():
    """A serving process that is played in the tests' own thread switches gradients off for it."""
    yield
    if torch := sys.modules.get("torch"):
        torch.set_grad_enabled(True)


@pytest.fixture
def small_trainer(monkeypatch):
    from worker import process

    monkeypatch.setattr(process, "COMMAND", FAKE)


@pytest.fixture
def spares(small_trainer, monkeypatch):
    from worker.process import Spares

    spares = Spares()
    monkeypatch.setattr(spares, "warm", lambda: None)  # each test's process starts when it is needed
    yield spares
    spares.close()


@pytest.fixture
def leaving():
    return threading.Event()


@pytest.fixture
def queued(submit):  # noqa: F811
    """queued(steps=..., crash_at=...): a run whose trainer behaves so."""

    def queued(**fake):
        with transaction.atomic():  # no worker may see it before it is whole
            run = submit()
            run.settings |= {"fake": fake}
            run.save(update_fields=["settings"])
        return run

    return queued


@pytest.fixture
def attended(queued, worker, spares, leaving):  # noqa: F811
    """attended(**fake): the run after one attempt."""
    from webapp.runs.models import Run
    from worker.supervisor import attend

    def attended(run=None, **fake):
        run = run or queued(**fake)
        Run.objects.filter(pk=run.pk).update(not_before=None)
        claimed = Run.claim(worker)
        assert claimed == run
        attend(claimed, spares, leaving)
        run.refresh_from_db()
        return run

    return attended


def dumped(path):
    return json.loads(Path(path).read_text())
