"""The curve by cursor: whoever names the last frame they hold gets the rest from SQL, each step once.

A cursor is `<fence>.<seq>`: the attempt and its frame. Frames of finished stretches are merged into chunks of about
1,000 points, stored as columns: a little-endian u32 length, a JSON header {"n", "series"}, then u32 steps, u32 seqs,
f32 epochs, f64 times and one f32 column per series, NaN where a point has no value.
"""

from __future__ import annotations

import json
import math
import struct
from array import array
from collections.abc import Iterable, Iterator
from itertools import accumulate, islice
from typing import Any, NamedTuple

from django.db import transaction

from webapp.runs.models import MetricChunk, Run

MERGED_POINTS = 1_000  # in a merged chunk
SENT_POINTS = 500  # in one message
MOST_POINTS = 4_000  # in one replay; longer curves arrive thinned out
Point = dict[str, Any]


class Cursor(NamedTuple):
    fence: int
    seq: int

    def __str__(self) -> str:
        return f"{self.fence}.{self.seq}"

    @classmethod
    def read(cls, text: str | None) -> Cursor:
        """The cursor in an address; anything that is none means: from the beginning."""
        try:
            fence, seq = (text or "").split(".")
            return cls(max(int(fence), 0), max(int(seq), 0))
        except ValueError:
            return START


START = Cursor(0, 0)


class Stretch(NamedTuple):
    """What was recorded after a cursor. Drop all points after step `cut` (unless it is None), then add these."""

    marked: list[tuple[Cursor, Point]]  # each with the frame it came in
    log: list[dict[str, Any]]
    cut: int | None
    next: Cursor

    @property
    def points(self) -> list[Point]:
        return [point for _cursor, point in self.marked]


def read(run: Run, after: Cursor = START, most: float = math.inf, page: float = math.inf) -> Stretch:
    """What was recorded after the cursor and still counts, in order.

    Thinned out where it would be more than about `most` points; no further than about `page` points, and what `next` then
    stands for is not the end.
    """
    # First the frames, then the attempts: one that begins in between must cut, since its frames will follow the cursor.
    chunks = list(run.chunks.filter(fence__gte=after.fence).exclude(fence=after.fence, seq__lte=after.seq).order_by("fence", "seq"))
    begun = run.attempts.exclude(resumed_step=None).order_by("fence").values_list("fence", "resumed_step")
    goes_on = [(fence, int(step or 0)) for fence, step in begun]
    later = [(fence, step) for fence, step in goes_on if fence > after.fence]
    sizes = [size(chunk) for chunk in chunks]
    taken = next((n for n, points in enumerate(accumulate(sizes), 1) if points >= page), len(chunks))
    reached = [Cursor(chunk.fence, chunk.seq) for chunk in chunks[:taken][-1:]]
    last = max([after, *reached] + [Cursor(fence, 0) for fence, _step in later[-1:] if taken == len(chunks)])
    log: list[dict[str, Any]] = []

    def counting() -> Iterator[tuple[Cursor, Point]]:
        for chunk in chunks[:taken]:
            held = after.seq if chunk.fence == after.fence else 0
            limit = min([step for fence, step in goes_on if fence > chunk.fence], default=math.inf)
            for seq, point in chunk_points(chunk):
                if seq > held and point["step"] <= limit:
                    yield Cursor(chunk.fence, seq), point
            log.extend({k: line[k] for k in line if k != "seq"} for line in chunk.log if line.get("seq", chunk.seq) > held)

    marked = list(thin(counting(), sum(sizes[:taken]), most))
    cut = min([step for _fence, step in later], default=None) if after != START else None
    return Stretch(marked, log, cut, last)


def messages(run: Run, after: Cursor = START) -> tuple[list[dict[str, Any]], Cursor]:
    """The same as messages for the socket, and the cursor that they lead to."""
    stretch = read(run, after, MOST_POINTS)
    if stretch.next == after:
        return [], after
    found: list[dict[str, Any]] = []
    if stretch.cut is not None:
        found.append({"type": "cut", "fence": stretch.next.fence, "step": stretch.cut})
    batch: list[Point] = []
    for i, (cursor, point) in enumerate(marked := stretch.marked):
        batch.append(point)
        whole_frame = i + 1 == len(marked) or marked[i + 1][0] != cursor  # a cursor may only stand behind a whole frame
        if len(batch) >= SENT_POINTS and whole_frame:
            found.append({"type": "points", **cursor._asdict(), "points": batch, "log": []})
            batch = []
    if batch or stretch.log:
        found.append({"type": "points", **stretch.next._asdict(), "points": batch, "log": stretch.log})
    return found, stretch.next


