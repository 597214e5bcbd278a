"""The pages on which a model is asked."""

from __future__ import annotations

import json
from typing import Any
from uuid import UUID

from django.contrib.auth.decorators import login_required
from django.db.models import Q
from django.http import HttpResponse
from django.shortcuts import render
from django.urls import reverse
from django.utils.translation import gettext as _

from webapp.catalog.models import ModelVersion
from webapp.datasets.reading import templates
from webapp.datasets.templatetags.datasets import readable
from webapp.listing import Filter, Listing
from webapp.people.access import Actor, SignedIn, find
from webapp.playground.models import SWAP, Prediction, known_by, why_silent
from webapp.work.models import Worker
from worker.nlp import TASKS, Task
from worker.spec import Setting

MOST_MODELS = 200  # in the picker, newest first
MOST_COMPARED = 4
BASE = "base"  # in the address: the first model's base as it came
WIDEST_SLIDER = 5_000  # steps


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
    warm = Worker.warm_folders()
    for model in models:
        model.is_warm = str(model.path) in warm
    chosen = next((model for model in models if model == (chosen or preferred(actor, task, models))), None)  # as listed, with its state
    content = {"tasks": TASKS.values(), "task": task, "models": models, "model": chosen}
    if chosen:
        beside = [compared(actor, chosen, name, models) for name in request.GET.getlist("with")[: MOST_COMPARED - 1]]
        content |= drawn(request, chosen) | {"full": True, "columns": [column(chosen), *filter(None, beside)]}
    return render(request, "playground/page.html", content)


def preferred(actor: Actor, task: Task, models: list[ModelVersion]) -> ModelVersion | None:
    """What to open with: the model that this person asked last; else the best of the team's own by their scores, then a starter.
    Scores of other rows are no fair race, but better than the newest, however bad."""
    last = Prediction.objects.filter(created_by=actor.user, model__in=models).order_by("-pk").values_list("model", flat=True).first()
    metric = next(each for each in task.metrics if each.name == task.primary_metric)

    def rank(model: ModelVersion) -> tuple[bool, bool, float]:
        score = model.metrics.get(metric.name)
        is_scored = isinstance(score, int | float)
        return model.kind == ModelVersion.Kind.RUN, is_scored, metric.ahead(score, 0) if is_scored else 0.0

    return next((model for model in models if model.pk == last), max(models, key=rank, default=None))


@login_required
def panel(request: SignedIn, pk: UUID) -> HttpResponse:
    """ "Try it": a fragment that the pages of runs and models fetch."""
    model = find(request.actor, ModelVersion.objects.select_related("parent"), pk)
    content = drawn(request, model) if model.is_answering else {"model": model, "silence": why_silent(model)}
    return render(request, "playground/_try.html", content)


@login_required
def history(request: SignedIn, pk: UUID) -> HttpResponse:
    """What this person asked the model lately: a fragment."""
    model = find(request.actor, ModelVersion, pk)
    recent = Prediction.recent(request.actor, model)
    asked = [{"prediction": each, "question": json.dumps(question(each))} for each in recent[: 5 if "brief" in request.GET else None]]
    return render(request, "playground/_history.html", {"model": model, "asked": asked, "is_brief": "brief" in request.GET})


@login_required
def questions(request: SignedIn) -> HttpResponse:
    """Everything that this person asked, of whatever model: found again by its words."""
    actor = request.actor
    mine = Prediction.objects.visible_to(actor).filter(team=actor.team_id, created_by=actor.user).select_related("model__parent")
    of = find(actor, ModelVersion, request.GET["model"]) if request.GET.get("model") else None
    one = {str(of.pk): (of.name, Q(model=of))} if of else {}
    filters = (
        *((Filter("model", _("Model"), one),) if of else ()),
        Filter("task", _("Task"), {slug: (_(task.title), Q(model__task=slug)) for slug, task in TASKS.items()}),
        Filter(
            "state",
            _("State"),
            {
                "done": (_("Answered"), Q(state=Prediction.State.DONE)),
                "failed": (_("Failed or stopped"), Q(state__in=(Prediction.State.FAILED, Prediction.State.CANCELLED))),
            },
        ),
    )
    listing = Listing.of(
        request,
        mine,
        search=("model__name",),
        sorts={"newest": (_("Newest first"), ["-pk"]), "oldest": (_("Oldest first"), ["pk"])},
        filters=filters,
        also=in_texts,
    )
    return render(request, "playground/questions.html", {"listing": listing})


def in_texts(word: str) -> Q:
    """What was asked or answered, as JSON keeps it: SQLite's has escapes for what is not ASCII."""
    kept = json.dumps(word)[1:-1]
    plain = Q(inputs__icontains=word) | Q(answer__icontains=word)
    return plain if kept == word else plain | Q(inputs__icontains=kept) | Q(answer__icontains=kept)


