"""A full disk, whoever meets it: how it is known, and what people are told."""

from __future__ import annotations

import errno
import sqlite3

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
