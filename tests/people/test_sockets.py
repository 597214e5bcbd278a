"""What every socket keeps to, whatever it follows: a live session, a place in the team, so many at once, no waiting for slow readers."""

import asyncio
import json

import pytest
from asgiref.sync import sync_to_async
from django.test import Client

from tests.datasets.cast import version_of
from tests.runs.test_engine_socket import Socket, session_of
from webapp import live
from webapp.catalog.models import ModelVersion
from webapp.people import sockets
from webapp.people.models import User
from webapp.people.sockets import Following
from webapp.routing import websocket_urlpatterns
from webapp.runs.models import Run

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def things(alice, settings, tmp_path):
    """One of Alice's things for each socket, by the socket's address."""
    settings.FILES = tmp_path
    version = version_of(alice, 10)
    owned = {"team": version.team, "created_by": alice}
    base = ModelVersion.objects.create(**owned, name="base", kind="run", folder="models/base", task="classification")
    run = Run.objects.create(**owned, name="first", version=version, base=base, task="classification", method="full")
    return {"/ws/datasets/": version.dataset, "/ws/runs/": run}


PATHS = [f"/{str(pattern.pattern).partition('<')[0]}" for pattern in websocket_urlpatterns]
each_socket = pytest.mark.parametrize("path", PATHS)


@pytest.fixture
def often(monkeypatch):
    monkeypatch.setattr(sockets, "LOOK_AGAIN_S", 0.3)


def test_every_socket_is_of_one_kind():
    assert all(issubclass(pattern.callback.consumer_class, Following) for pattern in websocket_urlpatterns)


async def opened(path, things, session):
    socket = Socket(things[path].pk, session, path=path)
    await socket.connect()
    return socket


@each_socket
async def test_the_state_comes_first(path, things, vera):
    socket = await opened(path, things, await sync_to_async(session_of)(vera))
    assert (await socket.message())["type"] == "state"
    await socket.disconnect()


@each_socket
async def test_strangers_and_nobody_are_shown_the_door(path, things, charlie):
    assert await (await opened(path, things, await sync_to_async(session_of)(charlie))).close_code() == 4404
    assert await (await opened(path, things, "")).close_code() == 4401


@each_socket
@pytest.mark.parametrize("fate", ["signs out", "is switched off", "has a new password", "leaves the team", "loses the thing"])
async def test_who_may_not_look_any_more_is_cut_off(path, fate, things, vera, often):
    client = Client()
    await sync_to_async(client.force_login)(vera)
    socket = await opened(path, things, client.cookies["sessionid"].value)
    await socket.message()
    match fate:
        case "signs out":
            await sync_to_async(client.logout)()
        case "is switched off":
            await User.objects.filter(pk=vera.pk).aupdate(is_active=False)
        case "has a new password":
            vera.set_password("another battery staple")
            await vera.asave()
        case "leaves the team":
            await vera.memberships.all().adelete()
        case "loses the thing":
            await type(things[path])._base_manager.filter(pk=things[path].pk).aupdate(deleted_at="2026-01-01T00:00:00Z")
    assert await socket.close_code() == (4404 if fate in ("leaves the team", "loses the thing") else 4401)
    await live.aannounce(things[path].stream, {"type": "progress", "what": "secret", "done": 1, "total": 2})
    assert await socket.receive_nothing(0.5)
    await socket.disconnect()


async def test_one_person_has_a_bounded_number_of_sockets_whatever_they_follow(things, alice, monkeypatch):
    monkeypatch.setattr(sockets, "MOST_SOCKETS", len(PATHS))
    session = await sync_to_async(session_of)(alice)
    first = [await opened(path, things, session) for path in PATHS]
    for path in PATHS:
        more = await opened(path, things, session)
        assert await more.close_code() == 4429
        await more.disconnect()
    await first.pop().disconnect()
    again = await opened(PATHS[0], things, session)
    assert (await again.message())["type"] == "state"
    for socket in (*first, again):
        await socket.disconnect()
    assert sockets._open[alice.pk] == 0


@each_socket
async def test_a_browser_that_takes_nothing_is_let_go(path, things, alice, monkeypatch, often):
    """Its connection takes the first message and then no more, as the server sees one whose reader sleeps."""
    from webapp.asgi import application

    monkeypatch.setattr(sockets, "SEND_LIMIT_S", 0.3)
    session = await sync_to_async(session_of)(alice)
    offered, left = [], asyncio.Event()
    scope = {
        "type": "websocket",
        "path": f"{path}{things[path].pk}",
        "query_string": b"",
        "headers": [(b"host", b"localhost"), (b"origin", b"http://localhost"), (b"cookie", f"sessionid={session}".encode())],
    }
    coming = [{"type": "websocket.connect"}]

    async def receive():
        if coming:
            return coming.pop()
        await left.wait()
        return {"type": "websocket.disconnect", "code": 1006}

    async def send(message):
        offered.append(message)
        if len(offered) > 2:  # accepted, and told the state
            await asyncio.sleep(3600)

    task = asyncio.create_task(application(scope, receive, send))
    async with asyncio.timeout(10):
        while not any(message["type"] == "websocket.close" for message in offered):
            await asyncio.sleep(0.1)
    assert offered[-1]["code"] == 4408 and json.loads(offered[1]["text"])["type"] == "state"
    left.set()
    await asyncio.wait_for(task, 10)
    assert sockets._open[alice.pk] == 0
