"""The pages on which a model is asked."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from django.contrib.auth.decorators import login_required
from django.http import HttpResponse
from django.shortcuts import render

from webapp.catalog.models import ModelVersion
from webapp.people.access import SignedIn, find
from webapp.playground.models import Prediction, why_silent
from worker.nlp import TASKS

MOST_MODELS = 200  # in the picker, newest first


@login_required
def page(request: SignedIn) -> HttpResponse:
    actor = request.actor
    answering = ModelVersion.objects.answering().select_related("parent", "run")
    chosen = find(actor, answering, request.GET["model"]) if request.GET.get("model") else None
    slug = chosen.task if chosen else request.GET.get("task", "")
    task = TASKS.get(slug) or next(iter(TASKS.values()))
    models = list(answering.at_hand(actor).filter(task=task.slug).order_by("-pk")[:MOST_MODELS])
    if chosen and chosen not in models:  # an old one, or one of another team of this person
        models.insert(0, chosen)
    chosen = chosen or next(iter(models), None)
    content = {"tasks": TASKS.values(), "task": task, "models": models, "model": chosen}
    return render(request, "playground/page.html", content | (drawn(request, chosen) if chosen else {}))


@login_required
def panel(request: SignedIn, pk: UUID) -> HttpResponse:
    """ "Try it": a fragment that the pages of runs and models fetch."""
    model = find(request.actor, ModelVersion.objects.select_related("parent"), pk)
    return render(request, "playground/_try.html", drawn(request, model))


@login_required
def history(request: SignedIn, pk: UUID) -> HttpResponse:
    """What this person asked the model lately: a fragment."""
    actor = request.actor
    model = find(actor, ModelVersion, pk)
    return render(request, "playground/_history.html", {"model": model, "predictions": Prediction.recent(actor, model)})


def drawn(request: SignedIn, model: ModelVersion) -> dict[str, Any]:
    """What the panel needs; the form is built from what the task says about its inputs."""
    if not model.is_answering:
        return {"model": model, "silence": why_silent(model)}
    fields = TASKS[model.task].inputs
    base = model.parent if model.parent and not model.parent.deleted_at else None
    return {
        "model": model,
        "base": base,
        "fields": fields,
        "examples": [[example.get(field.name, "") for field in fields] for example in model.examples],
        "address": request.build_absolute_uri(f"/api/v1/models/{model.pk}/predictions"),
        "path": f"/api/v1/models/{model.pk}/predictions",
    }
