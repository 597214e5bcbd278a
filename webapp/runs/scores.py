"""A run's scores beside the free baselines on the same rows, and its confusions, as pages draw them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from webapp.runs.models import Run
from webapp.runs.spark import spark
from worker.nlp import TASKS

MOST_LABELS = 30  # a confusion matrix with more is a carpet: the worst pairs are listed instead
MOST_PAIRS = 20


@dataclass(frozen=True)
class Standing:
    run: Run

    @property
    def metric(self) -> str:
        return TASKS[self.run.task].primary_metric

    @property
    def metric_title(self) -> str:
        return next(metric.title for metric in TASKS[self.run.task].metrics if metric.name == self.metric)

    @property
    def score(self) -> float | None:
        score: float | None = self.run.metrics.get(self.metric)
        return score

    @property
    def rivals(self) -> list[tuple[str, float]]:
        """(name, score) of each free baseline, weakest first."""
        scores = self.run.version.baselines.get("scores", {})
        return sorted(((name, s[self.metric]) for name, s in scores.items() if self.metric in s), key=lambda pair: pair[1])

    @property
    def best_rival(self) -> tuple[str, float] | None:
        return self.rivals[-1] if self.rivals else None

    @property
    def lead(self) -> float | None:
        """How far the run is above the best baseline, as a share; negative below."""
        return None if self.score is None or not self.best_rival else self.score - self.best_rival[1]

    @property
    def spark(self) -> str:
        """The loss so far as the points of a small curve, or nothing."""
        return spark(self.run)

    @property
    def place(self) -> int | None:
        """Its place in line, or None when it does not wait."""
        return self.run.position()

    @property
    def percent_done(self) -> float:
        return 100 * self.run.step / self.run.steps if self.run.steps else 0

    @property
    def metrics(self) -> list[tuple[str, float, str]]:
        """(title, value, meaning) of each metric of the task."""
        known = TASKS[self.run.task].metrics
        return [(metric.title, self.run.metrics[metric.name], metric.about) for metric in known if metric.name in self.run.metrics]

    @property
    def shows_matrix(self) -> bool:
        return 0 < len(self.run.evaluation.get("labels", [])) <= MOST_LABELS

    @property
    def confusion(self) -> list[dict[str, Any]]:
        """The matrix as rows of cells; each cell with its share of the true class."""
        labels, matrix = self.run.evaluation.get("labels", []), self.run.evaluation.get("confusion", [])
        return [
            {
                "label": label,
                "rows": sum(row),
                "cells": [
                    {"rows": n, "share": round(100 * n / (sum(row) or 1)), "label": labels[at], "is_right": at == number}
                    for at, n in enumerate(row)
                ],
            }
            for number, (label, row) in enumerate(zip(labels, matrix, strict=False))
        ]

    @property
    def worst_pairs(self) -> list[dict[str, Any]]:
        labels, matrix = self.run.evaluation.get("labels", []), self.run.evaluation.get("confusion", [])
        pairs = [
            {"true": labels[i], "said": labels[j], "rows": n} for i, row in enumerate(matrix) for j, n in enumerate(row) if i != j and n
        ]
        return sorted(pairs, key=lambda pair: -pair["rows"])[:MOST_PAIRS]

    @property
    def reliability(self) -> list[dict[str, Any]]:
        """The bins that hold rows: what the model claimed and what came true."""
        return [bin_ for bin_ in self.run.evaluation.get("reliability", []) if bin_.get("rows")]

    @property
    def settings(self) -> list[tuple[Any, Any]]:
        """(setting, value) in the task's order; what the task no longer knows comes last under its own name."""
        known = {setting.name: setting for setting in TASKS[self.run.task].settings}
        named = [(known[name], self.run.settings[name]) for name in known if name in self.run.settings]
        return named + [({"label": name}, value) for name, value in self.run.settings.items() if name not in known]
