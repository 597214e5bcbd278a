"""The pages of a version: its rows, one row, downloads."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlencode

from django.contrib.auth.decorators import login_required
from django.db.models import Count
from django.http import Http404, HttpRequest, HttpResponse, StreamingHttpResponse
from django.http.response import HttpResponseBase
from django.shortcuts import render
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy, ngettext
from django.views.decorators.http import require_GET

from webapp.datasets import rows
from webapp.datasets.models import Dataset, DatasetVersion
from webapp.datasets.pages import about, attachment
from webapp.datasets.scored import interval_shown
from webapp.people.access import find
from webapp.work.models import WorkItem
from worker.nlp import KINDS
from worker.nlp.measures import BASELINES
from worker.spec import Metric

SHOWN = {  # rows that a finding is about, by the finding's code and by what the address calls them
    "conflicts": ("conflicting_labels", gettext_lazy("same text, different labels")),
    "duplicates": ("duplicates", gettext_lazy("exact duplicates")),
}
LONG = 60  # characters of a text, on average, that gets a wide column


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
    show = request.GET.get("show", "")
    return rows.Wanted(
        request.GET.get("q", "")[:200], request.GET.get("label"), request.GET.get("split", ""), show if show in SHOWN else ""
    )


def render_rows(request: HttpRequest, found: Dataset, shown: DatasetVersion) -> HttpResponse:
    wanted = wanted_rows(request)
    after = request.GET.get("after", "")
    page = rows.page_of(shown, wanted, int(after) if after.isascii() and after.isdigit() and len(after) < 12 else -1)
    columns = columns_of(found, shown, page)
    context = about(request, found) | {
        "version": shown,
        "task": KINDS[shown.task],
        "versions": found.versions.select_related("created_by").annotate(used_by=Count("runs")),
        "baselines": baselines(shown),
        "baseline_metrics": measured(shown),
        "baselines_failed": WorkItem.objects.filter(subject=shown.pk, kind="baselines", state=WorkItem.State.FAILED).exists(),
        "statistics": statistics(shown),
        "findings": findings(found, shown),
        "shows": SHOWN.get(wanted.show, ("", ""))[1],
        "page": page,
        "wanted": wanted,
        "columns": columns,
        "rows": [{**row, "cells": list(zip(columns, row["values"].values(), strict=True))} for row in page.rows],
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


def columns_of(found: Dataset, version: DatasetVersion, page: rows.Page) -> list[dict[str, Any]]:
    """The columns as they stand in the table; of the newest version also what its reading knows about them."""
    reading = found.latest_import if version == found.latest_version else None
    known = {column["name"]: column for column in (reading.report.get("columns", []) if reading else [])}
    if label := version.mapping.get(version.label_role):  # its labels may have been joined since, and rows without one left out
        known[label] = {**known.get(label, {"type": "text"}), "distinct": len(version.labels), "missing": 0}
    names = list(page.rows[0]["values"]) if page.rows else [*version.mapping]
    called = titles(version)

    def is_long(name: str) -> bool:
        return name in called and sum(len(row["values"][name] or "") for row in page.rows) > LONG * len(page.rows)

    return [
        {"title": called.get(name, name), "known": known.get(version.mapping.get(name, name)), "is_long": is_long(name)} for name in names
    ]


def titles(version: DatasetVersion) -> dict[str, str]:
    """What people call the columns that the task knows."""
    return {role.name: _(role.label) for role in KINDS[version.task].roles}


def findings(found: Dataset, version: DatasetVersion) -> list[dict[str, Any]]:
    """What was found in the rows of this version, after labels were joined, each with the address of its rows where there is one."""
    reading = found.latest_import if version == found.latest_version else None
    listed = reading.report.get("publishing", {}).get("findings", []) if reading else []
    shows = {code: show for show, (code, _title) in SHOWN.items()}
    order = ("error", "warning", "info")
    return [{**finding, "show": shows.get(finding["code"], "")} for finding in sorted(listed, key=lambda each: order.index(each["level"]))]


def bars(version: DatasetVersion) -> list[dict[str, Any]]:
    most = max((label["rows"] for label in version.labels), default=1)
    return [
        {**label, "width": f"{100 * label['rows'] / most:.1f}%", "share": 100 * label["rows"] / max(version.rows, 1)}
        for label in sorted(version.labels, key=lambda label: -label["rows"])
    ]


def measured(version: DatasetVersion) -> list[Metric]:
    """The first two metrics that the baselines were scored by."""
    scored = {name for score in version.baselines.get("scores", {}).values() for name in score}
    return [metric for metric in KINDS[version.task].metrics if metric.name in scored][:2]


def baselines(version: DatasetVersion) -> list[dict[str, Any]]:
    """What each scored; an older version has no intervals."""
    scores, intervals = version.baselines.get("scores", {}), version.baselines.get("intervals", {})

    def value(metric: Metric, name: str) -> dict[str, str]:
        shown = metric.shown(scores[name][metric.name]) if metric.name in scores[name] else ""
        return {"shown": shown, "interval": interval_shown(metric, intervals.get(name, {}).get(metric.name))}

    return [{"title": _(BASELINES.get(name, name)), "values": [value(metric, name) for metric in measured(version)]} for name in scores]


def statistics(version: DatasetVersion) -> list[tuple[str, str, str]]:
    """(name, number, what the address calls its rows) of the numbers that have a name for people; others stay in the API. Where a
    row has several texts, the lengths of each."""
    known, roles = titles(version), {role.name: role for role in KINDS[version.task].roles}
    is_needed = any(role.required for role in roles.values())  # then lengths of optional texts say little
    lengths = version.statistics.get("texts", {})
    texts = {name: found for name, found in lengths.items() if name in known and (roles[name].required or not is_needed)}
    found = [
        (f"{known[name]}: {title}", value, "") for name, lengths in texts.items() for title, value, _show in told(lengths, SHORT_STATISTICS)
    ]
    return found + told(version.statistics, {name: t for name, t in STATISTICS.items() if not texts or "." not in name})


def told(tree: dict[str, Any], names: dict[str, Any]) -> list[tuple[str, str, str]]:
    found = flat(tree)
    return [
        (str(title), f"{found[name]:,.0f}", name if name in SHOWN and found[name] else "")
        for name, title in names.items()
        if isinstance(found.get(name), int | float)
    ]


def flat(tree: dict[str, Any], before: str = "") -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, value in tree.items():
        found |= flat(value, f"{before}{name}.") if isinstance(value, dict) else {f"{before}{name}": value}
    return found


STATISTICS = {
    "chars.p50": gettext_lazy("Characters, median"),
    "chars.p95": gettext_lazy("Characters, 95th percentile"),
    "chars.max": gettext_lazy("Characters, longest"),
    "words.p50": gettext_lazy("Words, median"),
    "words.p95": gettext_lazy("Words, 95th percentile"),
    "words.max": gettext_lazy("Words, longest"),
    "duplicates": gettext_lazy("Exact duplicates"),
    "near_duplicates": gettext_lazy("Near duplicates"),
    "conflicts": gettext_lazy("Same text, different labels"),
}
SHORT_STATISTICS = {
    "chars.p50": gettext_lazy("characters, median"),
    "chars.max": gettext_lazy("characters, longest"),
}


@login_required
@require_GET
def row(request: HttpRequest, pk: Any, number: int, position: int) -> HttpResponse:
    """One row, whole: a drawer on the rows page, a page of its own by its link."""
    found, shown = find_version(request, pk, number)
    one = rows.row_at(shown, position)
    if one is None:
        raise Http404
    known = titles(shown)
    cells = [(known.get(name, name), value) for name, value in one["values"].items()]
    one |= {"before": position - 1, "behind": position + 1, "cells": cells}
    template = "datasets/_row.html" if request.htmx else "datasets/row.html"  # type: ignore[attr-defined]
    return render(request, template, about(request, found) | {"version": shown, "row": one, "last": shown.rows - 1})


@login_required
@require_GET
def download(request: HttpRequest, pk: Any, number: int, ending: str) -> HttpResponseBase:
    found, shown = find_version(request, pk, number)
    writers = {"csv": (rows.as_csv, "text/csv; charset=utf-8"), "jsonl": (rows.as_jsonl, "application/x-ndjson; charset=utf-8")}
    if ending not in writers:
        raise Http404
    write, kind = writers[ending]
    return attachment(StreamingHttpResponse(write(shown, wanted_rows(request)), content_type=kind), f"{found.name}-v{number}.{ending}")
