"""Arrow files and streams, as data sets of the hub keep them on disk (save_to_disk). They are held in memory as a whole."""

from __future__ import annotations

import json
from pathlib import Path

import polars as pl

from webapp.datasets.reading import MIB, hub
from webapp.datasets.reading.parquet import decoded
from webapp.datasets.reading.staging import Desk

MOST = 512 * MIB  # bytes of one file; the hub's library cuts its own at 500 MB
HEAD = 4 * MIB  # in which the schema stands
FEATURES = '{"info": {"features"'
FILE = b"ARROW1"


def table(path: Path, desk: Desk) -> tuple[pl.LazyFrame, int]:
    """(the table with the names of its classes, rows)."""
    if path.stat().st_size > MOST:
        text = f"{desk.name} is an Arrow file of more than {MOST // MIB} MB. Save it as Parquet: to_parquet() in Python."
        raise desk.fail("too_large", text)
    with path.open("rb") as file:
        head = file.read(HEAD)
    try:
        frame = pl.read_ipc(path) if head.startswith(FILE) else pl.read_ipc_stream(path)
    except (pl.exceptions.PolarsError, pl.exceptions.PanicException, OSError, ValueError):
        text = f"{desk.name} is a damaged Arrow file. Write it again, or save it as Parquet: to_parquet() in Python."
        raise desk.fail("damaged", text) from None
    if frame.width > desk.limits.columns:
        raise desk.fail("too_many_columns", f"{desk.name} has {frame.width:,} columns; at most {desk.limits.columns:,} can be read.")
    lazy = frame.lazy().with_columns(decoded(name, desk) for name, kind in frame.schema.items() if kind == pl.Binary)
    return hub.with_names(lazy, features(head), desk), frame.height


def features(head: bytes) -> hub.Names:
    """What the hub's library writes into the schema, which polars keeps to itself."""
    text = head.decode("latin-1")
    at = text.find(FEATURES)
    try:
        known, _ = json.JSONDecoder().raw_decode(text, at) if at >= 0 else ({}, 0)
    except (ValueError, RecursionError):
        return {}
    return hub.of_metadata(json.dumps(known).encode("ascii"))
