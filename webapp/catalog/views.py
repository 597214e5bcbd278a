"""The pages of models: find through the one door, call one verb, draw."""

from __future__ import annotations

from uuid import UUID

from django.contrib.auth.decorators import login_required
from django.db.models import Case, Q, Value, When
from django.db.models.functions import Lower
from django.http import Http404, HttpResponse, StreamingHttpResponse
from django.shortcuts import redirect, render
from django.urls import reverse
from django.utils.translation import gettext_lazy
from django.views.decorators.http import require_POST

from webapp.catalog.models import ModelVersion, offered_folders
from webapp.catalog.packing import as_zip
from webapp.listing import Filter, Listing
from webapp.people.access import WRITE, SignedIn, find
from worker.nlp import TASKS
from worker.spec import SpecError

PAGE = 50
TRAINED, STARTERS, BASES = range(3)
SECTIONS = (
    (gettext_lazy("Trained here"), ""),
    (gettext_lazy("Starters"), gettext_lazy("small models that come with Tunebench; try them, or fine-tune them further")),
    (gettext_lazy("Base models"), gettext_lazy("what runs start from")),
)
RANK = Case(
    When(kind=ModelVersion.Kind.RUN, then=Value(TRAINED)),
    When(~Q(task=""), kind=ModelVersion.Kind.STARTER, then=Value(STARTERS)),
    default=Value(BASES),
)
SORTS = {
    "newest": (gettext_lazy("Newest first"), ["rank", "-pk"]),
    "name": (gettext_lazy("Name"), ["rank", Lower("name"), "-pk"]),
    "largest": (gettext_lazy("Largest first"), ["rank", "-parameters", "-pk"]),
    "smallest": (gettext_lazy("Smallest first"), ["rank", "parameters", "-pk"]),
}
FILTERS = (
    Filter(
        "kind", gettext_lazy("Kind"), {name: (SECTIONS[rank][0], Q(rank=rank)) for rank, name in enumerate(("trained", "starter", "base"))}
    ),
    Filter("task", gettext_lazy("Task"), {slug: (gettext_lazy(task.title), Q(task=slug)) for slug, task in TASKS.items()}),
)


@login_required
def models(request: SignedIn) -> HttpResponse:
    """The list; a POST adds a model of the hub or of a folder."""
    if request.method == "POST":
        return add(request)
    return listing(request)


def add(request: SignedIn) -> HttpResponse:
    actor, given = request.actor, request.POST
    try:
        model = (
            ModelVersion.add_folder(actor, given["folder"]) if given.get("folder") else ModelVersion.add_hub(actor, given.get("hub", ""))
        )
    except SpecError as error:
        return listing(request, {error.field: str(error)}, status=422)
    return redirect("catalog:page", model.pk)


def listing(request: SignedIn, errors: dict[str, str] | None = None, status: int = 200) -> HttpResponse:
    actor = request.actor
    listing = Listing.of(
        request,
        ModelVersion.objects.at_hand(actor).present().listed().annotate(rank=RANK),
        search=("name", "source", "parent__name", "created_by__username"),
        sorts=SORTS,
        filters=FILTERS,
        per_page=PAGE,
    )
    gone = request.GET.get("deleted")
    content = {
        "listing": listing,
        "sections": [
            (title, about, models)
            for rank, (title, about) in enumerate(SECTIONS)
            if (models := [m for m in listing.page if m.rank == rank])
        ],
        "has_own": ModelVersion.objects.at_hand(actor).present().filter(kind=ModelVersion.Kind.RUN).exists(),
        "deleted": find(actor, ModelVersion.objects.exclude(deleted_at=None), gone) if gone else None,
        "folders": offered_folders(),
        "errors": errors or {},
        "hub": request.POST.get("hub") or request.GET.get("hub", ""),
        "may_write": actor.may(WRITE, actor.team_id),
    }
    return render(request, "catalog/list.html", content, status=status)


@login_required
def page(request: SignedIn, pk: UUID) -> HttpResponse:
    actor = request.actor
    model = find(actor, ModelVersion.objects.listed(), pk)
    content = {
        "model": model,
        "children": model.children.visible_to(actor).present().order_by("-pk")[:20],
        "may_write": actor.may(WRITE, model.team_id),
        "may_train": actor.may(WRITE, actor.team_id),
    }
    return render(request, "catalog/page.html", content)


@login_required
def standing(request: SignedIn, pk: UUID) -> HttpResponse:
    """How far a model is that is being fetched: a fragment that asks again until it is there."""
    model = find(request.actor, ModelVersion.objects.listed(), pk)
    response = render(request, "catalog/_standing.html", {"model": model})
    if model.state != ModelVersion.State.FETCHING:
        response["HX-Refresh"] = "true"
    return response


@login_required
@require_POST
def fetching(request: SignedIn, pk: UUID) -> HttpResponse:
    """Try again."""
    find(request.actor, ModelVersion.objects.present(), pk, WRITE).fetch_again()
    return redirect("catalog:page", pk)


@login_required
@require_POST
def deletion(request: SignedIn, pk: UUID) -> HttpResponse:
    find(request.actor, ModelVersion.objects.present(), pk, WRITE).delete_softly()
    return redirect(f"{reverse('catalog:list')}?deleted={pk}")


@login_required
@require_POST
def restoration(request: SignedIn, pk: UUID) -> HttpResponse:
    find(request.actor, ModelVersion, pk, WRITE).restore()
    return redirect("catalog:page", pk)


@login_required
def download(request: SignedIn, pk: UUID) -> StreamingHttpResponse:
    model = find(request.actor, ModelVersion.objects.present(), pk)
    if model.state != ModelVersion.State.READY:
        raise Http404
    return as_zip(model)