@login_required
def prediction(request: SignedIn, pk: UUID) -> HttpResponse:
    """One question with its answer as it was: the address that a team passes around."""
    found = find(request.actor, Prediction.objects.select_related("model__parent", "created_by"), pk)
    model = found.model
    told = {"latency_ms": found.latency_ms, "engine": found.engine}
    asked = question(found) | {"answer": first_of(found.answer) | told, "reason": found.reason}
    if found.state != Prediction.State.DONE:
        asked["reason"] = found.reason or _("There is no answer to this question yet. Ask again.")
    content = drawn(request, model) | {
        "prediction": found,
        "asked": asked,
        "many": len(found.inputs) if isinstance(found.inputs, list) else 0,
        "silence": "" if model.is_answering else why_silent(model),
        "full": True,
        "columns": [column(model, found.untuned)],
    }
    return render(request, "playground/prediction.html", content)


# --- what a panel is drawn from -------------------------------------------------------------------------------------------
def drawn(request: SignedIn, model: ModelVersion) -> dict[str, Any]:
    """What the panel needs; everything but the model comes from what the task says about itself."""
    task, known = TASKS[model.task], model.known
    fields = [field for field in task.inputs if field.required or field.name in known.get("inputs", ())]
    both_ways = bool(known.get("both_ways"))
    path = f"/api/v1/models/{model.pk}/predictions"
    return {
        "model": model,
        "task": task,
        "fields": fields,
        "passage": max(fields, key=lambda field: (field.long, field.most_chars)).name,  # what offsets of an answer count in
        "parameters": [drawer_row(each) for each in task.parameters if known_by(model, each)],
        "examples": [example for row in model.examples if (example := example_of([field.name for field in fields], row))],
        "languages": [known["source_lang"], known.get("target_lang", "")] if "source_lang" in known else None,
        "asked_as": asked_as(model),
        "can_swap": both_ways,
        "swap": SWAP,
        "columns": [column(model)],
        "answer_templates": [f"playground/answers/{task.answer_view}.html", "playground/answers/text.html"],
        "shared": reverse("playground:prediction", args=[model.pk]).replace(f"{model.pk}/", ""),
        "address": request.build_absolute_uri(path),
    }


def asked_as(model: ModelVersion) -> list[str]:
    """The templates of several columns by which its training rows asked: a question should be written like them."""
    sources = model.maker.version.mapping if model.maker else {}
    asked = {field.name for field in TASKS[model.task].inputs}
    return [source for role, source in sources.items() if role in asked and templates.FIELD.search(source)]


def column(model: ModelVersion, untuned: bool = False) -> dict[str, Any]:
    """One of the models that answer beside each other; untuned: its base, as it came."""
    name = model.parent.name if untuned and model.parent else model.name
    return {"model": model, "untuned": untuned, "name": name, "base_says": has_base(model) and not untuned}


def compared(actor: Actor, first: ModelVersion, name: str, listed: list[ModelVersion]) -> dict[str, Any] | None:
    """The column that stands as `name` in the address. Nothing when it cannot answer the same question."""
    if name == BASE:
        return column(first, untuned=True) if has_base(first) else None
    other = next((model for model in listed if str(model.pk) == name), None)
    other = other or find(actor, ModelVersion.objects.answering().select_related("parent"), name)
    return column(other) if other.task == first.task else None


def has_base(model: ModelVersion) -> bool:
    return model.parent is not None and not model.parent.deleted_at


def drawer_row(setting: Setting) -> dict[str, Any]:
    """One parameter, with the step of its slider (none where there would be too many)."""
    span = (setting.most or 0) - (setting.least or 0)
    step = 1 if setting.kind == "int" else 0.01 if span <= 1 else 0.05
    has_slider = setting.kind in ("int", "float") and 0 < span / step <= WIDEST_SLIDER
    return {"setting": setting, "default": json.dumps(setting.default), "step": step if has_slider else None}


def example_of(names: list[str], row: dict[str, Any]) -> dict[str, str] | None:
    """A row to try the model with: what the chip says, and the question that it asks."""
    inputs = {name: str(row.get(name) or "") for name in names}
    says = readable(next(filter(None, inputs.values()), ""))  # a chat is not shown as its JSON
    return {"says": says, "question": json.dumps({"inputs": inputs})} if any(inputs.values()) else None


def question(prediction: Prediction) -> dict[str, Any]:
    """As it was asked; of a list the first."""
    return {"inputs": first_of(prediction.inputs), "parameters": prediction.parameters}


def first_of(found: Any) -> dict[str, Any]:
    first: dict[str, Any] = found[0] if isinstance(found, list) else found
    return first
