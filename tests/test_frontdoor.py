"""Before Django sees a request, its bytes are counted: too many or too slow ends it, and nothing lands on the disk."""

import asyncio
import errno
import json

import pytest
from django.test import Client

from tests.conftest import person
from webapp import frontdoor
from webapp.frontdoor import BodyLimit, limit_of
from webapp.people.models import ApiToken


class Taker:
    """An app that reads the whole body, as Django's handler does, and counts what it was given."""

    def __init__(self):
        self.taken = 0

    async def __call__(self, scope, receive, send):
        while True:
            message = await receive()
            self.taken += len(message.get("body", b""))
            if not message.get("more_body"):
                break
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b""})


async def post(chunks, path="/login/", headers=(), pause_s=0.0):
    """Send a body in chunks; gives (status, bytes that reached the app, sent chunks, answer)."""
    app, sent, given = Taker(), [], 0
    todo = list(chunks)

    async def receive():
        nonlocal given
        await asyncio.sleep(pause_s)
        given += 1
        return {"type": "http.request", "body": todo.pop(0), "more_body": bool(todo)}

    async def send(message):
        sent.append(message)

    headers = [*headers, (b"transfer-encoding", b"chunked")] if b"content-length" not in dict(headers) else list(headers)
    await BodyLimit(app)({"type": "http", "path": path, "headers": headers}, receive, send)
    return sent[0]["status"], app.taken, given, sent[-1]["body"]


MIB = 1024**2


async def test_a_body_of_unknown_length_is_cut_at_the_limit():
    status, taken, given, body = await post([b"x" * 65536] * 2000)
    assert status == 413
    assert taken <= MIB and given <= 17
    assert "1,048,576 bytes" in json.loads(body)["detail"] and "tus" in json.loads(body)["detail"]


async def test_a_length_that_is_too_large_is_refused_before_a_byte_is_read():
    status, taken, given, _ = await post([b"x"], headers=[(b"content-length", str(2 * 1024**3).encode())])
    assert (status, taken, given) == (413, 0, 0)


async def test_a_length_that_lies_does_not_help():
    status, taken, _, _ = await post([b"x" * 65536] * 2000, headers=[(b"content-length", b"10")])
    assert status == 413 and taken <= MIB


@pytest.fixture
def known(transactional_db):
    alice = person("alice")
    client = Client()
    client.force_login(alice)
    return {
        "token": (b"authorization", f"Bearer {ApiToken.make(alice, 'test', ['read', 'write'])[1]}".encode()),
        "session": (b"cookie", f"sessionid={client.cookies['sessionid'].value}".encode()),
    }


LIMITS = [("/login/", 1), ("/datasets/uploads/0", 16), ("/api/v1/datasets", 65), ("/api/v1/runs", 1)]


@pytest.mark.parametrize("way", ["token", "session"])
@pytest.mark.parametrize(("path", "mib"), LIMITS)
async def test_each_address_has_its_limit_for_who_is_known(path, mib, way, known):
    assert limit_of(path) == mib * MIB
    assert (await post([b"x" * MIB] * mib, path, [known[way]]))[0] == 200
    assert (await post([b"x" * MIB] * mib + [b"x"], path, [known[way]]))[0] == 413


@pytest.mark.parametrize("headers", [[], [(b"authorization", b"Bearer tb_no")], [(b"cookie", b"sessionid=nobody")]])
@pytest.mark.parametrize("path", ["/datasets/uploads/0", "/api/v1/datasets"])
async def test_of_a_stranger_no_more_is_taken_than_a_page_needs(path, headers, transactional_db):
    status, taken, given, body = await post([b"x" * MIB] * 20, path, headers)
    assert status == 401 and taken <= MIB and given == 2 and "token" in json.loads(body)["detail"]
    status, taken, given, _ = await post([b"x" * MIB] * 20, path, [*headers, (b"content-length", str(20 * MIB).encode())])
    assert (status, taken, given) == (401, 0, 0), "one that says how much it is, is not even begun"
    assert (await post([b"x" * 1000], path, headers))[0] == 200, "a small one is answered by who knows the address"


async def test_whoever_signed_out_or_was_switched_off_is_a_stranger(known):
    from webapp.people.models import User

    await User.objects.filter(username="alice").aupdate(is_active=False)
    for header in known.values():
        assert (await post([b"x" * MIB] * 20, "/api/v1/datasets", [header]))[0] == 401


async def test_a_disk_without_room_for_the_body_is_told():
    async def full(scope, receive, send):
        raise OSError(errno.ENOSPC, "No space left on device")

    sent = []

    async def send(message):
        sent.append(message)

    await BodyLimit(full)({"type": "http", "path": "/", "headers": []}, None, send)
    assert sent[0]["status"] == 507 and "Free some space" in json.loads(sent[1]["body"])["detail"]


async def test_a_body_that_drips_is_cut(monkeypatch):
    monkeypatch.setattr(frontdoor, "SLOWEST_WINDOW_S", 0.2)
    status, taken, given, _ = await post([b"x"] * 1000, pause_s=0.02)
    assert status == 408 and given < 20 and taken < 20


async def test_a_slow_but_steady_body_is_taken(monkeypatch):
    monkeypatch.setattr(frontdoor, "SLOWEST_WINDOW_S", 0.2)
    assert (await post([b"x" * 20_000] * 20, pause_s=0.05))[0] == 200


async def test_the_real_application_answers_in_problem_details(tmp_path):
    from webapp.asgi import application

    sent = []

    async def receive():
        return {"type": "http.request", "body": b"x" * 65536, "more_body": True}

    async def send(message):
        sent.append(message)

    scope = {"type": "http", "method": "POST", "path": "/accounts/login/", "headers": [(b"host", b"localhost")], "query_string": b""}
    async with asyncio.timeout(10):
        await application(scope, receive, send)
    assert sent[0]["status"] == 413
    assert (b"content-type", b"application/problem+json") in sent[0]["headers"]
