"""The socket of one run: its state, the curve after the cursor that the page names, then every frame as it comes."""

from __future__ import annotations

import asyncio
import json
import logging
import time
from collections import Counter
from contextlib import suppress
from types import SimpleNamespace
from typing import Any
from urllib.parse import parse_qs

from channels.db import database_sync_to_async
from channels.generic.websocket import AsyncWebsocketConsumer
from django.contrib.auth import get_user
from django.http import Http404

from webapp.live import Frame, hub
from webapp.people.access import actor_of, find
from webapp.runs import cursor
from webapp.runs.cursor import Cursor
from webapp.runs.models import Run

log = logging.getLogger(__name__)

SIGNED_OUT, NOT_FOUND, TOO_SLOW, TOO_MANY = 4401, 4404, 4408, 4429
MOST_SOCKETS = 20  # of one person in one process
LOOK_AGAIN_S = 10.0  # access, state and curve come from SQL so often, whatever Redis does
SEND_LIMIT_S = 10.0  # a browser that takes nothing for so long is let go; it comes back by cursor

_open: Counter[Any] = Counter()


class SignedOut(Exception):
    """The session ended while the socket was open."""


class RunConsumer(AsyncWebsocketConsumer):  # type: ignore[misc]  # Channels has no types
    counted = False
    following: asyncio.Task[None] | None = None

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
        self.cursor = Cursor.read(parse_qs(self.scope["query_string"].decode()).get("after", [""])[0])
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

    async def follow(self) -> None:
        try:
            await self._follow()
        except Http404:
            await self.close(NOT_FOUND)
        except SignedOut:
            await self.close(SIGNED_OUT)
        except TimeoutError:
            await self.close(TOO_SLOW)
        except asyncio.CancelledError:
            raise
        except Exception:
            log.exception("the socket of a run broke")
            await self.close(1011)  # the page connects again, by cursor

    async def _follow(self) -> None:
        run, facts = await self.look()
        async with hub.watch(run.stream) as frames:  # join first ...
            await self.tell({"type": "state", **facts})
            await self.replay(run)  # ... then read: what lands in between arrives twice, never zero times
            looked = time.monotonic()
            while True:
                waiting = await frames.gather(max(looked + LOOK_AGAIN_S - time.monotonic(), 0))
                if time.monotonic() - looked >= LOOK_AGAIN_S:
                    run, facts = await self.look()
                    await self.tell({"type": "state", **facts})
                    await self.replay(run)
                    looked = time.monotonic()
                await self.forward(run, waiting)

    async def forward(self, run: Run, waiting: list[Frame]) -> None:
        """One message for all points that wait, so that a slow browser gets fewer and larger ones."""
        state = next((frame for frame in reversed(waiting) if frame["type"] == "state"), None)
        fresh = [frame for frame in waiting if frame["type"] == "points" and self.place(frame) > self.cursor]
        places = [self.place(frame) for frame in fresh]
        unbroken = places == [Cursor(self.cursor.fence, self.cursor.seq + 1 + i) for i in range(len(places))]
        if not unbroken or any(frame["type"] == "cut" for frame in waiting):
            await self.replay(run)
        elif len(fresh) == 1:
            await self.tell(fresh[0].text)
            self.cursor = places[0]
        elif fresh:
            points = [point for frame in fresh for point in frame["points"]]
            lines = [line for frame in fresh for line in frame["log"]]
            await self.tell({"type": "points", **places[-1]._asdict(), "points": points, "log": lines})
            self.cursor = places[-1]
        if state:
            await self.tell(state.text)

    @staticmethod
    def place(frame: Frame) -> Cursor:
        return Cursor(frame["fence"], frame["seq"])

    async def replay(self, run: Run) -> None:
        messages, reached = await database_sync_to_async(cursor.messages)(run, self.cursor)
        for message in messages:
            await self.tell(message)
        self.cursor = reached

    async def tell(self, message: dict[str, Any] | str) -> None:
        """One message, taken before the next one is offered. Raises TimeoutError for a browser that takes none."""
        text = message if isinstance(message, str) else json.dumps(message, ensure_ascii=False)
        await asyncio.wait_for(self.send(text_data=text), SEND_LIMIT_S)

    @database_sync_to_async  # type: ignore[untyped-decorator]
    def look(self) -> tuple[Run, dict[str, Any]]:
        """The run, through the one door, as it stands. Raises SignedOut, or Http404 once it may not be seen any more."""
        fresh = type(self.scope["session"]._wrapped)(self.scope["session"].session_key)  # the scope's own would stay as it was
        user = get_user(SimpleNamespace(session=fresh))  # type: ignore[arg-type]
        if not user.is_authenticated:
            raise SignedOut
        run = find(actor_of(user), Run.objects.present(), self.scope["url_route"]["kwargs"]["pk"])
        return run, run.facts()
