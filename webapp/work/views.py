"""The page of the workers: who is there, and what they do now."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from django.contrib.auth.decorators import login_required
from django.http import HttpResponse
from django.shortcuts import render

from webapp.people.access import Actor, SignedIn
from webapp.work.models import Claimable, Worker

KINDS = ("train", "data", "serve")


@login_required
def workers(request: SignedIn) -> HttpResponse:
    listed = list(Worker.objects.order_by("kind", "host", "-started_at"))
    heard = set(Worker.listening().values_list("pk", flat=True))
    doing = work_in_hand(request.actor)
    rows = [{"worker": w, "is_heard": w.pk in heard or w.draining, "doing": doing.get(w.pk)} for w in listed]
    missing = [kind for kind in KINDS if kind not in {w.kind for w in listed if w.pk in heard}]
    return render(request, "work/list.html", {"rows": rows, "missing": missing})


def work_in_hand(actor: Actor) -> dict[UUID, dict[str, Any]]:
    """What each worker holds a lease on: {worker: {"name", "url"}}; other teams' things have no name here."""
    held: dict[UUID, dict[str, Any]] = {}
    for kind in Claimable.__subclasses__():
        leased: Any = kind._default_manager.filter(state__in=kind.LEASED).exclude(lease_owner=None)  # type: ignore[misc]
        for thing in leased:
            is_ours = getattr(thing, "team_id", None) in actor.roles
            url = f"/{kind._meta.app_label}/{thing.pk}/" if is_ours else ""
            held[thing.lease_owner_id] = {"name": thing.name if is_ours else "", "kind": getattr(thing, "kind", ""), "url": url}
    return held
