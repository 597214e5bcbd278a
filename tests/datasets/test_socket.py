"""The socket of a dataset: state first, then frames; strangers hear nothing."""

import pytest
from channels.testing import WebsocketCommunicator
from django.contrib.auth.models import AnonymousUser

from tests.datasets.cast import version_of
from webapp import live
from webapp.datasets.consumers import NOT_FOUND, SIGNED_OUT, DatasetConsumer

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def dataset(alice):
    return version_of(alice, 10).dataset


def socket(user, dataset):
    talk = WebsocketCommunicator(DatasetConsumer.as_asgi(), f"/ws/datasets/{dataset.pk}")
    talk.scope |= {"user": user, "session": {}, "url_route": {"kwargs": {"pk": dataset.pk}}}
    return talk


async def test_vera_gets_the_state_and_then_every_frame(vera, dataset):
    talk = socket(vera, dataset)
    assert (await talk.connect())[0]
    assert await talk.receive_json_from(5) == {"type": "state", "state": "ready"}
    await live.aannounce(dataset.stream, {"type": "progress", "what": "reading", "done": 1, "total": 2})
    assert await talk.receive_json_from(5) == {"type": "progress", "what": "reading", "done": 1, "total": 2}
    await talk.disconnect()


async def test_charlie_and_strangers_are_shown_the_door(charlie, dataset):
    for user, code in [(charlie, NOT_FOUND), (AnonymousUser(), SIGNED_OUT)]:
        talk = socket(user, dataset)
        await talk.connect()
        assert (await talk.receive_output(5)) == {"type": "websocket.close", "code": code}
