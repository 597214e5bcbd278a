"""A full disk, whoever meets it: how it is known, and what people are told."""

from __future__ import annotations

import errno
import sqlite3
from contextlib import suppress
from typing import Any
from urllib.parse import quote

from django.db import DatabaseError
from django.utils.translation import gettext as _

SQLITE = {sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR_WRITE, sqlite3.SQLITE_IOERR_SHMSIZE}
POSTGRESQL = "53100"


class DiskFull(Exception):
    """There is no room, which was seen before anything was written; the message is for people."""


def remedy(error: BaseException | None) -> str:
    """What to do about `error` if it says that a disk, or somebody's share of it, is full; else nothing."""
    if isinstance(error, DiskFull):
        return str(error)
    cause = error.__cause__ if isinstance(error, DatabaseError) else None
    is_full = (
        (isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT))
        or getattr(cause, "sqlite_errorcode", None) in SQLITE
        or getattr(cause, "sqlstate", None) == POSTGRESQL
    )
    return str(_("The server's disk is full. What is there can still be read. Free some space, then try again.")) if is_full else ""


def held_open(database: dict[str, Any]) -> sqlite3.Connection | None:
    """A connection to keep for as long as the process lives. SQLite sets up shared memory for the first who opens a database
    and clears it away after the last: on a full disk nobody could open it again, not even to read."""
    if not database["ENGINE"].endswith("sqlite3"):
        return None
    with suppress(sqlite3.Error):  # there is none yet
        held = sqlite3.connect(f"file:{quote(str(database['NAME']))}?mode=rw", uri=True, check_same_thread=False)
        held.execute("SELECT count(*) FROM sqlite_master").fetchone()
        return held
    return None
