"""The socket of one run: its state, the curve after the cursor that the page names, then every frame as it comes."""

from __future__ import annotations

from typing import Any
from urllib.parse import parse_qs

from channels.db import database_sync_to_async

from webapp.live import Frame
from webapp.people.access import Actor, find
from webapp.people.sockets import Following
from webapp.runs import cursor
from webapp.runs.cursor import Cursor
from webapp.runs.models import Run


class RunConsumer(Following):
    async def connect(self) -> None:
        asked = parse_qs(self.scope["query_string"].decode("ascii", "replace"))
        self.cursor = Cursor.read(asked.get("after", [""])[0])
        await super().connect()

    def find(self, actor: Actor) -> tuple[Run, dict[str, Any]]:
        run: Run = find(actor, Run.objects.present(), self.scope["url_route"]["kwargs"]["pk"])
        return run, run.facts()

    async def forward(self, run: Run, waiting: list[Frame]) -> None:
        """One message for all points that wait, so that a slow browser gets fewer and larger ones."""
        state = next((frame for frame in reversed(waiting) if frame["type"] == "state"), None)
        fresh = [frame for frame in waiting if frame["type"] == "points" and self.place(frame) > self.cursor]
        places = [self.place(frame) for frame in fresh]
        unbroken = places == [Cursor(self.cursor.fence, self.cursor.seq + 1 + i) for i in range(len(places))]
        if not unbroken or any(frame["type"] == "cut" for frame in waiting):
            await self.catch_up(run)
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

    async def catch_up(self, run: Run) -> None:
        messages, reached = await database_sync_to_async(cursor.messages)(run, self.cursor)
        for message in messages:
            await self.tell(message)
        self.cursor = reached
