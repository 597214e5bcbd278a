"""The socket of a run, through the whole front door: who may follow, what comes first, and that nothing is missed."""

import asyncio
import json

import pytest
from asgiref.sync import sync_to_async
from channels.testing import WebsocketCommunicator
from django.test import Client

from tests.runs.test_engine_cursor import Page, another_attempt, point
from webapp.asgi import application
from webapp.people import sockets
from webapp.runs.models import Run

pytestmark = pytest.mark.django_db(transaction=True)


def session_of(user):
    client = Client()
    client.force_login(user)
    return client.cookies["sessionid"].value


class Socket(WebsocketCommunicator):
    """A browser's connection to /ws/runs/<pk>."""

    def __init__(self, pk, session="", after="", host="localhost", origin="http://localhost", path="/ws/runs/"):
        headers = [(b"host", host.encode()), (b"cookie", f"sessionid={session}".encode())]
        if origin is not None:
            headers.append((b"origin", origin.encode()))
        super().__init__(application, f"{path}{pk}" + (f"?after={after}" if after else ""), headers)

    async def message(self, timeout_s=3):
        return json.loads(await self.receive_from(timeout_s))

    async def close_code(self, timeout_s=3):
        while (event := await self.receive_output(timeout_s))["type"] != "websocket.close":
            pass
        return event["code"]

    async def fill(self, page, until):
        """Take messages until the page has `until` points."""
        async with asyncio.timeout(5):
            while len(page.points) < until:
                message = await self.message()
                if message["type"] != "state":
                    page.take(message)


@pytest.fixture
def going(submit, worker):
    """A running run of Alice's and its attempt."""
    submit()
    attempt = Run.claim(worker).attempts.get()
    attempt.ready(100, 0)
    attempt.record([point(1), point(2)], [])
    return attempt.run, attempt


@pytest.fixture
def alices_session(alice):
    return session_of(alice)


async def test_the_state_comes_first_then_the_curve_then_what_happens(going, alices_session):
    run, attempt = going
    socket, page = Socket(run.pk, alices_session), Page()
    assert (await socket.connect())[0]
    first = await socket.message()
    assert (first["type"], first["state"]) == ("state", "running")
    await socket.fill(page, 2)
    for step in range(3, 30):
        await sync_to_async(attempt.record)([point(step)], [])
    await socket.fill(page, 29)
    assert page.steps == list(range(1, 30))
    await sync_to_async(run.cancel)()
    while (message := await socket.message())["type"] != "state":
        pass
    assert message["desired"] == "cancel"
    await socket.disconnect()


async def test_coming_back_with_a_cursor_brings_only_what_was_missed(going, alices_session):
    run, attempt = going
    page = Page()
    for batch in range(4):
        socket = Socket(run.pk, alices_session, after=str(page.cursor))
        await socket.connect()
        await socket.fill(page, 2 + batch * 3)
        await socket.disconnect()
        for step in range(3 + batch * 3, 6 + batch * 3):
            await sync_to_async(attempt.record)([point(step)], [])
    assert page.steps == list(range(1, 12))


async def test_a_new_attempt_cuts_the_curve_of_those_who_watch(going, alices_session, worker):
    run, _attempt = going
    socket, page = Socket(run.pk, alices_session), Page()
    await socket.connect()
    await socket.fill(page, 2)
    second = await sync_to_async(another_attempt)(run, worker, 1)
    await sync_to_async(second.record)([{**point(2), "values": {"loss": 7.0}}], [])
    async with asyncio.timeout(5):
        while page.points[-1]["values"]["loss"] != 7.0:
            message = await socket.message()
            if message["type"] != "state":
                page.take(message)
    assert page.steps == [1, 2]
    await socket.disconnect()


async def test_frames_that_redis_lost_are_found_in_sql(going, alices_session, monkeypatch):
    run, attempt = going
    monkeypatch.setattr(sockets, "LOOK_AGAIN_S", 0.5)
    socket, page = Socket(run.pk, alices_session), Page()
    await socket.connect()
    await socket.fill(page, 2)
    with monkeypatch.context() as silent:
        silent.setattr("webapp.live.announce", lambda *args: None)
        for step in (3, 4, 5):
            await sync_to_async(attempt.record)([point(step)], [])
    await socket.fill(page, 5)
    await sync_to_async(attempt.record)([point(6)], [])
    await socket.fill(page, 6)
    assert page.steps == [1, 2, 3, 4, 5, 6]
    await socket.disconnect()


async def test_frames_after_a_gap_bring_the_gap_along(going, alices_session, monkeypatch):
    run, attempt = going
    socket, page = Socket(run.pk, alices_session), Page()
    await socket.connect()
    await socket.fill(page, 2)
    with monkeypatch.context() as silent:
        silent.setattr("webapp.live.announce", lambda *args: None)
        await sync_to_async(attempt.record)([point(3)], [])
    await sync_to_async(attempt.record)([point(4)], [])
    await socket.fill(page, 4)
    assert page.steps == [1, 2, 3, 4]
    await socket.disconnect()


async def refused(socket):
    connected, code = await socket.connect()
    return code if not connected else await socket.close_code()


async def test_a_stranger_finds_no_run_and_gets_no_frame(going, charlie):
    run, attempt = going
    socket = Socket(run.pk, await sync_to_async(session_of)(charlie))
    assert (await socket.connect())[0]
    await sync_to_async(attempt.record)([point(3)], [])
    assert await socket.receive_output(3) == {"type": "websocket.close", "code": 4404}


async def test_a_viewer_may_follow(going, vera):
    socket = Socket(going[0].pk, await sync_to_async(session_of)(vera))
    await socket.connect()
    assert (await socket.message())["type"] == "state"
    await socket.disconnect()


async def test_without_a_session_the_socket_closes(going):
    assert await refused(Socket(going[0].pk)) == 4401


@pytest.mark.parametrize("origin", [None, "null", "http://evil.test", "http://localhost:9999", "http://sub.localhost"])
async def test_only_our_own_pages_may_open_a_socket(going, alices_session, origin):
    assert (await Socket(going[0].pk, alices_session, origin=origin).connect())[0] is False


async def test_behind_https_a_page_without_it_opens_no_socket(going, alices_session, settings):
    settings.HTTPS = True
    assert (await Socket(going[0].pk, alices_session, origin="http://localhost").connect())[0] is False
    socket = Socket(going[0].pk, alices_session, origin="https://localhost")
    assert (await socket.connect())[0] is True
    await socket.disconnect()


async def test_a_foreign_host_name_is_refused_even_if_the_origin_agrees(going, alices_session):
    assert (await Socket(going[0].pk, alices_session, host="evil.test", origin="http://evil.test").connect())[0] is False
