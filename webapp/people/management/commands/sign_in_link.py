"""`manage.py sign_in_link --user NAME`: prints the path of a one-time link; the way back in for who lost a password."""

from typing import Any

from django.core.management.base import BaseCommand, CommandParser

from webapp.people.management.named import named


class Command(BaseCommand):
    help = "Print the path of a link that signs a person in once, within 15 minutes."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--user", required=True, help="username, e.g. owner")

    def handle(self, *args: Any, **options: Any) -> None:
        user = named(options["user"])
        self.stdout.write(user.sign_in_link())
