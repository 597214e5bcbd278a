"""A page of runs on a stage: the real template, elements and sheet, and a server that says what the test wants said."""

import asyncio
import json
import mimetypes
import pathlib
import threading
from http import HTTPStatus
from urllib.parse import parse_qs, urlsplit

from django.contrib.staticfiles import finders
from websockets.asyncio.server import serve
from websockets.datastructures import Headers
from websockets.http11 import Response


class Stage:
    """Serves /static, the given pages and one kind of socket. `messages` is what a replay gives, filtered by cursor."""

    def __init__(self):
        self.pages, self.messages, self.afters, self.sockets = {}, [], [], set()
        self.state = {
            "type": "state",
            "state": "running",
            "desired": "run",
            "reason": "",
            "progress": {},
            "position": None,
            "step": 0,
            "steps": 1000,
        }
        self.blocked = False
        self.started = threading.Event()
        self.thread = threading.Thread(target=lambda: asyncio.run(self.run()), daemon=True)

    def __enter__(self):
        self.thread.start()
        self.started.wait(5)
        return self

    def __exit__(self, *_):
        self.loop.call_soon_threadsafe(self.over.set)
        self.thread.join(5)

    async def run(self):
        self.loop, self.over = asyncio.get_running_loop(), asyncio.Event()
        async with serve(self.follow, "127.0.0.1", 0, process_request=self.answer) as server:
            self.base = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
            self.started.set()
            await self.over.wait()

    def answer(self, connection, request):
        address = urlsplit(request.path)
        if address.path.startswith("/ws/"):
            return connection.respond(HTTPStatus.FORBIDDEN, "") if self.blocked else None
        if address.path.endswith("/points"):
            return self.json(self.polled(parse_qs(address.query)["after"][0]))
        if address.path.startswith("/api/"):
            return self.json(self.state)
        if address.path.startswith("/static/"):
            file = finders.find(address.path.removeprefix("/static/"))
            kind = mimetypes.guess_type(address.path)[0] or "text/plain"
            return self.response(pathlib.Path(file).read_bytes(), kind) if file else connection.respond(HTTPStatus.NOT_FOUND, "")
        if address.path in self.pages:
            body, policy = self.pages[address.path]
            return self.response(body, "text/html; charset=utf-8", policy)
        return connection.respond(HTTPStatus.NOT_FOUND, "")

    def response(self, body, kind, policy=""):
        headers = Headers({"Content-Type": kind, "Content-Length": str(len(body)), "Connection": "close"})
        if policy:
            headers["Content-Security-Policy"] = policy
        return Response(200, "OK", headers, body)

    def json(self, value):
        return self.response(json.dumps(value).encode(), "application/json")

    def later(self, after):
        fence, seq = map(int, after.split("."))
        return [m for m in self.messages if (m["fence"], m.get("seq", 0)) > (fence, seq)]

    def polled(self, after):
        frames = [m for m in self.later(after) if m["type"] == "points"]
        reached = f"{frames[-1]['fence']}.{frames[-1]['seq']}" if frames else after
        return {"points": [p for m in frames for p in m["points"]], "next": reached, "cut": None}

    async def follow(self, socket):
        after = parse_qs(urlsplit(socket.request.path).query).get("after", ["0.0"])[0]
        self.afters.append(after)
        self.sockets.add(socket)
        await socket.send(json.dumps(self.state))
        for message in self.later(after):
            await socket.send(json.dumps(message))
        await socket.wait_closed()
        self.sockets.discard(socket)

    def on_loop(self, act):
        return asyncio.run_coroutine_threadsafe(act, self.loop).result(10)

    def record(self, *messages):
        """Known from now on, but told to nobody: what a page misses while it is cut off."""
        self.messages += messages

    def say(self, *messages, known=True):
        """To all who listen; and to those who come later, if it is the kind of thing that is replayed."""
        self.messages += [m for m in messages if known and m["type"] != "state"]

        async def tell():
            for socket in list(self.sockets):
                for message in messages:
                    await socket.send(json.dumps(message))

        self.on_loop(tell())

    def become(self, **facts):
        self.state = {**self.state, **facts}
        self.say(self.state)

    def hang_up(self):
        async def close():
            for socket in list(self.sockets):
                await socket.close(1012)

        self.on_loop(close())


def points(first, last, fence=1, seq=1, every=0, loss=lambda step: 1 / step):
    """A frame of training points for steps first..last, with an evaluation at every `every` steps."""
    found = []
    for step in range(first, last + 1):
        place = {"step": step, "epoch": step / 100, "time": step * 0.25}
        found.append({**place, "values": {"loss": loss(step), "tokens_per_s": 2310.0}})
        if every and step % every == 0:
            found.append({**place, "values": {"eval_loss": loss(step) + 0.1, "eval_macro_f1": 1 - loss(step), "eval_accuracy": 0.8}})
    return {"type": "points", "fence": fence, "seq": seq, "points": found, "log": []}
