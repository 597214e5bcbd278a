"""Pages of datasets: find through the door, call one verb, render."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlencode
from uuid import UUID

from django.conf import settings
from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.core.paginator import Paginator
from django.db.models import Count
from django.http import FileResponse, Http404, HttpRequest, HttpResponse, JsonResponse, StreamingHttpResponse
from django.shortcuts import redirect, render
from django.urls import reverse
from django.utils.http import content_disposition_header
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy, ngettext
from django.views.decorators.http import require_GET, require_http_methods, require_POST

from webapp.datasets import rows
from webapp.datasets.forms import Mapping, chosen_uploads
from webapp.datasets.models import Dataset, DatasetVersion, NotNow, Upload
from webapp.people.access import WRITE, find
from webapp.work.models import WorkItem
from worker.nlp import TASKS
from worker.spec import SpecError

LISTED = 50
SAMPLE = settings.ROOT / "webapp" / "home" / "sample" / "reviews.csv"


@login_required
@require_http_methods(["GET", "POST"])
def datasets(request: HttpRequest) -> HttpResponse:
    actor = request.actor  # type: ignore[attr-defined]
    if request.method == "POST":
        try:
            task = request.POST.get("task") or next(iter(TASKS))
            made = Dataset.start(actor, request.POST.get("name", ""), task, chosen_uploads(request))
        except SpecError as error:
            messages.error(request, str(error))
            return redirect("datasets:list")
        return redirect("datasets:show", made.pk)
    found = Dataset.objects.visible_to(actor).filter(team=actor.team_id).with_latest().select_related("created_by").order_by("-pk")
    page = Paginator(found, LISTED).get_page(request.GET.get("page"))
    unfinished = Upload.objects.visible_to(actor).filter(created_by=actor.user, dataset=None, sha256="").order_by("-pk")[:5]
    context = {"page": page, "unfinished": unfinished, "may_write": actor.may(WRITE, actor.team_id), "deleted": just_deleted(request)}
    return render(request, "datasets/list.html", context | limits())


def limits() -> dict[str, Any]:
    return {"limit_gb": settings.UPLOAD_LIMIT / 1024**3, "upload_limit": settings.UPLOAD_LIMIT, "chunk": settings.UPLOAD_CHUNK}


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
    """The reviews that come with the product, as if somebody had dropped the file."""
    actor = request.actor  # type: ignore[attr-defined]
    with SAMPLE.open("rb") as file:
        upload = Upload.take(actor, "sample-reviews.csv", file, SAMPLE.stat().st_size)
    return redirect("datasets:show", Dataset.start(actor, _("Sample reviews"), "classification", {"file": upload}).pk)


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


def about(request: HttpRequest, found: Dataset) -> dict[str, Any]:
    may_write = request.actor.may(WRITE, found.team_id)  # type: ignore[attr-defined]
    return {"dataset": found, "reading": found.latest_import, "may_write": may_write, "task": TASKS[found.task]} | limits()


def render_mapping(request: HttpRequest, found: Dataset, error: str = "") -> HttpResponse:
    reading = found.latest_import
    if reading is None or not reading.report:
        raise Http404
    context = about(request, found) | {
        "mapping": Mapping.of(reading),
        "error": error or found.reason,
        "next_number": found.versions.count() + 1,
    }
    return render(request, "datasets/mapping.html", context, status=422 if error else 200)


@login_required
@require_GET
def mapping(request: HttpRequest, pk: Any) -> HttpResponse:
    """Map the columns again, for another version."""
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
        reading.confirm(request.actor, wanted.roles, labels=wanted.labels, message=wanted.message, accept_rejected=wanted.accept_rejected)  # type: ignore[attr-defined]
    except (SpecError, NotNow) as error:
        return render_mapping(request, found, str(error))
    return redirect("datasets:show", pk)


@login_required
@require_POST
def readings(request: HttpRequest, pk: Any) -> HttpResponse:
    """Read the same file with another header row, encoding, delimiter or sheet."""
    found: Dataset = find(request.actor, Dataset, pk, WRITE)  # type: ignore[attr-defined]
    reading = found.latest_import
    if reading is None:
        raise Http404
    try:
        found.read_again(request.actor.user, Mapping.of(reading).reading_answers(request.POST))  # type: ignore[attr-defined]
    except NotNow as error:
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
def rejected(request: HttpRequest, pk: Any) -> HttpResponse:
    """The rows that could not be used, each with its reason."""
    found: Dataset = find(request.actor, Dataset, pk)  # type: ignore[attr-defined]
    path = found.rejected_path
    if path is None:
        raise Http404
    return attachment(FileResponse(path.open("rb"), content_type="text/csv; charset=utf-8"), f"{found.name}-rejected.csv")


def attachment(response: Any, file_name: str) -> Any:
    """Whatever it holds, the browser keeps it and never shows it in our name."""
    response["Content-Disposition"] = content_disposition_header(True, file_name)
    response["Cross-Origin-Resource-Policy"] = "same-origin"
    return response


# --- Rows ---------------------------------------------------------------------------------------------------------------
def find_version(request: HttpRequest, pk: Any, number: int) -> tuple[Dataset, DatasetVersion]:
    found: Dataset = find(request.actor, Dataset, pk)  # type: ignore[attr-defined]
    version = found.versions.filter(number=number).first()
    if version is None:
        raise Http404
    return found, version


@login_required
@require_GET
def version(request: HttpRequest, pk: Any, number: int) -> HttpResponse:
    return render_rows(request, *find_version(request, pk, number))


def wanted_rows(request: HttpRequest) -> rows.Wanted:
    return rows.Wanted(request.GET.get("q", "")[:200], request.GET.get("label"), request.GET.get("split", ""))


def render_rows(request: HttpRequest, found: Dataset, shown: DatasetVersion) -> HttpResponse:
    wanted = wanted_rows(request)
    after = request.GET.get("after", "")
    page = rows.page_of(shown, wanted, int(after) if after.isascii() and after.isdigit() and len(after) < 12 else -1)
    context = about(request, found) | {
        "version": shown,
        "versions": found.versions.select_related("created_by").annotate(used_by=Count("runs")),
        "baselines": baselines(shown),
        "baseline_metrics": TASKS[shown.task].metrics[:2],
        "baselines_failed": WorkItem.objects.filter(subject=shown.pk, kind="baselines", state=WorkItem.State.FAILED).exists(),
        "statistics": statistics(shown),
        "page": page,
        "wanted": wanted,
        "columns": columns_of(shown, page),
        "bars": bars(shown),
        "query": Query(request.GET.dict()),
        "after": after,
        "count_shown": ngettext("%(n)s row on this page", "%(n)s rows on this page", len(page.rows)) % {"n": len(page.rows)},
    }
    return render(request, "datasets/rows.html", context)


class Query(dict[str, str]):
    """The page's query, with changes: what a filter links to. A changed filter begins at the first row again."""

    def without(self, *names: str) -> str:
        return "?" + urlencode({k: v for k, v in self.items() if k not in names and k != "after"})

    def with_(self, **changes: Any) -> str:
        return "?" + urlencode({**{k: v for k, v in self.items() if k != "after"}, **changes})


