"""Before Django sees a request, its bytes are counted: too many or too slow ends it, and nothing lands on the disk."""

import asyncio
import json

import pytest

from webapp import frontdoor
from webapp.frontdoor import BodyLimit, limit_of


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

    await BodyLimit(app)({"type": "http", "path": path, "headers": list(headers)}, receive, send)
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


@pytest.mark.parametrize(("path", "mib"), [("/login/", 1), ("/datasets/uploads/0", 16), ("/api/v1/datasets", 65), ("/api/v1/runs", 1)])
async def test_each_address_has_its_limit(path, mib):
    assert limit_of(path) == mib * MIB
    assert (await post([b"x" * MIB] * mib, path))[0] == 200
    assert (await post([b"x" * MIB] * mib + [b"x"], path))[0] == 413


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
