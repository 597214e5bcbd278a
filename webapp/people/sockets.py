"""What every socket that follows a thing shares: who may open it and for how long, how many, and how slow its reader may be."""

from __future__ import annotations

import asyncio
import json
import logging
import time
from collections import Counter
from contextlib import suppress
from typing import Any

from channels.db import database_sync_to_async
from channels.generic.websocket import AsyncWebsocketConsumer
from django.http import Http404

from webapp.live import Frame, hub
from webapp.people.access import Actor, actor_of, user_of_session

log = logging.getLogger(__name__)

SIGNED_OUT, NOT_FOUND, TOO_SLOW, TOO_MANY = 4401, 4404, 4408, 4429
MOST_SOCKETS = 20  # of one person in one process, whatever they follow
LOOK_AGAIN_S = 10.0  # access and state come from SQL so often, whatever Redis does
SEND_LIMIT_S = 10.0  # a browser that takes nothing for so long is let go; it comes back by itself

_open: Counter[Any] = Counter()


class SignedOut(Exception):
    """The session ended while the socket was open."""


class Following(AsyncWebsocketConsumer):  # type: ignore[misc]  # Channels has no types
    """Sends the state of a thing first, then each frame of its stream; a kind says in `find` what it follows."""

    counted = False
    following: asyncio.Task[None] | None = None

    def find(self, actor: Actor) -> tuple[Any, dict[str, Any]]:
        """The thing, which has a `stream`, through the one door, and its state as a message tells it. May read SQL."""
        raise NotImplementedError

    async def catch_up(self, thing: Any) -> None:
        """Tell what the state alone does not say: after joining, and at each further look."""

    async def forward(self, thing: Any, waiting: list[Frame]) -> None:
        for frame in waiting:
            await self.tell(frame.text)

    # --- opened and closed ---
    async def connect(self) -> None:
        await self.accept()  # before any refusal: a browser sees close codes only of accepted sockets
        user = self.scope["user"]
        if not user.is_authenticated:
            await self.close(SIGNED_OUT)
            return
        if _open[user.pk] >= MOST_SOCKETS:
            await self.close(TOO_MANY)
            return
        _open[user.pk] += 1
        self.counted = True
        self.following = asyncio.create_task(self.follow())

    async def disconnect(self, code: int) -> None:
        if self.counted:
            self.counted = False
            _open[self.scope["user"].pk] -= 1
        if self.following:
            self.following.cancel()
            with suppress(asyncio.CancelledError):
                await self.following

    async def receive(self, text_data: str | None = None, bytes_data: bytes | None = None) -> None:
        """Nothing that a page says changes anything here."""

    # --- meanwhile ---
    async def follow(self) -> None:
        try:
            await self._follow()
        except Http404:
            await self.close(NOT_FOUND)
        except SignedOut:
            await self.close(SIGNED_OUT)
        except TimeoutError:
            with suppress(TimeoutError):  # it may not take that either; then it answers no ping, and the server hangs up
                await asyncio.wait_for(self.close(TOO_SLOW), SEND_LIMIT_S)
        except asyncio.CancelledError:
            raise
        except Exception:
            log.exception("a socket broke")
            await self.close(1011)  # the page connects again

    async def _follow(self) -> None:
        thing, state = await self.look()
        async with hub.watch(thing.stream) as frames:  # join first ...
            thing, state = await self.look()  # ... then read: what lands in between arrives twice, never zero times
            await self.tell({"type": "state", **state})
            await self.catch_up(thing)
            looked = time.monotonic()
            while True:
                waiting = await frames.gather(max(looked + LOOK_AGAIN_S - time.monotonic(), 0))
                if time.monotonic() - looked >= LOOK_AGAIN_S:
                    thing, state = await self.look()
                    await self.tell({"type": "state", **state})
                    await self.catch_up(thing)
                    looked = time.monotonic()
                await self.forward(thing, waiting)

    async def tell(self, message: dict[str, Any] | str) -> None:
        """One message, taken before the next one is offered. Raises TimeoutError for a browser that takes none."""
        text = message if isinstance(message, str) else json.dumps(message, ensure_ascii=False)
        await asyncio.wait_for(self.send(text_data=text), SEND_LIMIT_S)

    @database_sync_to_async  # type: ignore[untyped-decorator]
    def look(self) -> tuple[Any, dict[str, Any]]:
        """Raises SignedOut, or Http404 once the thing may not be seen any more."""
        user = user_of_session(self.scope["session"].session_key or "")  # the scope's own user would stay as they were
        if user is None:
            raise SignedOut
        return self.find(actor_of(user))
