"""The pages of runs: find through the one door, call one verb, draw."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any
from uuid import UUID

from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.db.models import F, Q
from django.db.models.functions import Lower
from django.http import HttpResponse
from django.shortcuts import redirect, render
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy
from django.views.decorators.http import require_POST

from webapp import queue
from webapp.catalog.models import ModelVersion
from webapp.datasets.models import DatasetVersion
from webapp.listing import Filter, Listing
from webapp.people.access import READ, WRITE, Actor, SignedIn, find
from webapp.runs.forms import RunForm, versions_for
from webapp.runs.line import turn
from webapp.runs.models import Run
from webapp.runs.pace import pace
from webapp.runs.scores import Standing
from webapp.work.models import Worker
from worker.nlp import TASKS
from worker.spec import SpecError

PAGE = 30
FILTERS = (
    Filter(
        "state",
        gettext_lazy("State"),
        {
            "active": (
                gettext_lazy("In progress"),
                Q(state__in=("queued", "starting", "running", "finalizing", "retry_wait", "paused", "stopping")),
            ),
            "done": (gettext_lazy("Done"), Q(state="succeeded")),
            "failed": (gettext_lazy("Failed or cancelled"), Q(state__in=("failed", "cancelled"))),
        },
    ),
    Filter("task", gettext_lazy("Task"), {slug: (gettext_lazy(task.title), Q(task=slug)) for slug, task in TASKS.items()}),
)


def living() -> Any:
    return Run.objects.present().select_related("version__dataset", "base", "result", "created_by", "last_checkpoint")


def sorts(task: str) -> dict[str, tuple[Any, Any]]:
    """The orders of the list; scores can be compared within one task only."""
    known: dict[str, tuple[Any, Any]] = {
        "newest": (_("Newest first"), ["-pk"]),
        "oldest": (_("Oldest first"), ["pk"]),
        "name": (_("Name"), [Lower("name"), "-pk"]),
    }
    if task in TASKS:
        metric = next(each for each in TASKS[task].metrics if each.name == TASKS[task].primary_metric)
        score = F(f"metrics__{metric.name}")
        best = score.asc(nulls_last=True) if metric.less_is_better else score.desc(nulls_last=True)
        known["best"] = (_("Best %(metric)s first") % {"metric": _(metric.title)}, [best, "-pk"])
    return known


@login_required
def runs(request: SignedIn) -> HttpResponse:
    actor = request.actor
    listing = Listing.of(
        request,
        living().visible_to(actor).filter(team_id=actor.team_id),
        search=("name", "version__dataset__name", "base__name", "created_by__username"),
        sorts=sorts(request.GET.get("task", "")),
        filters=FILTERS,
        per_page=PAGE,
    )
    runs = [Standing(run) for run in listing.page]
    gone = request.GET.get("deleted")
    return render(
        request,
        "runs/list.html",
        {
            "listing": listing,
            "runs": runs,
            "unheard": next((one for one in runs if one.run.state == "queued" and not one.run.worker_listens()), None),
            "deleted": find(actor, Run.objects.exclude(deleted_at=None), gone) if gone else None,
            "has_data": versions_for(actor).exists(),
            "may_write": actor.may(WRITE, actor.team_id),
        },
    )


@login_required
def new(request: SignedIn) -> HttpResponse:
    actor = request.actor
    actor.require(WRITE, actor.team_id)
    given = request.POST or request.GET
    original = find(actor, living(), given["clone"]) if given.get("clone") else None
    version = find(actor, versions_for(actor), given["version"]) if given.get("version") else None
    version = version or (original.version if original else newest_for(actor, given.get("base")))
    start = {**original.settings, "base": original.base, "method": original.method} if original else {}
    start |= {name: value for name, value in request.GET.items() if value and name not in ("version", "clone")}
    form = RunForm(actor, request.POST or None, version=version, start=start)
    if request.method == "POST" and form.is_valid() and (run := form.submit()):
        return redirect("runs:page", run.pk)
    return render(request, "runs/new.html", offer(form, original), status=422 if form.errors else 200)


def newest_for(actor: Actor, base: str | None) -> DatasetVersion | None:
    """The newest rows; where somebody comes from a base model, those of its own task, else those that it can learn."""
    versions = versions_for(actor)
    model = find(actor, ModelVersion, base) if base else None
    own = versions.filter(task=model.task).first() if model else None
    found: DatasetVersion | None = own or (versions.filter(task__in=model.learns).first() if model else None) or versions.first()
    return found


def offer(form: RunForm, original: Run | None) -> dict[str, Any]:
    """What the form shows beside its fields: the bases, the recipes with their estimates."""
    recipes = [
        {
            "method": recipe.method,
            "title": recipe.title,
            "about": recipe.about,
            "pace": pace(form.actor, form.chosen, form.model, recipe.method) if form.model and form.chosen else None,
        }
        for recipe in form.recipes
    ]
    return {
        "form": form,
        "original": original,
        "bases": form.bases,
        "base": form.model,
        "recipes": recipes,
        "listens": Run(task=form.task.slug).worker_listens(),
    }


def context(request: SignedIn, run: Run) -> dict[str, Any]:
    actor = request.actor
    return {
        "run": run,
        "standing": Standing(run),
        "facts": run.facts(),
        "task": TASKS[run.task],
        "may_write": actor.may(WRITE, run.team_id),
        "data_listens": Worker.listening(queue.DATA).exists(),
        "began": json.dumps({each.fence: each.started_at.timestamp() for each in run.attempts.order_by("fence") if each.started_at}),
        "attempts": run.attempts.select_related("worker").order_by("fence"),
        "listens": run.state != "queued" or run.worker_listens(),
        "turn": turn(actor, run) if run.state == "queued" else None,
        "last_log": last_log(run) if run.state == "failed" else [],
    }


def last_log(run: Run, most: int = 8) -> list[dict[str, Any]]:
    """The last lines that a run said, from the newest frames backwards."""
    lines: list[dict[str, Any]] = []
    for log in run.chunks.exclude(log=[]).order_by("-fence", "-seq").values_list("log", flat=True)[:most]:
        lines = [*log, *lines]
    return lines[-most:]


@login_required
def page(request: SignedIn, pk: UUID) -> HttpResponse:
    return render(request, "runs/page.html", context(request, find(request.actor, living(), pk, READ)))


@login_required
def standing(request: SignedIn, pk: UUID) -> HttpResponse:
    """The parts of the page that change with the run's state, to be swapped in; while it waits, only its place in line."""
    run = find(request.actor, living(), pk, READ)
    template = "runs/_waiting.html" if request.GET.get("part") == "waiting" else "runs/_standing.html"
    return render(request, template, {**context(request, run), "is_swap": True})