def columns_of(version: DatasetVersion, page: rows.Page) -> list[str]:
    return list(page.rows[0]["values"]) if page.rows else [*version.mapping]


def bars(version: DatasetVersion) -> list[dict[str, Any]]:
    most = max((label["rows"] for label in version.labels), default=1)
    return [
        {**label, "width": f"{100 * label['rows'] / most:.1f}%", "share": 100 * label["rows"] / max(version.rows, 1)}
        for label in version.labels
    ]


BASELINES = {
    "majority": gettext_lazy("Majority class"),
    "tfidf_word": gettext_lazy("TF-IDF words + logistic regression"),
    "tfidf_char": gettext_lazy("TF-IDF characters + logistic regression"),
}


def baselines(version: DatasetVersion) -> list[dict[str, Any]]:
    metrics = [name for name, _title, _meaning in TASKS[version.task].metrics[:2]]
    scores = version.baselines.get("scores", {})
    shown = lambda value: "" if value is None else f"{100 * value:.1f}"  # noqa: E731
    return [
        {"title": BASELINES.get(name, name), "values": [shown(score.get(metric)) for metric in metrics]} for name, score in scores.items()
    ]


def statistics(version: DatasetVersion) -> list[tuple[str, str]]:
    """The numbers that have a name for people; others stay in the API."""
    found = flat(version.statistics)
    return [(str(title), f"{found[name]:,.0f}") for name, title in STATISTICS.items() if isinstance(found.get(name), int | float)]


def flat(tree: dict[str, Any], before: str = "") -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, value in tree.items():
        found |= flat(value, f"{before}{name}.") if isinstance(value, dict) else {f"{before}{name}": value}
    return found


STATISTICS = {
    "chars.p50": gettext_lazy("Characters, middle row"),
    "chars.p95": gettext_lazy("Characters, 95 % have at most"),
    "chars.max": gettext_lazy("Characters, longest row"),
    "words.p50": gettext_lazy("Words, middle row"),
    "words.p95": gettext_lazy("Words, 95 % have at most"),
    "words.max": gettext_lazy("Words, longest row"),
    "duplicates": gettext_lazy("Exact duplicates"),
    "near_duplicates": gettext_lazy("Near duplicates"),
    "conflicts": gettext_lazy("Same text, different labels"),
}


@login_required
@require_GET
def row(request: HttpRequest, pk: Any, number: int, position: int) -> HttpResponse:
    """One row, whole: a drawer on the rows page, a page of its own by its link."""
    found, shown = find_version(request, pk, number)
    one = rows.row_at(shown, position)
    if one is None:
        raise Http404
    one |= {"before": position - 1, "behind": position + 1}
    template = "datasets/_row.html" if request.htmx else "datasets/row.html"  # type: ignore[attr-defined]
    return render(request, template, about(request, found) | {"version": shown, "row": one, "last": shown.rows - 1})


@login_required
@require_GET
def download(request: HttpRequest, pk: Any, number: int, ending: str) -> HttpResponse:
    found, shown = find_version(request, pk, number)
    writers = {"csv": (rows.as_csv, "text/csv; charset=utf-8"), "jsonl": (rows.as_jsonl, "application/x-ndjson; charset=utf-8")}
    if ending not in writers:
        raise Http404
    write, kind = writers[ending]
    return attachment(StreamingHttpResponse(write(shown, wanted_rows(request)), content_type=kind), f"{found.name}-v{number}.{ending}")  # type: ignore[no-any-return]
