"""When the turn of a waiting run comes, said only where it can be said honestly."""

from __future__ import annotations

from dataclasses import dataclass

from django.db.models import Q

from webapp import queue
from webapp.people.access import Actor
from webapp.runs import states
from webapp.runs.models import Run
from webapp.runs.pace import pace
from webapp.work.models import Worker


@dataclass(frozen=True)
class Turn:
    place: int  # from 1
    after: Run | None  # the run directly before it; runs of other teams have no name here
    starts_in_s: float | None  # None: nobody can tell


def turn(actor: Actor, run: Run) -> Turn | None:
    """None for a run that does not wait. With several workers nobody knows which one is free first."""
    place = run.position()
    if place is None:
        return None
    if Worker.listening(queue.TRAIN_GPU, *([] if run.needs_gpu else [queue.TRAIN_CPU])).count() != 1:
        return Turn(place, None, None)
    earlier = Q(state__in=states.WAITING) & (Q(created_at__lt=run.created_at) | Q(created_at=run.created_at, pk__lt=run.pk))
    ahead = Run.objects.present().filter(Q(state__in=states.LEASED) | earlier, needs_gpu=run.needs_gpu).exclude(pk=run.pk)
    found = sorted(ahead.select_related("version", "base"), key=lambda each: (each.state in states.WAITING, each.created_at))
    rests = [rest_s(actor, each) for each in found]
    last = found[-1] if found and found[-1].team_id in actor.roles else None
    return Turn(place, last, sum(rest for rest in rests if rest is not None) if found and None not in rests else None)


def rest_s(actor: Actor, run: Run) -> float | None:
    """What a run ahead still needs: as it says itself, else as past runs of its kind took, else unknown."""
    if run.eta_s is not None:
        return run.eta_s
    usual = pace(actor, run.version, run.base, run.method)
    if not usual.is_known or run.state == states.FINALIZING:
        return None
    return usual.total_s(float(run.settings.get("epochs", 1) or 1))
