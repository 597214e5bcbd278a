"""The small curve of a run in lists: the loss so far as the points of an SVG polyline, from few of its stored chunks."""

from __future__ import annotations

import math
from statistics import fmean

from django.core.cache import cache

from webapp.runs.cursor import chunk_points
from webapp.runs.models import Run

WIDTH, HEIGHT = 120, 28
MOST = 60  # points drawn, and chunks read
KEPT_S = 7 * 24 * 3600


def spark(run: Run) -> str:
    """Nothing before there are two points. The curve of a run that is over stays as it is, so it is worked out once."""
    if not run.is_over:
        return polyline(losses(run))
    drawn: str | None = cache.get_or_set(f"spark:{run.pk}:{run.fence}", lambda: polyline(losses(run)), KEPT_S)
    return drawn or ""


def losses(run: Run) -> list[float]:
    keys = list(run.chunks.order_by("fence", "seq").values_list("pk", flat=True))
    chosen = run.chunks.filter(pk__in=keys[:: len(keys) // MOST + 1]).order_by("fence", "seq")
    points = (point["values"].get("loss") for chunk in chosen for _seq, point in chunk_points(chunk))
    found = [loss for loss in points if loss is not None and math.isfinite(loss)]
    width = math.ceil(len(found) / MOST) or 1
    return [fmean(found[at : at + width]) for at in range(0, len(found), width)]


def polyline(values: list[float]) -> str:
    if len(values) < 2:
        return ""
    low, span = min(values), (max(values) - min(values)) or 1
    across = WIDTH / (len(values) - 1)
    return " ".join(f"{at * across:.1f},{2 + (HEIGHT - 4) * (1 - (value - low) / span):.1f}" for at, value in enumerate(values))
