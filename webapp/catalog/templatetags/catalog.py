"""How models speak: sizes, scores and states as words."""

from __future__ import annotations

from typing import Any

from django.template import Library
from django.utils.translation import gettext_lazy

from webapp.catalog.models import ModelVersion
from worker.nlp import TASKS

register = Library()
TONES = {"ready": "good", "fetching": "live", "failed": "bad"}
WORDS = {"ready": gettext_lazy("Ready"), "fetching": gettext_lazy("Fetching"), "failed": gettext_lazy("Failed")}
KINDS = {
    "starter": gettext_lazy("comes with Tunebench"),
    "hub": gettext_lazy("from the hub"),
    "folder": gettext_lazy("from a folder of this machine"),
    "run": gettext_lazy("trained here"),
}


@register.filter
def tone(state: str) -> str:
    return TONES.get(state, "")


@register.filter
def word(state: str) -> str:
    return str(WORDS.get(state, state))


@register.filter
def origin(kind: str) -> str:
    return str(KINDS.get(kind, kind))


@register.filter
def short(count: int) -> str:
    """22,713,728 as 22.7 M."""
    for unit, size in (("B", 10**9), ("M", 10**6), ("k", 10**3)):
        if count >= size:
            return f"{count / size:.1f} {unit}"
    return str(count)


@register.filter
def points(share: Any) -> str:
    """A share from 0 to 1 as points of a hundred."""
    return f"{100 * share:.1f}" if isinstance(share, int | float) else "–"


@register.filter
def measured(model: ModelVersion) -> list[dict[str, Any]]:
    """The scores that a model came with, the task's first metric first: [{"title", "meaning", "value", "is_share"}]."""
    task = TASKS.get(model.task)
    metrics = sorted(task.metrics, key=lambda metric: metric.name != task.primary_metric) if task else []
    found = [(m.title, m.about, model.metrics[m.name]) for m in metrics if m.name in model.metrics]
    return [{"title": title, "meaning": meaning, "value": value} for title, meaning, value in found]


@register.filter
def task_title(slug: str) -> str:
    return TASKS[slug].title if slug in TASKS else slug
