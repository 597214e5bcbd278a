"""`manage.py token --user NAME`: makes an API token and prints it as the last line."""

from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from webapp.people.forms import SCOPES
from webapp.people.management.named import named
from webapp.people.models import ApiToken


class Command(BaseCommand):
    help = "Make an API token for a person. Its secret is the last line printed, and kept nowhere."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--user", required=True, help="username, e.g. owner")
        parser.add_argument("--name", default="command line", help="what it is for")
        parser.add_argument("--days", type=int, default=90, help="ends after so many days; 0: never")
        parser.add_argument("--scopes", default="write", choices=list(SCOPES), help="read, or write (which includes read)")

    def handle(self, *args: Any, **options: Any) -> None:
        user = named(options["user"])
        if options["days"] < 0:
            raise CommandError("--days must be 0 or more.")
        token, secret = ApiToken.make(user, options["name"], SCOPES[options["scopes"]], options["days"] or None)
        self.stderr.write(f"Token {token.prefix}... for {user.username}, ends: {token.expires_at or 'never'}")
        self.stdout.write(secret)
