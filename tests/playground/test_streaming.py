"""An answer piece by piece with everything real: Redis, SQL, a relay and the process that writes."""

import asyncio
import json
import sys
from contextlib import aclosing

import pytest
from asgiref.sync import sync_to_async

from tests.playground.conftest import Relay, eventually
from tests.worker.toy_task import PARROT
from webapp.api.models import events
from webapp.playground import line
from webapp.playground.models import Prediction
from worker.nlp import TASKS

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def parrot(monkeypatch, model):
    monkeypatch.setitem(TASKS, "parrot", PARROT)
    model.task = "parrot"
    model.save()
    return model


@pytest.fixture
def relay(transactional_db, one_relay):
    """A relay that knows the parrot, alone with the questions of this test."""
    if one_relay[0].process.poll() is None:
        one_relay[0].end()
    relay = Relay([sys.executable, "-m", "tests.worker.toy_task", "relay"])
    eventually(lambda: serving_pid(relay))
    yield relay
    relay.end()


def serving_pid(relay):
    from webapp.work.models import Worker

    return Worker.listening().filter(kind="serve", pid=relay.process.pid).exists()


def ask(actor, model, prompt="one two three", **parameters):
    return sync_to_async(Prediction.ask)(actor, model, {"prompt": prompt}, parameters, stream=True)


def read(event):
    name, data = event.strip().split("\n")
    return name.removeprefix("event: "), json.loads(data.removeprefix("data: "))


def test_the_pieces_come_once_each_and_then_the_answer(relay, actor, parrot):
    async def all_of_it():
        prediction = await ask(actor, parrot, words=60, pause_ms=10)
        async with aclosing(events(prediction)) as said:
            return prediction, [read(event) async for event in said]

    prediction, found = asyncio.run(all_of_it())
    kinds = [kind for kind, _data in found]
    assert kinds[-1] == "answer" and kinds.count("piece") > 3
    answer = found[-1][1]
    assert "".join(data["text"] for kind, data in found if kind == "piece") == answer["text"] == " ".join(["one two three"] * 20)
    assert answer["id"] == str(prediction.pk) and answer["engine"] == "torch" and answer["latency_ms"] > 500
    eventually(lambda: Prediction.objects.get(pk=prediction.pk).state == "done")
    assert Prediction.objects.get(pk=prediction.pk).engine == "torch"


def test_who_disconnects_takes_the_question_back_and_the_next_one_is_free(relay, actor, parrot):
    async def leave_after_the_first_piece():
        prediction = await ask(actor, parrot, words=100_000, pause_ms=5)
        async with aclosing(events(prediction)) as said:
            async for event in said:
                if read(event)[0] == "piece":
                    return prediction

    prediction = asyncio.run(leave_after_the_first_piece())
    prediction.refresh_from_db()
    assert prediction.state == "cancelled" and prediction.reason
    eventually(lambda: line.waiting() == 0)  # the relay has let go
    heard = line.line().xlen(prediction.stream)
    asyncio.run(asyncio.sleep(0.5))
    assert line.line().xlen(prediction.stream) <= heard + 1


def test_a_cancelled_waiter_takes_the_question_back_too(relay, actor, parrot):
    """Django cancels a view whose client has gone."""

    async def give_up():
        prediction = await ask(actor, parrot, words=100_000, pause_ms=5)
        waiting = asyncio.create_task(prediction.answered())
        await asyncio.sleep(1)
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        return prediction

    prediction = asyncio.run(give_up())
    prediction.refresh_from_db()
    assert prediction.state == "cancelled"
    eventually(lambda: line.waiting() == 0)


def test_pieces_keep_a_waiter_patient(relay, actor, parrot):
    async def asking():
        prediction = await ask(actor, parrot, words=1)
        await prediction.answered()  # warm
        prediction = await ask(actor, parrot, words=150, pause_ms=20)
        return await prediction.answered(1)

    assert asyncio.run(asking())["type"] == "answer"


def test_a_model_that_is_stuck_is_told_and_replaced(relay, actor, parrot):
    async def asking(prompt):
        prediction = await ask(actor, parrot, prompt, words=3)
        return prediction, await prediction.answered(50)

    assert asyncio.run(asking("one two three"))[1]["type"] == "answer"
    asyncio.run(asyncio.sleep(1))  # the patience for the load is over when nothing is held
    prediction, frame = asyncio.run(asking("one freeze three"))
    assert frame["type"] == "failed" and "far too long" in frame["reason"]
    eventually(lambda: Prediction.objects.get(pk=prediction.pk).state == "failed")
    assert asyncio.run(asking("one two three"))[1]["type"] == "answer"