@login_required
def checkpoints(request: SignedIn, pk: UUID) -> HttpResponse:
    """The table of a run's checkpoints: a fragment."""
    return render(request, "runs/_checkpoints.html", context(request, find(request.actor, living(), pk, READ)))


@login_required
@require_POST
def keeping(request: SignedIn, pk: UUID, step: int) -> HttpResponse:
    """Make a model of a checkpoint; then the table again, which says what becomes of it."""
    run = find(request.actor, living(), pk, WRITE)
    refusal = ""
    try:
        run.checkpoint_at(step).keep(request.actor)
    except SpecError as error:
        refusal = str(error)
    return render(request, "runs/_checkpoints.html", {**context(request, run), "refusal": refusal})


def wish(verb: Callable[[Run], bool]) -> Callable[[SignedIn, UUID], HttpResponse]:
    """The view of one wish: told to the run, then its page again, which says what became of it."""

    @login_required
    @require_POST
    def view(request: SignedIn, pk: UUID) -> HttpResponse:
        verb(find(request.actor, living(), pk, WRITE))
        return redirect("runs:page", pk)

    return view


cancellation = wish(Run.cancel)
completion = wish(Run.finish)
pause = wish(Run.pause)
resumption = wish(Run.resume)


@login_required
@require_POST
def name(request: SignedIn, pk: UUID) -> HttpResponse:
    run = find(request.actor, living(), pk, WRITE)
    try:
        run.rename(request.POST.get("name", ""))
    except SpecError as error:
        messages.error(request, str(error))
    return redirect("runs:page", pk)


@login_required
@require_POST
def deletion(request: SignedIn, pk: UUID) -> HttpResponse:
    run = find(request.actor, living(), pk, WRITE)
    if run.delete():
        return redirect(f"/runs/?deleted={pk}")
    messages.error(request, _("Stop the run first, then delete it."))
    return redirect("runs:page", pk)


@login_required
@require_POST
def restoration(request: SignedIn, pk: UUID) -> HttpResponse:
    run = find(request.actor, Run.objects.exclude(deleted_at=None), pk, WRITE)
    run.restore()
    return redirect("runs:page", pk)
