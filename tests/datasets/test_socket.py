"""The socket of a dataset: state first, then frames. What it shares with the others is in tests/people/test_sockets.py."""

import pytest
from asgiref.sync import sync_to_async

from tests.datasets.cast import version_of
from tests.runs.test_engine_socket import Socket, session_of
from webapp import live

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def dataset(alice):
    return version_of(alice, 10).dataset


async def test_vera_gets_the_state_and_then_every_frame(vera, dataset):
    socket = Socket(dataset.pk, await sync_to_async(session_of)(vera), path="/ws/datasets/")
    assert (await socket.connect())[0]
    assert await socket.message(5) == {"type": "state", "state": "ready"}
    await live.aannounce(dataset.stream, {"type": "progress", "what": "reading", "done": 1, "total": 2})
    assert await socket.message(5) == {"type": "progress", "what": "reading", "done": 1, "total": 2}
    await socket.disconnect()
