"""`manage.py sign_in_link --user NAME`: prints the path of a one-time link; the way back in for who lost a password."""

from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from webapp.people.models import User


class Command(BaseCommand):
    help = "Print the path of a link that signs a person in once, within 15 minutes."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--user", required=True, help="username, e.g. owner")

    def handle(self, *args: Any, **options: Any) -> None:
        user = User.objects.filter(username=options["user"]).first()
        if user is None:
            raise CommandError(f"There is nobody called {options['user']!r}.")
        self.stdout.write(user.sign_in_link())
