"""What stands before Django: bytes are counted while they come, and sockets are opened by our own pages only.

Django's ASGI handler writes a whole request body to disk before it looks at the address or the session, so an anonymous
request could fill the disk: who sends more than a page needs is asked who they are first. And a websocket knows no CSRF
token and no Host check.
"""

from __future__ import annotations

import asyncio
import json
import math
import time
from collections.abc import Awaitable, Callable
from typing import Any

from channels.db import database_sync_to_async
from django.conf import settings
from django.http import parse_cookie
from django.http.request import split_domain_port, validate_host

from webapp import disk
from webapp.people.access import token_of, user_of_session

Scope = dict[str, Any]
Message = dict[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

SLOWEST_WINDOW_S = 30.0  # in each such window a body must bring at least ...
SLOWEST_BYTES = 16 * 1024
NOT_FOUND = 4404


def limit_of(path: str) -> int:
    """The most bytes that a request body to `path` may have."""
    if path.startswith("/datasets/uploads/"):
        return 2 * settings.UPLOAD_CHUNK
    if path.startswith("/api/v1/datasets"):
        return settings.FORM_LIMIT + settings.BODY_LIMIT  # the form's own words beside the file
    return settings.BODY_LIMIT


class Refused(Exception):
    def __init__(self, status: int, title: str, detail: str) -> None:
        super().__init__(detail)
        self.status, self.title, self.detail = status, title, detail


class BodyLimit:
    """Ends a request whose body is too large (413) or too slow (408), before more of it is kept."""

    def __init__(self, app: App) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return await self.app(scope, receive, send)
        answered = False

        async def sending(message: Message) -> None:
            nonlocal answered
            answered = True
            await send(message)

        try:
            limit, declared = limit_of(scope["path"]), declared_length(scope)
            refusal = too_large(limit)
            if limit > settings.BODY_LIMIT:
                if declared <= settings.BODY_LIMIT:
                    limit = settings.BODY_LIMIT
                elif not await is_known(scope):
                    limit, refusal = settings.BODY_LIMIT, unknown()
            if limit < declared < math.inf:
                raise refusal
            await self.app(scope, counted(receive, limit, refusal), sending)
        except Refused as refused:
            if not answered:
                await answer(send, refused)
        except OSError as error:  # Django keeps a large body in a file
            if answered or not (remedy := disk.remedy(error)):
                raise
            await answer(send, Refused(507, "Insufficient Storage", remedy))


def declared_length(scope: Scope) -> float:
    """The bytes that the body is said to have; without a number it may be any."""
    headers = dict(scope["headers"])
    if b"transfer-encoding" in headers:
        return math.inf
    value = headers.get(b"content-length", b"0")
    return int(value) if value.isdigit() else 0


def too_large(limit: int) -> Refused:
    said = f"This address takes at most {limit:,} bytes in one request. Larger files go in parts to /datasets/uploads/ (tus 1.0)."
    return Refused(413, "Content Too Large", said)


def unknown() -> Refused:
    said = "Files are taken only from somebody who is signed in, or with a valid token: Authorization: Bearer tb_..."
    return Refused(401, "Unauthorized", said)


@database_sync_to_async  # type: ignore[untyped-decorator]
def is_known(scope: Scope) -> bool:
    """Whether the token or, without one, the session of this request is somebody's now."""
    headers = {name: value.decode("latin-1") for name, value in scope["headers"]}
    if b"authorization" in headers:
        return token_of(headers[b"authorization"]) is not None
    key = parse_cookie(headers.get(b"cookie", "")).get(settings.SESSION_COOKIE_NAME) or ""
    return bool(key) and user_of_session(key) is not None


def counted(receive: Receive, limit: int, refusal: Refused) -> Receive:
    """`receive`, counting the body's bytes and the time they take; raises `refusal` beyond the limit."""
    total, window_bytes, window_ends, is_whole = 0, 0, time.monotonic() + SLOWEST_WINDOW_S, False
    slow = Refused(408, "Request Timeout", "The request body came too slowly. Try again on a better connection.")

    async def receiving() -> Message:
        nonlocal total, window_bytes, window_ends, is_whole
        if is_whole:
            return await receive()  # now it waits for the end of the connection
        try:
            message = await asyncio.wait_for(receive(), max(window_ends - time.monotonic(), 0.001))
        except TimeoutError:
            raise slow from None
        body = len(message.get("body", b""))
        total, window_bytes = total + body, window_bytes + body
        is_whole = not message.get("more_body", False)
        if total > limit:
            raise refusal
        if window_bytes >= SLOWEST_BYTES:
            window_bytes, window_ends = 0, time.monotonic() + SLOWEST_WINDOW_S
        return message

    return receiving


async def answer(send: Send, refused: Refused) -> None:
    problem = {"type": "about:blank", "title": refused.title, "status": refused.status, "detail": refused.detail}
    body = json.dumps(problem).encode()
    headers = [
        (b"content-type", b"application/problem+json"),
        (b"content-length", str(len(body)).encode()),
        (b"connection", b"close"),  # what is left of the body is never read
        (b"x-content-type-options", b"nosniff"),
    ]
    await send({"type": "http.response.start", "status": refused.status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


class SameOrigin:
    """Opens a socket only to a page of the very host and port it was asked of, and only if that host is ours."""

    def __init__(self, app: App) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        headers = {name: value.decode("latin-1") for name, value in scope["headers"]}
        host, origin = headers.get(b"host", ""), headers.get(b"origin", "")
        allowed = settings.ALLOWED_HOSTS or (["localhost", "127.0.0.1", "[::1]"] if settings.DEBUG else [])
        is_ours = validate_host(split_domain_port(host)[0], allowed)
        schemes = ("https",) if settings.HTTPS else ("http", "https")  # a proxy may speak HTTPS for us
        is_same = origin in settings.CSRF_TRUSTED_ORIGINS or origin in [f"{scheme}://{host}" for scheme in schemes]
        if is_ours and is_same and host:
            return await self.app(scope, receive, send)
        await send({"type": "websocket.close", "code": 4403})


async def nowhere(scope: Scope, receive: Receive, send: Send) -> None:
    """A socket at an address that is none: it closes as one whose thing is gone. A browser sees the code only if it was accepted."""
    await receive()
    await send({"type": "websocket.accept"})
    await send({"type": "websocket.close", "code": NOT_FOUND})
