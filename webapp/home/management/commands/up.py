"""`make up`: everything on this machine. `--prepare` and `--alive` are for the containers of docker-compose.yml."""

from __future__ import annotations

import os
from datetime import timedelta
from socket import gethostname
from typing import Any

from django.core.management import BaseCommand, CommandError
from django.core.management.base import CommandParser
from django.utils.timezone import now

from webapp import stack


class Command(BaseCommand):
    help = "Starts Redis, web and workers, prints the address and a sign-in link, and stops all of it on Ctrl-C."
    requires_system_checks: tuple[str, ...] = ()

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--prepare", action="store_true", help="only bring tables, pages and the first account up to date")
        parser.add_argument("--alive", metavar="KIND", help="only say (exit status) whether a worker of this kind lives on this host")

    def handle(self, *args: Any, **options: Any) -> None:
        if options["alive"]:
            return check_alive(options["alive"])
        os.umask(0o077)  # of all that we and our processes write
        try:
            if options["prepare"]:
                stack.prepare()
                self.say(f"Sign in once with this link: {stack.sign_in_path()}")
            else:
                stack.Stack(self.say).run()
        except stack.CannotStart as reason:
            raise CommandError(str(reason)) from None

    def say(self, text: str) -> None:
        self.stdout.write(text)
        self.stdout.flush()


def check_alive(kind: str) -> None:
    from webapp.work.models import Worker

    if not Worker.objects.filter(kind=kind, host=gethostname(), last_seen__gte=now() - timedelta(seconds=60)).exists():
        raise CommandError(f"No {kind} worker of this host was heard in the last minute.")
