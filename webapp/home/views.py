"""The first page: what runs, what is new, and for a newcomer the next step."""

from __future__ import annotations

from typing import Any

from django.contrib.auth.decorators import login_required
from django.http import HttpResponse
from django.shortcuts import render
from django.views.decorators.http import require_GET

from webapp.catalog.models import ModelVersion
from webapp.datasets.models import Dataset
from webapp.people.access import WRITE, Actor, SignedIn
from webapp.playground.models import Prediction
from webapp.runs.models import MetricChunk, Run
from webapp.runs.scores import Standing
from webapp.work.models import Worker

FINISHED = [Run.State.SUCCEEDED, Run.State.FAILED, Run.State.CANCELLED]
KINDS = ("train", "data", "serve")
MOST_CHUNKS = 60


@login_required
@require_GET
def page(request: SignedIn) -> HttpResponse:
    actor = request.actor
    heard = list(Worker.listening().values_list("kind", flat=True))
    context = {
        "running": running(actor),
        "finished": [Standing(run) for run in runs(actor).filter(state__in=FINISHED).order_by("-finished_at")[:5]],
        "datasets": Dataset.objects.visible_to(actor).filter(deleted_at=None).order_by("-pk")[:4],
        "models": ModelVersion.objects.visible_to(actor).filter(deleted_at=None, kind=ModelVersion.Kind.RUN).order_by("-pk")[:4],
        "workers": [{"kind": kind, "count": heard.count(kind)} for kind in KINDS],
        "may_write": actor.may(WRITE, actor.team_id),
        **steps(actor),
    }
    return render(request, "home/page.html", context)


@login_required
@require_GET
def now_running(request: SignedIn) -> HttpResponse:
    return render(request, "home/_running.html", {"running": running(request.actor)})


def runs(actor: Actor) -> Any:
    return Run.objects.present().visible_to(actor).select_related("version__dataset", "base", "created_by")


def running(actor: Actor) -> list[dict[str, Any]]:
    found = runs(actor).exclude(state__in=FINISHED).order_by("-pk")[:8]
    return [{"run": run, "standing": Standing(run), "spark": spark(run)} for run in found]


def spark(run: Run, width: int = 120, height: int = 28) -> str:
    """The loss so far as the points of an SVG polyline, or nothing before there are two. Reads at most 60 chunks."""
    keys = list(run.chunks.order_by("fence", "seq").values_list("pk", flat=True))
    chosen = run.chunks.filter(pk__in=keys[:: len(keys) // MOST_CHUNKS + 1]).order_by("fence", "seq")
    losses = [loss for chunk in chosen if (loss := mean_loss(chunk)) is not None]
    if len(losses) < 2:
        return ""
    low, span = min(losses), (max(losses) - min(losses)) or 1
    across = width / (len(losses) - 1)
    return " ".join(f"{at * across:.1f},{2 + (height - 4) * (1 - (loss - low) / span):.1f}" for at, loss in enumerate(losses))


def mean_loss(chunk: MetricChunk) -> float | None:
    if "loss" in chunk.rollup:
        return float(chunk.rollup["loss"][2])
    found = [point["values"]["loss"] for point in chunk.points if point["values"].get("loss") is not None]
    return sum(found) / len(found) if found else None


def steps(actor: Actor) -> dict[str, Any]:
    """The way of a newcomer: which of the three steps are done, and which one is next (0: all are done)."""
    has_data = Dataset.objects.visible_to(actor).filter(deleted_at=None, state=Dataset.State.READY).first()
    has_model = runs(actor).filter(state=Run.State.SUCCEEDED, result__isnull=False).order_by("-pk").first()
    has_tried = bool(has_model) and Prediction.objects.visible_to(actor).filter(state=Prediction.State.DONE).exists()
    done = [bool(has_data or has_model), bool(has_model), has_tried]
    return {"next_step": 0 if all(done) else done.index(False) + 1, "ready_dataset": has_data, "ready_run": has_model}
