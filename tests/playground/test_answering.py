"""From the question to the answer with everything real: Redis, SQL, the relay and the process that holds the models."""

import asyncio
import shutil

import pytest
from asgiref.sync import sync_to_async

from tests.playground.conftest import Relay, eventually, serves
from tests.worker.tiny import LABELS
from webapp.catalog.models import ModelVersion
from webapp.playground import line
from webapp.playground.models import Prediction
from webapp.work.models import Worker

GOOD = {"text": "it works well"}
pytestmark = pytest.mark.django_db(transaction=True)


def ask(actor, model, inputs=None, **more):
    """Ask and wait, as the API does."""

    async def asking():
        prediction = await sync_to_async(Prediction.ask)(actor, model, inputs or GOOD, **more)
        return prediction, await prediction.answered(40)

    return asyncio.run(asking())


def test_a_question_is_answered_and_written_down(relay, actor, model):
    prediction, frame = ask(actor, model)
    assert set(frame["answer"]["scores"]) == set(LABELS) and frame["latency_ms"] > 0
    eventually(lambda: Prediction.objects.get(pk=prediction.pk).state == "done")
    assert Prediction.objects.get(pk=prediction.pk).answer == frame["answer"]
    eventually(lambda: line.waiting() == 0)
    eventually(lambda: str(model.path) in Worker.warm_folders())
    assert 0 < line.line().ttl(prediction.stream) <= 60


def test_the_base_answers_for_comparison_and_a_list_gets_a_list(relay, actor, model):
    _, untuned = ask(actor, model, untuned=True)
    assert untuned["answer"]["label"] in LABELS
    _, many = ask(actor, model, [GOOD, {"text": "never again"}])
    assert len(many["answer"]) == 2


def test_100_people_at_once_all_get_their_own_answer(relay, actor, model):
    texts = ["good", "bad 👎🏽", "it works well", "never again"] * 25

    async def one(text):
        prediction = await sync_to_async(Prediction.ask, thread_sensitive=False)(actor, model, {"text": text})
        return text, (await prediction.answered(60))["answer"]["scores"]["negative"]

    async def together():
        return await asyncio.gather(*(one(text) for text in texts))

    found = {}
    for text, share in asyncio.run(together()):
        found.setdefault(text, []).append(share)
    assert all(len(shares) == 25 and max(shares) - min(shares) < 1e-4 for shares in found.values())
    assert len({round(shares[0], 4) for shares in found.values()}) == 4


def test_torn_weights_are_a_clear_answer_and_the_next_question_works(relay, actor, model, folders, tmp_path):
    torn = shutil.copytree(folders["model"], tmp_path / "torn")
    with (torn / "model.safetensors").open("r+b") as file:
        file.truncate(5000)
    broken = ModelVersion.objects.create(name="torn", kind="run", team=model.team, folder=str(torn), task="classification", labels=LABELS)
    prediction, frame = ask(actor, broken)
    assert frame["type"] == "failed" and "damaged or incomplete" in frame["reason"]
    eventually(lambda: Prediction.objects.get(pk=prediction.pk).state == "failed")
    assert ask(actor, model)[1]["type"] == "answer"


def test_a_killed_serving_process_is_told_and_replaced(relay, actor, model):
    ask(actor, model)
    child = relay.serving()
    child.suspend()  # so that the question is surely in its hands when it dies
    prediction = Prediction.ask(actor, model, GOOD)
    eventually(lambda: line.line().xpending(line.STREAM, line.GROUP)["pending"] == 1)
    child.kill()
    eventually(lambda: Prediction.objects.get(pk=prediction.pk).state == "failed")
    assert "starts again" in Prediction.objects.get(pk=prediction.pk).reason
    assert ask(actor, model)[1]["type"] == "answer"


def test_what_a_killed_relay_held_is_answered_by_the_next(relay, actor, model):
    ask(actor, model)
    child = relay.serving()
    child.suspend()
    prediction = Prediction.ask(actor, model, GOOD)
    eventually(lambda: line.line().xpending(line.STREAM, line.GROUP)["pending"] == 1)
    relay.kill()
    eventually(lambda: not child.is_running() or child.status() == "zombie")  # it does not outlive its relay
    successor = Relay()
    try:
        eventually(lambda: Prediction.objects.get(pk=prediction.pk).state == "done")
    finally:
        assert successor.end() == 0


def test_a_relay_that_is_asked_to_stop_leaves_in_order(relay, actor, model):
    ask(actor, model)
    children = relay.children()
    assert relay.end() == 0
    assert not any(child.is_running() for child in children)
    assert not serves() and not Worker.objects.filter(kind="serve", pid=relay.process.pid).exists()


def test_a_question_that_waited_too_long_is_given_up(relay, actor, model):
    from datetime import timedelta

    from django.utils.timezone import now

    prediction = Prediction.objects.create(team=model.team, model=model, inputs=GOOD)
    Prediction.objects.filter(pk=prediction.pk).update(created_at=now() - timedelta(minutes=5))
    line.join(prediction.pk)
    line.line().xadd(line.STREAM, {"prediction": "not a key"})
    line.line().xadd(line.STREAM, {"nonsense": "1"})
    eventually(lambda: Prediction.objects.get(pk=prediction.pk).state == "failed")
    eventually(lambda: line.waiting() == 0)
