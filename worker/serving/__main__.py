"""python -m worker.serving: questions as JSON lines in, answers as JSON lines out (docs/internals.md). End of input ends it."""

from __future__ import annotations

import ctypes
import json
import logging
import os
import signal
import sys
import threading
from typing import IO, Any

from worker import machine
from worker.serving.desk import Desk
from worker.serving.pool import Pool

PR_SET_PDEATHSIG = 1


class Wire:
    """Standard output, for the protocol alone: what libraries print goes to standard error."""

    def __init__(self) -> None:
        self.out: IO[str] = os.fdopen(os.dup(1), "w", encoding="utf-8")
        os.dup2(2, 1)
        self.lock = threading.Lock()

    def say(self, message: dict[str, Any]) -> None:
        try:
            line = json.dumps(message, ensure_ascii=False, allow_nan=False)
        except ValueError:  # weights that learnt nothing but "not a number"
            reason = "The model's answer is not a number: its training went wrong. Train it again with a lower learning rate."
            line = json.dumps({"id": message["id"], "type": "failed", "reason": reason})
        with self.lock:
            print(line, file=self.out, flush=True)


def listen(desk: Desk) -> None:
    """Hear every line until the relay closes the pipe. A line that makes no sense is logged and costs nothing else."""
    for line in sys.stdin:
        try:
            desk.hear(json.loads(line))
        except Exception:
            logging.exception("not a question")
    desk.close()


def main() -> None:
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)  # no orphan keeps models in memory
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # a terminal's Ctrl-C is the relay's to act on
    logging.basicConfig(stream=sys.stderr, level=logging.INFO, format="%(asctime)s serving %(message)s")
    known = os.environ
    machine.limit_memory(int(known.get("SERVE_LIMIT", "0")))
    pool = Pool(int(known.get("SERVE_MEMORY", str(2 * 1024**3))), known.get("SERVE_DEVICE", "cpu"), known.get("SERVE_ENGINE", "auto"))
    wire = Wire()
    desk = Desk(pool, wire.say)
    threading.Thread(target=listen, args=[desk], daemon=True).start()
    pool.imports()
    wire.say({"id": "", "type": "busy", "model": ""})
    desk.work()


if __name__ == "__main__":
    main()
    os._exit(0)  # nothing is left to do; threads of the libraries that still compute need not be waited for
