"""`manage.py starters build [name ..] --data DIR`: trains the starters anew. `manage.py starters list`: what is there."""

import subprocess
import sys
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError, CommandParser

from webapp.catalog.starters import starters
from worker.nlp import TASKS


class Command(BaseCommand):
    help = "List the small models that come with the product, or train them again from freely licensed data."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("verb", choices=("list", "build"))
        parser.add_argument("names", nargs="*", help="folders below starters/; all of them when none is named")
        parser.add_argument("--data", help="the folder with the labelled data that starters/build.py names")
        parser.add_argument("--threads", type=int, help="of the processor; all but one by default")

    def handle(self, *args: Any, **options: Any) -> None:
        if options["verb"] == "list":
            for starter in starters():
                task = TASKS.get(starter.task)
                score = task and task.metric(task.primary_metric)
                value = starter.metrics.get(score.name) if score else None
                shown = f"{score.title} {score.shown(value)}" if score and value is not None else ""
                self.stdout.write(f"{starter.name:32} {starter.task or 'base':20} {starter.licence:14} {shown}")
            return
        if not options["data"]:
            raise CommandError("Name the folder with the data: --data DIR. starters/build.py says which sets it wants.")
        command = [sys.executable, str(settings.STARTERS / "build.py"), *options["names"], "--data", options["data"]]
        command += ["--threads", str(options["threads"])] if options["threads"] else []
        if status := subprocess.run(command, check=False).returncode:
            raise CommandError(f"Building ended with status {status}; what was there before is untouched.")
