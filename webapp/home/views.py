"""The first page: what runs, what is new, and for a newcomer the next step."""

from __future__ import annotations

import sys
from typing import Any

from django.contrib.auth.decorators import login_required
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.template.loader import render_to_string
from django.views.decorators.http import require_GET
from django.views.defaults import server_error

from webapp import disk
from webapp.catalog.models import ModelVersion
from webapp.datasets.models import Dataset
from webapp.people.access import WRITE, Actor, SignedIn
from webapp.playground.models import Prediction
from webapp.runs.models import Run
from webapp.runs.scores import Standing
from webapp.work.models import Worker
from worker.nlp import TASKS

FINISHED = [Run.State.SUCCEEDED, Run.State.FAILED, Run.State.CANCELLED]
KINDS = ("train", "data", "serve")
MOST_RUNNING = 8


@login_required
@require_GET
def page(request: SignedIn) -> HttpResponse:
    actor = request.actor
    heard = list(Worker.listening().values_list("kind", flat=True))
    context = {
        "running": running(actor),
        "finished": [Standing(run) for run in runs(actor).filter(state__in=FINISHED).order_by("-finished_at")[:5]],
        "datasets": Dataset.objects.visible_to(actor).filter(team=actor.team_id).order_by("-pk")[:4],
        "models": ModelVersion.objects.visible_to(actor)
        .present()
        .filter(team=actor.team_id, kind=ModelVersion.Kind.RUN)
        .order_by("-pk")[:4],
        "workers": [{"kind": kind, "count": heard.count(kind)} for kind in KINDS],
        "may_write": actor.may(WRITE, actor.team_id),
        "tasks": TASKS.values(),
        **steps(actor),
    }
    return render(request, "home/page.html", context)


@login_required
@require_GET
def now_running(request: SignedIn) -> HttpResponse:
    return render(request, "home/_running.html", {"running": running(request.actor)})


def runs(actor: Actor) -> Any:
    return Run.objects.present().visible_to(actor).filter(team=actor.team_id).select_related("version__dataset", "base", "created_by")


def running(actor: Actor) -> list[Standing]:
    """What a worker has in hand first, then those in line, in their order."""
    under_way = runs(actor).exclude(state__in=FINISHED)
    held = list(under_way.filter(state__in=Run.LEASED).order_by("pk")[:MOST_RUNNING])
    return [Standing(run) for run in [*held, *under_way.exclude(state__in=Run.LEASED).order_by("pk")[: MOST_RUNNING - len(held)]]]


def steps(actor: Actor) -> dict[str, Any]:
    """The way of a newcomer: which of the three steps are done, and which one is next (0: all are done)."""
    has_data = Dataset.objects.visible_to(actor).filter(team=actor.team_id, state=Dataset.State.READY).first()
    has_model = runs(actor).filter(state=Run.State.SUCCEEDED, result__isnull=False).order_by("-pk").first()
    has_tried = bool(has_model) and Prediction.objects.visible_to(actor).filter(team=actor.team_id, state=Prediction.State.DONE).exists()
    done = [bool(has_data or has_model), bool(has_model), has_tried]
    return {"next_step": 0 if all(done) else done.index(False) + 1, "ready_dataset": has_data, "ready_run": has_model}


def broken(request: HttpRequest) -> HttpResponse:
    """What Django answers when something raised that nobody expected: a page that needs no database."""
    if remedy := disk.remedy(sys.exc_info()[1]):
        return HttpResponse(render_to_string("507.html", {"remedy": remedy}), status=507)
    return server_error(request)
