"""manage.py purge: deletes for good what was deleted a while ago."""

from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandParser

from webapp.home.purge import purge


class Command(BaseCommand):
    help = "Deletes for good what people deleted a while ago: models, runs, datasets, failed imports and old predictions."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument(
            "--days", type=float, default=settings.PURGE_DAYS, help="What was deleted longer ago than this (0: everything)."
        )

    def handle(self, *args: Any, days: float, **options: Any) -> None:
        self.stdout.write(f"{purge(days) / 1e6:,.1f} MB became free.")
