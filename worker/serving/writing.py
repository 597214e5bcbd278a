"""An answer that is written piece by piece."""

from __future__ import annotations

from collections.abc import Generator
from typing import Any

from worker.serving.questions import Row

PIECE_S = 0.03  # pieces go out so often at most; what comes in between is gathered
ALIVE_S = 5.0  # where there is nothing to see, the relay hears so often that the answer goes on


class Writing:
    def __init__(self, row: Row, engine: str, pieces: Generator[dict[str, Any], None, dict[str, Any]]) -> None:
        self.row, self.engine, self.pieces = row, engine, pieces
        self.answer: dict[str, Any] | None = None  # the whole, once it is there
        self.gathered: dict[str, Any] = {}
        self.sent = 0  # pieces
        self.due = self.alive_at = 0.0  # clocks: the first piece goes out at once

    def step(self) -> None:
        """Compute one piece more, or learn that the answer is whole."""
        try:
            piece = next(self.pieces)
        except StopIteration as end:
            self.answer = end.value
        else:
            self.gathered = {name: self.gathered[name] + part if name in self.gathered else part for name, part in piece.items()}

    def news(self, clock: float) -> dict[str, Any] | None:
        """What was gathered, when it is time to tell. `seq` says to a reader which pieces it has seen."""
        question = self.row.question
        if not question.wants_pieces:
            self.gathered = {}
        if self.gathered.get("text") and (clock >= self.due or self.answer is not None):
            piece = {"id": question.id, "type": "piece", "seq": self.sent, **self.gathered}
            self.gathered, self.sent, self.due, self.alive_at = {}, self.sent + 1, clock + PIECE_S, clock + ALIVE_S
            return piece
        if clock < self.alive_at:
            return None
        self.alive_at = clock + ALIVE_S
        return {"id": question.id, "type": "alive"}

    def close(self) -> None:
        """Nothing more is computed."""
        self.pieces.close()
