"""Pages of datasets: find through the door, call one verb, render."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.db.models import F, Q
from django.db.models.functions import Lower
from django.http import FileResponse, Http404, HttpRequest, HttpResponse, JsonResponse
from django.http.response import HttpResponseBase
from django.shortcuts import redirect, render
from django.urls import reverse
from django.utils.translation import gettext_lazy
from django.views.decorators.http import require_GET, require_http_methods, require_POST

from webapp.datasets.forms import SEVERAL_LABELS, Mapping, chosen_uploads
from webapp.datasets.models import Dataset, NotNow, Upload
from webapp.datasets.pages import SAMPLES, about, attachment, limits
from webapp.datasets.table import render_rows
from webapp.listing import Filter, Listing
from webapp.people.access import WRITE, find
from worker.nlp import KINDS, TASKS
from worker.spec import SpecError

LISTED = 50
SORTS = {
    "newest": (gettext_lazy("Newest first"), ["-pk"]),
    "oldest": (gettext_lazy("Oldest first"), ["pk"]),
    "name": (gettext_lazy("Name"), [Lower("name"), "-pk"]),
    "rows": (gettext_lazy("Most rows first"), [F("rows").desc(nulls_last=True), "-pk"]),
}
FILTERS = (
    Filter(
        "state",
        gettext_lazy("State"),
        {
            "ready": (gettext_lazy("Ready"), Q(state=Dataset.State.READY)),
            "needs_mapping": (gettext_lazy("Needs your answer"), Q(state=Dataset.State.NEEDS_MAPPING)),
            "importing": (gettext_lazy("Reading"), Q(state=Dataset.State.IMPORTING)),
            "failed": (gettext_lazy("Failed"), Q(state=Dataset.State.FAILED)),
        },
    ),
    Filter("task", gettext_lazy("Task"), {slug: (gettext_lazy(task.title), Q(task=slug)) for slug, task in KINDS.items()}),
)


@login_required
@require_http_methods(["GET", "POST"])
def datasets(request: HttpRequest) -> HttpResponse:
    actor = request.actor  # type: ignore[attr-defined]
    if request.method == "POST":
        try:
            made = Dataset.start(actor, request.POST.get("name", ""), request.POST.get("task", ""), chosen_uploads(request))
        except SpecError as error:
            messages.error(request, str(error))
            return redirect("datasets:list")
        return redirect("datasets:show", made.pk)
    listing = Listing.of(
        request,
        Dataset.objects.visible_to(actor).filter(team=actor.team_id).with_latest().select_related("created_by"),
        search=("name", "created_by__username"),
        sorts=SORTS,
        filters=FILTERS,
        per_page=LISTED,
    )
    unfinished = Upload.objects.visible_to(actor).filter(created_by=actor.user, dataset=None, sha256="").order_by("-pk")[:5]
    for each in listing.page:
        each.for_task = KINDS.get(each.task)
    context = {
        "listing": listing,
        "page": listing.page,
        "unfinished": unfinished,
        "may_write": actor.may(WRITE, actor.team_id),
        "deleted": just_deleted(request),
    }
    return render(request, "datasets/list.html", context | limits() | {"tasks": list(TASKS.values()), "samples": SAMPLES})


def just_deleted(request: HttpRequest) -> Dataset | None:
    """What was deleted a moment ago, for undo."""
    gone = Dataset.every.exclude(deleted_at=None)
    try:
        return find(request.actor, gone, UUID(request.GET["deleted"])) if "deleted" in request.GET else None  # type: ignore[attr-defined]
    except (ValueError, Http404):
        return None


@login_required
@require_POST
def sample(request: HttpRequest) -> HttpResponse:
    """A file that comes with the product, as if somebody had dropped it."""
    actor = request.actor  # type: ignore[attr-defined]
    chosen = SAMPLES.get(request.POST.get("sample") or next(iter(SAMPLES)))
    if chosen is None:
        raise Http404
    with chosen.path.open("rb") as file:
        upload = Upload.take(actor, f"sample-{chosen.file}", file, chosen.path.stat().st_size)
    return redirect("datasets:show", Dataset.start(actor, str(chosen.name), chosen.task, {"file": upload}).pk)


@login_required
@require_GET
def dataset(request: HttpRequest, pk: Any) -> HttpResponse:
    """What comes next for this dataset: waiting, mapping, another file, or its rows."""
    found: Dataset = find(request.actor, Dataset, pk)  # type: ignore[attr-defined]
    found.give_up_dropped_work()
    match found.state:
        case Dataset.State.NEEDS_MAPPING:
            return render_mapping(request, found)
        case Dataset.State.READY if latest := found.latest_version:
            return render_rows(request, found, latest)
    return render(request, "datasets/waiting.html", about(request, found))


def render_mapping(request: HttpRequest, found: Dataset, error: str = "") -> HttpResponse:
    reading = found.latest_import
    if reading is None or not reading.report:
        raise Http404
    context = about(request, found) | {
        "mapping": Mapping.of(reading),
        "error": error or ("" if found.reason in [f["message"] for f in reading.questions] else found.reason),
        "next_number": found.versions.count() + 1,
    }
    return render(request, "datasets/mapping.html", context, status=422 if error else 200)


@login_required
@require_GET
def mapping(request: HttpRequest, pk: Any) -> HttpResponse:
    """Change the column mapping, for another version."""
    return render_mapping(request, find(request.actor, Dataset, pk))  # type: ignore[attr-defined]


@login_required
@require_POST
def versions(request: HttpRequest, pk: Any) -> HttpResponse:
    """Create a version of what was read."""
    found: Dataset = find(request.actor, Dataset, pk, WRITE)  # type: ignore[attr-defined]
    reading = found.latest_import
    if reading is None:
        raise Http404
    try:
        wanted = Mapping.of(reading).with_answers(request.POST)
        answers: dict[str, Any] = {"message": wanted.message, "accept_rejected": wanted.accept_rejected}
        if request.POST.get("several_labels") in SEVERAL_LABELS:
            answers["several_labels"] = request.POST["several_labels"]
        if wanted.is_counted:
            reading.confirm(request.actor, wanted.roles, labels=wanted.labels, **answers)  # type: ignore[attr-defined]
        else:
            reading.look_again(request.actor, wanted.roles, labels=wanted.labels or None, **answers)  # type: ignore[attr-defined]
    except (SpecError, NotNow) as error:
        return render_mapping(request, found, str(error))
    return redirect("datasets:show", pk)


@login_required
@require_POST
def readings(request: HttpRequest, pk: Any) -> HttpResponse:
    """Read the same file with another header row, encoding, delimiter or sheet, or for another task."""
    found: Dataset = find(request.actor, Dataset, pk, WRITE)  # type: ignore[attr-defined]
    reading = found.latest_import
    if reading is None:
        raise Http404
    try:
        task = request.POST.get("as") or request.POST.get("task", "")
        found.read_again(request.actor.user, Mapping.of(reading).reading_answers(request.POST), task)  # type: ignore[attr-defined]
    except (SpecError, NotNow) as error:
        messages.error(request, str(error))
    return redirect("datasets:show", pk)


@login_required
@require_POST
def files(request: HttpRequest, pk: Any) -> HttpResponse:
    """Other files: after a failure, or for the next version."""
    found: Dataset = find(request.actor, Dataset, pk, WRITE)  # type: ignore[attr-defined]
    try:
        found.add_files(request.actor, chosen_uploads(request))  # type: ignore[attr-defined]
    except SpecError as error:
        messages.error(request, str(error))
    return redirect("datasets:show", pk)


@login_required
@require_GET
def state(request: HttpRequest, pk: Any) -> HttpResponse:
    """For pages whose socket is blocked."""
    found: Dataset = find(request.actor, Dataset, pk)  # type: ignore[attr-defined]
    found.give_up_dropped_work()
    return JsonResponse({"state": found.state})


@login_required
@require_POST
def name(request: HttpRequest, pk: Any) -> HttpResponse:
    found: Dataset = find(request.actor, Dataset, pk, WRITE)  # type: ignore[attr-defined]
    try:
        found.rename(request.POST.get("name", ""))
    except SpecError as error:
        messages.error(request, str(error))
    return redirect("datasets:show", pk)


@login_required
@require_POST
def deletion(request: HttpRequest, pk: Any) -> HttpResponse:
    find(request.actor, Dataset, pk, WRITE).delete()  # type: ignore[attr-defined]
    return redirect(f"{reverse('datasets:list')}?deleted={pk}")


@login_required
@require_POST
def restoration(request: HttpRequest, pk: Any) -> HttpResponse:
    find(request.actor, Dataset.every.all(), pk, WRITE).restore()  # type: ignore[attr-defined]
    return redirect("datasets:show", pk)


@login_required
@require_GET
def rejected(request: HttpRequest, pk: Any) -> HttpResponseBase:
    """The rows that could not be used, each with its reason."""
    found: Dataset = find(request.actor, Dataset, pk)  # type: ignore[attr-defined]
    path = found.rejected_path
    if path is None:
        raise Http404
    return attachment(FileResponse(path.open("rb"), content_type="text/csv; charset=utf-8"), f"{found.name}-rejected.csv")
