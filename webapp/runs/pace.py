"""How long a run will take: from what past runs took, else from a rate that was measured once."""

from __future__ import annotations

from dataclasses import dataclass
from statistics import median

from webapp.catalog.models import ModelVersion
from webapp.datasets.models import DatasetVersion
from webapp.people.access import Actor
from webapp.runs.models import Run

# Seconds per row and epoch on one core with a base of 22.7 million weights and rows of about 20 tokens.
MEASURED_S = {"full": 0.014, "lora": 0.011, "quick": 0.003}
MEASURED_PARAMETERS = 22_700_000
MEASURED_CHARS = 80
START_S = 5.0


@dataclass(frozen=True)
class Pace:
    start_s: float
    epoch_s: float
    is_known: bool  # from past runs of this base and recipe, else a rough rate

    def total_s(self, epochs: float) -> float:
        return self.start_s + self.epoch_s * epochs


def pace(actor: Actor, version: DatasetVersion, base: ModelVersion, method: str) -> Pace:
    rows = version.splits.get("train") or version.rows
    past = Run.objects.visible_to(actor).filter(base=base, method=method, state="succeeded").exclude(started_at=None)
    rates = [rate for run in past.select_related("version").order_by("-created_at")[:5] if (rate := seconds_per_row(run))]
    if rates:
        return Pace(0, median(rates) * rows, True)
    weights = max(base.parameters, 1_000_000) / MEASURED_PARAMETERS
    return Pace(START_S, MEASURED_S.get(method, MEASURED_S["full"]) * weights * length(version) * rows, False)


def length(version: DatasetVersion) -> float:
    """How many times as long as those of the measurement the rows are; what is beyond the usual window is cut."""
    chars = version.statistics.get("chars", {}).get("p50") or MEASURED_CHARS
    return float(min(max(chars / MEASURED_CHARS, 0.5), 13))


def seconds_per_row(run: Run) -> float | None:
    """Seconds that one row of one epoch took in a finished run, start and scoring shared out among them."""
    rows = (run.version.splits.get("train") or run.version.rows) * float(run.settings.get("epochs", 1) or 1)
    if not (run.finished_at and run.started_at and rows):
        return None
    return (run.finished_at - run.started_at).total_seconds() / rows
