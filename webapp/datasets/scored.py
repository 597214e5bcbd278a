"""How scores are told: of which rows they are, and how sure so many rows make them."""

from __future__ import annotations

from collections.abc import Sequence

from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from worker.spec import Metric


def rows_of(split: str, rows: int, of: int = 0) -> str:
    """Which rows a score is of, and how many: “31 test rows”."""
    sentences = {
        "test": ngettext("%(n)s test row", "%(n)s test rows", of or rows),
        "validation": ngettext("%(n)s validation row", "%(n)s validation rows", of or rows),
        "train": ngettext("%(n)s training row", "%(n)s training rows", of or rows),
    }
    sentence = sentences.get(split) or ngettext("%(n)s held-out row", "%(n)s held-out rows", of or rows)
    return sentence % {"n": f"{rows:,}" if not of or of == rows else _("%(rows)s of %(all)s") % {"rows": f"{rows:,}", "all": f"{of:,}"}}


def interval_shown(metric: Metric, interval: Sequence[float] | None) -> str:
    """“78.2 to 96.3”, or nothing."""
    return "" if not interval else _("%(low)s to %(high)s") % {"low": metric.shown(interval[0]), "high": metric.shown(interval[1])}
