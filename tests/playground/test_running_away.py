"""A model whose tokenizer never comes back, with everything real: what it costs whoever asked it, and not its neighbours."""

import asyncio
import json
import shutil
import sys
import time

import pytest
from asgiref.sync import sync_to_async

from tests.playground.conftest import Relay, eventually, serves
from webapp.catalog.models import ModelVersion
from webapp.playground import line
from webapp.playground.models import Prediction

GOOD = {"text": "it works well"}
BOMB = {"text": ("a" * 29 + "! ") * 600}
STALL_S = 40  # in the product it takes up to 90 s until a process that is stuck is ended
pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def relay(transactional_db, one_relay):
    """A relay of its own, that need not be as patient as the product's."""
    if one_relay[0].process.poll() is None:
        one_relay[0].end()
    relay = Relay([sys.executable, "-m", "tests.worker.toy_task", "relay", str(STALL_S)])
    eventually(serves)
    yield relay
    relay.end()


@pytest.fixture
def runaway(model, folders, tmp_path):
    """In whose tokenizer a pattern takes twice as long for each letter, and just stays below the limit of the engine."""
    odd = shutil.copytree(folders["model"], tmp_path / "runaway")
    tokenizer = json.loads((odd / "tokenizer.json").read_text())
    tokenizer["pre_tokenizer"] = {"type": "Split", "pattern": {"Regex": r"(a|aa)+$"}, "behavior": "Isolated", "invert": False}
    (odd / "tokenizer.json").write_text(json.dumps(tokenizer))
    return ModelVersion.objects.create(
        name="runaway", kind="run", team=model.team, folder=str(odd), task="classification", labels=model.labels
    )


def ask(actor, model, inputs=None):
    async def asking():
        prediction = await sync_to_async(Prediction.ask)(actor, model, inputs or GOOD)
        return await prediction.answered(60)

    return asyncio.run(asking())


def outcome(prediction):
    return Prediction.objects.exclude(state="queued").filter(pk=prediction.pk).first()


def imported(process):
    """Whether it has done what takes the seconds of a start."""
    return any("libtorch_cpu" in mapped.path for mapped in process.memory_maps()) and process.cpu_percent(0.2) < 5


@pytest.fixture
def spare(relay, actor, model):
    """The process that waits behind the one that answers."""
    assert ask(actor, model)["type"] == "answer"
    eventually(lambda: len(relay.children()) == 2)
    spare = relay.children()[1]
    eventually(lambda: imported(spare))
    return spare


def test_a_model_that_runs_away_holds_up_its_own_questions_only(relay, actor, model, runaway, spare):
    child = relay.serving()
    lost = Prediction.ask(actor, runaway, BOMB)
    time.sleep(0.5)  # the next one must not come before the bomb
    began = time.monotonic()
    assert ask(actor, model)["type"] == "answer"
    took = time.monotonic() - began
    print(f"a neighbour was answered in {took:.1f} s")
    assert took < STALL_S / 4  # calm 3 s, and a loaded machine gets its time
    also_lost = Prediction.ask(actor, runaway, GOOD)  # is not given to the spare, too
    assert ask(actor, model)["type"] == "answer"
    assert relay.children() == [child, spare] and not outcome(lost)  # who waited has answered, and all that while it was lost
    for each in (lost, also_lost):
        assert "far too long" in eventually(lambda each=each: outcome(each), 60).reason
    assert not child.is_running() and relay.serving() == spare  # who answered for it stays
    assert ask(actor, model)["type"] == "answer"
    assert ask(actor, runaway)["type"] == "answer"  # a text that its tokenizer can read


def test_a_runaway_for_which_nobody_waits_any_more_is_ended(relay, actor, model, runaway, spare):
    child = relay.serving()
    lost = Prediction.ask(actor, runaway, BOMB)
    time.sleep(3)
    waiting = Prediction.ask(actor, model, GOOD)
    lost.cancel()
    eventually(lambda: not child.is_running(), STALL_S / 2)
    assert eventually(lambda: outcome(waiting)).state == "done" and outcome(lost).state == "cancelled"
    eventually(lambda: line.waiting() == 0)
