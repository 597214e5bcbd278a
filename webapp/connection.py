"""One connection of a browser or a program to the web process: it has only so long, and so much room, to say what it wants.

uvicorn waits for the head of a request for ever, and keeps any number of header bytes. Given to it as
`--http webapp.connection:Connection`; loaded before Django, of which it knows nothing.
"""

from __future__ import annotations

import asyncio

from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

HEAD_LIMIT_S = 15.0  # from the connection, or the first byte of a further request, to the end of its headers
HEAD_LIMIT = 64 * 1024  # bytes of request line and headers


class Connection(HttpToolsProtocol):
    deadline: asyncio.TimerHandle | None = None  # runs while the head of a request is waited for
    head_bytes = 0

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self.await_head()

    def data_received(self, data: bytes) -> None:
        if self.deadline is None and (self.cycle is None or self.cycle.response_complete):
            self.await_head()
        super().data_received(data)
        if self.deadline:
            self.head_bytes += len(data)
            if self.head_bytes > HEAD_LIMIT:
                self.refuse(431)

    def on_headers_complete(self) -> None:
        self.has_head()
        super().on_headers_complete()

    def connection_lost(self, exc: Exception | None) -> None:
        self.has_head()
        super().connection_lost(exc)

    def await_head(self) -> None:
        self.head_bytes = 0
        self.deadline = self.loop.call_later(HEAD_LIMIT_S, self.refuse, 408)

    def has_head(self) -> None:
        if self.deadline:
            self.deadline.cancel()
            self.deadline = None

    def refuse(self, status: int) -> None:
        self.has_head()
        if not self.transport.is_closing():
            self.transport.write(STATUS_LINE[status] + b"content-length: 0\r\nconnection: close\r\n\r\n")
            self.transport.close()
