"""`manage.py invite --team NAME`: prints the path of an invitation."""

from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from webapp.people.models import Role, Team


class Command(BaseCommand):
    help = "Print the path of a link by which one person joins a team, within 7 days."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--team", help="name or id; may be left out while there is only one team")
        parser.add_argument("--role", default=Role.EDITOR, choices=Role.values)

    def handle(self, *args: Any, **options: Any) -> None:
        asked = options["team"]
        teams = [team for team in Team.objects.all() if asked in (None, team.name, str(team.pk))]
        if len(teams) != 1:
            raise CommandError(f"{len(teams)} teams fit. Name one with --team: " + ", ".join(map(str, Team.objects.all())))
        self.stdout.write(teams[0].invite(options["role"], None))
