"""What is kept belongs to the one user who runs the server. Standard library only: the settings ask it before anything else."""

from __future__ import annotations

import os
import sys
from pathlib import Path

GROUP_AND_OTHERS = 0o077


def keep_folder(folder: Path) -> None:
    """Makes the folder if it is not there, and takes away what others may do in it, with all files that lie openly in it.

    Raises ValueError for a folder that is everybody's, such as /tmp: it must not be closed, nor may we live in it."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    mode = folder.stat().st_mode
    if folder == Path(folder.anchor) or (mode & 0o002 and mode & 0o1000):
        raise ValueError(f"{folder} is everybody's: name a folder that only holds what Tunebench keeps.")
    for path in (folder, *(path for path in folder.iterdir() if path.is_file() and not path.is_symlink())):
        keep(path)


def keep_database(path: Path) -> None:
    """SQLite gives the files beside its database the mode that the database has."""
    if path.name == ":memory:":
        return
    if path.parent.is_dir() and not path.exists():
        os.close(os.open(path, os.O_CREAT | os.O_RDWR, 0o600))
    elif path.is_file():
        keep(path)


def keep(path: Path) -> None:
    try:
        mode = path.stat().st_mode & 0o7777
        if not mode & GROUP_AND_OTHERS:
            return
        path.chmod(mode & ~GROUP_AND_OTHERS)
    except FileNotFoundError:  # SQLite's and Redis' own come and go
        return
    except PermissionError:
        tell(f"{path} can be read by others on this machine and belongs to somebody else: have them take that right away.")
    else:
        tell(f"{path} could be read by others on this machine (mode {mode:04o}); now only you can read it.")


def tell(sentence: str) -> None:
    sys.stderr.write(sentence + "\n")
