"""How models speak: sizes, scores and states as words."""

from __future__ import annotations

from typing import Any

from django.template import Library
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from webapp.catalog.card import Block
from webapp.catalog.card import blocks as read_card
from webapp.catalog.models import ModelVersion
from webapp.datasets.scored import interval_shown, rows_of
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
SHAPES = {
    "encoder": gettext_lazy("Encoder: reads a text"),
    "encoder-decoder": gettext_lazy("Encoder-decoder: reads a text and writes another"),
    "decoder": gettext_lazy("Decoder: continues a text"),
}
EXAMPLES = {"encoder": "google-bert/bert-base-uncased", "encoder-decoder": "google-t5/t5-small", "decoder": "HuggingFaceTB/SmolLM2-135M"}


@register.filter
def shape_word(shape: str) -> str:
    return str(SHAPES.get(shape, shape))


@register.filter
def hub_example(shape: str) -> str:
    """The name of a small base model of this shape on the hub."""
    return EXAMPLES.get(shape, "")


@register.filter
def tone(state: str) -> str:
    return TONES.get(state, "")


@register.filter
def word(model: ModelVersion) -> str:
    """How it stands; what is made here is not fetched."""
    is_made = (model.kind, model.state) == (ModelVersion.Kind.RUN, ModelVersion.State.FETCHING)
    return _("Being written") if is_made else str(WORDS.get(model.state, model.state))


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
def measured(model: ModelVersion) -> list[dict[str, Any]]:
    """The scores that a model came with, the task's first metric first: [{"title", "about", "shown", "interval", "meter"}]; no meter
    for a plain number, which has no whole, and none where less is better: a long bar looks like a good score."""
    task = TASKS.get(model.task)
    intervals = evaluation_of(model).get("intervals", {})
    metrics = sorted(task.metrics, key=lambda metric: metric.name != task.primary_metric) if task else []
    return [
        {
            "title": _(m.title),
            "about": _(m.about),
            "shown": m.shown(value),
            "interval": interval_shown(m, intervals.get(m.name)),
            "meter": f"{100 * min(1, max(0, value)):.1f}%" if m.unit == "share" and not m.less_is_better else "",
        }
        for m in metrics
        if isinstance(value := model.metrics.get(m.name), int | float)
    ]


@register.filter
def scored_rows(model: ModelVersion) -> str:
    """Which rows its scores are of: “31 test rows”."""
    rows, evaluation = model.metrics.get("rows"), evaluation_of(model)
    return rows_of(evaluation.get("split", ""), int(rows)) if rows else ""


def evaluation_of(model: ModelVersion) -> dict[str, Any]:
    """Of the run whose result it is; a model of a checkpoint has only what the curve said."""
    return dict(model.run.evaluation) if hasattr(model, "run") else {}


@register.filter
def blocks(card: str) -> list[Block]:
    return read_card(card)


@register.filter
def task_title(slug: str) -> str:
    return _(TASKS[slug].title) if slug in TASKS else slug
