"""The person that a command is told about."""

from django.core.management.base import CommandError
from django.db import OperationalError, ProgrammingError

from webapp.people.models import User


def named(username: str) -> User:
    """Raises CommandError with a sentence."""
    try:
        user: User | None = User.objects.filter(username=username).first()
    except (OperationalError, ProgrammingError):
        raise CommandError(
            "There is no Tunebench in this place yet. Start it once (make up), and give this command the same "
            "TUNEBENCH_HOME, TUNEBENCH_FILES and DATABASE_URL that it runs with."
        ) from None
    if user is None:
        raise CommandError(f"There is nobody called {username!r}.")
    return user
