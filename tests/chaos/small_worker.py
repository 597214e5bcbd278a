"""A whole Celery worker, with the small trainer in place of the large one: `small_worker.py -Q train.cpu`."""

import sys
from pathlib import Path

from worker import process

process.COMMAND = [sys.executable, str(Path(__file__).parents[1] / "worker" / "fake_trainer.py")]

if __name__ == "__main__":
    from worker.app import app

    app.worker_main(["worker", "-P", "solo", "-l", "WARNING", "--without-gossip", "--without-mingle", *sys.argv[1:]])
