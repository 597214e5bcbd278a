"""What the files of one team may take (TEAM_QUOTA), whichever app keeps them: each app says what it holds."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from django.conf import settings
from django.db import transaction
from django.utils.translation import gettext as _

from webapp.people.models import Team

holders: list[Callable[[Any], int]] = []  # team -> bytes


class OverQuota(Exception):
    """It does not fit; the message is for people."""


def held_by(team_id: Any) -> int:
    """Bytes that a team holds until they are purged, or has announced."""
    return sum(held(team_id) for held in holders)


@contextmanager
def one_at_a_time(team_id: Any) -> Iterator[None]:
    """A transaction in which nobody else of the team asks for room: what `check` finds holds until the end."""
    with transaction.atomic():
        Team.objects.select_for_update().get(pk=team_id)
        yield


def check(team_id: Any, more: int) -> None:
    """Raises OverQuota if the team has no room for so many bytes more."""
    held = held_by(team_id)
    if held + more <= settings.TEAM_QUOTA:
        return
    sizes = {"held": f"{held / 1e9:,.1f}", "quota": f"{settings.TEAM_QUOTA / 1e9:,.1f}", "days": f"{settings.PURGE_DAYS:g}"}
    raise OverQuota(
        _(
            "The team holds %(held)s GB of the %(quota)s GB that its datasets and fetched models may take (TEAM_QUOTA), and this does "
            "not fit. Delete datasets and models that nobody needs, and the runs that learnt from them. Their space is free after "
            "%(days)s days, or at once when whoever runs the server calls manage.py purge --days 0."
        )
        % sizes
    )
