"""The socket of one dataset: its progress and its state, as they happen."""

from __future__ import annotations

import asyncio
import contextlib
from typing import Any

from channels.db import database_sync_to_async
from channels.generic.websocket import AsyncJsonWebsocketConsumer
from django.http import Http404

from webapp import live
from webapp.datasets.models import Dataset
from webapp.people.access import Actor, actor_of, find

SIGNED_OUT, NOT_FOUND = 4401, 4404
LOOK_AGAIN = 10.0  # seconds: the state comes from SQL so often even when no frame does, and access is asked again


class DatasetConsumer(AsyncJsonWebsocketConsumer):  # type: ignore[misc]
    """Sends {"type": "state", "state"} first, then each frame of the dataset's stream."""

    following: asyncio.Task[None] | None = None

    async def connect(self) -> None:
        await self.accept()
        if not self.scope["user"].is_authenticated:
            await self.close(SIGNED_OUT)
            return
        try:
            dataset = await self.look()
        except Http404:
            await self.close(NOT_FOUND)
            return
        self.following = asyncio.create_task(self.follow(dataset))

    async def disconnect(self, code: int) -> None:
        if self.following:
            self.following.cancel()

    async def receive_json(self, content: Any, **kwargs: Any) -> None:
        """Nothing that a page says changes anything here."""

    async def follow(self, dataset: Dataset) -> None:
        checks = asyncio.create_task(self.check())
        try:
            async with live.hub.watch(dataset.stream) as frames:
                dataset = await self.look()  # after joining: a change in between comes twice, never not at all
                await self.send_json({"type": "state", "state": dataset.state})
                async for frame in frames:
                    await self.send_json(frame)
        finally:
            checks.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await checks

    async def check(self) -> None:
        while True:
            await asyncio.sleep(LOOK_AGAIN)
            try:
                dataset = await self.look()
            except Http404:
                await self.close(NOT_FOUND)
                return
            await self.send_json({"type": "state", "state": dataset.state})

    @database_sync_to_async  # type: ignore[untyped-decorator]
    def look(self) -> Dataset:
        actor: Actor = actor_of(self.scope["user"], self.scope["session"].get("team"))
        dataset: Dataset = find(actor, Dataset, self.scope["url_route"]["kwargs"]["pk"])
        dataset.give_up_dropped_work()
        return dataset
