"""How runs speak: states, spans of time, scores and counts as words."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from django.contrib.humanize.templatetags import humanize
from django.template import Library
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from worker.nlp import TASKS

register = Library()

STATES = {
    "queued": (gettext_lazy("Queued"), "warn"),
    "starting": (gettext_lazy("Starting"), "live"),
    "running": (gettext_lazy("Running"), "live"),
    "finalizing": (gettext_lazy("Scoring"), "live"),
    "retry_wait": (gettext_lazy("Retrying"), "warn"),
    "paused": (gettext_lazy("Paused"), "warn"),
    "stopping": (gettext_lazy("Stopping"), "warn"),
    "succeeded": (gettext_lazy("Done"), "good"),
    "failed": (gettext_lazy("Failed"), "bad"),
    "cancelled": (gettext_lazy("Cancelled"), ""),
}
OUTCOMES = {
    "succeeded": gettext_lazy("Finished"),
    "cancelled": gettext_lazy("Cancelled"),
    "paused": gettext_lazy("Paused"),
    "drained": gettext_lazy("The worker shut down; the run continued elsewhere"),
    "disk_full": gettext_lazy("The disk was full"),
    "out_of_memory": gettext_lazy("Out of memory; the batch was split in two"),
    "user_data": gettext_lazy("These rows or settings cannot be used for training"),
    "unsafe_model": gettext_lazy("The base model is not safe to load"),
    "damaged": gettext_lazy("The checkpoint was damaged; the run continued from the previous one"),
    "stalled": gettext_lazy("The trainer stopped responding and was ended"),
    "start_timeout": gettext_lazy("The trainer did not start in time"),
    "lost": gettext_lazy("The worker was lost"),
    "crash": gettext_lazy("The trainer ended unexpectedly"),
}

PROGRESS = {
    "tokenising": gettext_lazy("Tokenizing"),
    "caching": gettext_lazy("Computing the frozen layers once"),
    "scoring": gettext_lazy("Evaluating on the held-out rows"),
    "answering": gettext_lazy("Answering held-out rows"),
    "comparing": gettext_lazy("Answering them with the base model, for comparison"),
}


@register.filter
def progress_word(what: str) -> str:
    return str(PROGRESS.get(what, what))


@register.filter
def state_word(state: str) -> str:
    return str(STATES[state][0])


@register.filter
def state_tone(state: str) -> str:
    return STATES[state][1]


@register.filter
def outcome_word(outcome: str) -> str:
    return str(OUTCOMES.get(outcome, outcome))


@register.filter
def count(number: Any) -> str:
    return f"{int(number or 0):,}"


@register.filter
def percent(share: Any) -> str:
    """A share of one as a number of hundred with one place: 75.3."""
    return "–" if share is None else f"{float(share) * 100:.1f}"


@register.filter
def span(seconds: Any) -> str:
    """Seconds as people say them."""
    if seconds is None:
        return "–"
    left = max(0, round(float(seconds)))
    hours, minutes, rest = left // 3600, left % 3600 // 60, left % 60
    said = [_("%d h") % hours] if hours else []
    said += [_("%d min") % minutes] if minutes else []
    said += [_("%d s") % rest] if (rest and left < 600) or not left else []
    return " ".join(said)


@register.filter
def roughly(seconds: Any) -> str:
    """A guess at a span, no finer than a guess should be: 40 s, 4 min, 1.5 h."""
    left = max(0.0, float(seconds))
    if left < 55:
        return _("%d s") % max(5, round(left / 5) * 5)
    if left < 5400:
        return _("%d min") % max(1, round(left / 60))
    return _("%s h") % f"{left / 3600:.1f}".removesuffix(".0")


@register.filter
def ordinal(place: int) -> str:
    """1st, 2nd, in the reader's language."""
    return str(humanize.ordinal(place))


@register.filter
def until(start: datetime | None, end: datetime | None) -> str:
    return span((end - start).total_seconds()) if start and end else "–"


@register.filter
def size(parameters: int) -> str:
    """A count of weights: 22.7 M."""
    return f"{parameters / 1e9:.1f} B" if parameters >= 1e9 else f"{parameters / 1e6:.1f} M"


@register.filter
def plain(value: Any) -> str:
    """A setting as people write it: 5e-5, 0.06, 32."""
    if isinstance(value, bool):
        return _("yes") if value else _("no")
    if isinstance(value, float):
        return f"{value:.0e}".replace("e-0", "e-") if 0 < abs(value) < 0.001 else f"{value:g}"
    return "–" if value is None or value == "" else str(value)


@register.filter
def unlocalised(number: float) -> str:
    """For scripts: a decimal point in every language."""
    return f"{number:.4f}"


@register.filter
def recipe(method: str, task: str) -> str:
    return next((recipe.title for recipe in TASKS[task].methods if recipe.method == method), method)


@register.filter
def words(text: str) -> list[str]:
    return text.split()