def chunk_points(chunk: MetricChunk) -> Iterable[tuple[int, Point]]:
    """Its points, each with the seq of the frame it came in."""
    return unpack(bytes(chunk.columns)) if chunk.columns else [(chunk.seq, point) for point in chunk.points]


def size(chunk: MetricChunk) -> int:
    """How many points it holds, told without unpacking them."""
    if not chunk.columns:
        return len(chunk.points)
    (length,) = struct.unpack_from("<I", chunk.columns)
    return int(json.loads(bytes(chunk.columns[4 : 4 + length]))["n"])


def pack(points: Iterable[tuple[int, Point]]) -> bytes:
    """(seq, point) pairs as columns."""
    rows = list(points)
    series = sorted({name for _seq, point in rows for name in point["values"]})
    header = json.dumps({"n": len(rows), "series": series}).encode()
    columns = [
        array("I", [point["step"] for _seq, point in rows]),
        array("I", [seq for seq, _point in rows]),
        array("f", [point["epoch"] for _seq, point in rows]),
        array("d", [point["time"] for _seq, point in rows]),
        *[array("f", [_number(point["values"].get(name)) for _seq, point in rows]) for name in series],
    ]
    return struct.pack("<I", len(header)) + header + b"".join(column.tobytes() for column in columns)


def _number(value: Any) -> float:
    return math.nan if value is None else float(value)


def unpack(blob: bytes) -> Iterator[tuple[int, Point]]:
    (length,) = struct.unpack_from("<I", blob)
    header = json.loads(blob[4 : 4 + length])
    at, n = 4 + length, header["n"]

    def column(kind: str) -> array[Any]:
        nonlocal at
        values = array(kind)
        values.frombytes(blob[at : at + n * values.itemsize])
        at += n * values.itemsize
        return values

    steps, seqs, epochs, times = column("I"), column("I"), column("f"), column("d")
    values = {name: column("f") for name in header["series"]}
    for i in range(n):
        found = {name: _short(numbers[i]) for name, numbers in values.items() if not math.isnan(numbers[i])}
        yield seqs[i], {"step": steps[i], "epoch": _short(epochs[i]), "time": times[i], "values": found}


def _short(number: float) -> float:
    """A float32 in as few digits as name it."""
    return float(f"{number:.8g}")


def merge(run: Run, fence: int) -> int:
    """Join finished frames of an attempt into chunks of about MERGED_POINTS; gives how many frames went away."""
    frames = list(run.chunks.filter(fence=fence, columns=None).order_by("seq"))
    gone, batch, points = 0, [], 0
    for frame in frames:
        batch.append(frame)
        points += len(frame.points)
        if points >= MERGED_POINTS or frame is frames[-1]:
            gone += _join(run, batch)
            batch, points = [], 0
    return gone


def _join(run: Run, frames: list[MetricChunk]) -> int:
    if len(frames) < 2:
        return 0
    points = [(frame.seq, point) for frame in frames for point in frame.points]
    log = [{**line, "seq": frame.seq} for frame in frames for line in frame.log]
    steps = [point["step"] for _seq, point in points]
    with transaction.atomic():
        run.chunks.filter(pk__in=[frame.pk for frame in frames]).delete()
        run.chunks.create(
            fence=frames[-1].fence,
            seq=frames[-1].seq,
            first_step=min(steps, default=None),
            last_step=max(steps, default=None),
            columns=pack(points),
            log=log,
            rollup=rollup([point for _seq, point in points]),
        )
    return len(frames) - 1


def rollup(points: list[Point]) -> dict[str, list[float]]:
    """{series: [min, max, mean]}"""
    series: dict[str, list[float]] = {}
    for point in points:
        for name, value in point["values"].items():
            if value is not None and math.isfinite(value):
                series.setdefault(name, []).append(value)
    return {name: [min(v), max(v), sum(v) / len(v)] for name, v in series.items()}


def thin(marked: Iterable[tuple[Cursor, Point]], count: int, most: float = MOST_POINTS, by: str = "loss") -> Iterator[tuple[Cursor, Point]]:
    """At most about `most` of `count` points, without ever holding them all: of each bucket the first and those with the
    least and the greatest loss; every evaluation; and the last of all."""
    width = 1 if count <= most else math.ceil(3 * count / most)
    waiting, last = iter(marked), None
    while bucket := list(islice(waiting, width)):
        values = {i: point["values"].get(by) for i, (_cursor, point) in enumerate(bucket)}
        known = {i: value for i, value in values.items() if value is not None}
        peaks = {min(known, key=known.__getitem__), max(known, key=known.__getitem__)} if known else set()
        kept = sorted({0} | peaks | (values.keys() - known.keys()))
        yield from (bucket[i] for i in kept)
        last = None if kept[-1] == len(bucket) - 1 else bucket[-1]
    if last is not None:
        yield last
