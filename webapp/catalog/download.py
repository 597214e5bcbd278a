"""`python -m webapp.catalog.download`, the child of fetching.py: one job in, a line with the total and one with the end out."""

from __future__ import annotations

import ctypes
import json
import os
import signal
import sys
from pathlib import Path
from typing import Any

import django

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "webapp.settings")


def main() -> None:
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG: nobody waits for a download whose worker is gone
    out = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what libraries print is no message
    django.setup()
    from webapp.catalog.fetching import Refused, download

    def say(**message: Any) -> None:
        print(json.dumps(message), file=out, flush=True)

    job = json.load(sys.stdin)
    try:
        commit, card = download(job["name"], Path(job["folder"]), job["limit"], job["token"], lambda total: say(total=total))
        say(commit=commit, card=card)
    except Refused as refusal:
        say(refused=str(refusal))


if __name__ == "__main__":
    main()
