"""A run's scores beside the baselines on the same rows, and what its evaluation found, as pages draw them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from django.utils.translation import gettext as _

from webapp.datasets.scored import interval_shown, rows_of
from webapp.runs.models import Run
from webapp.runs.models.curve import picked_by
from webapp.runs.models.run import CLEARED
from webapp.runs.spark import spark
from worker.nlp import TASKS, Task
from worker.nlp.measures import BASELINES
from worker.nlp.texts import MUCH_UNKNOWN
from worker.spec import Metric

MOST_LABELS = 30  # a confusion matrix with more is a carpet: the worst pairs are listed instead
MOST_PAIRS = 20
SHORT = 200  # characters of an input that is shown at once
ALL_RIGHT = 0.985  # of a share: what is left is within the labels' own faults


@dataclass(frozen=True)
class Standing:
    run: Run

    @property
    def task(self) -> Task:
        return TASKS[self.run.task]

    @property
    def metric(self) -> Metric:
        """The one that stands beside the baselines."""
        return next(metric for metric in self.task.metrics if metric.name == self.task.primary_metric)

    @property
    def score(self) -> float | None:
        score: float | None = self.run.metrics.get(self.metric.name)
        return score

    @property
    def rows(self) -> int:
        """On how many held-out rows the score was measured: of what is written, only some are answered."""
        answered = self.metric.name in self.run.evaluation.get("of_answers", ())
        return int(self.run.evaluation["tried"] if answered else self.run.metrics.get("rows", 0))

    @property
    def unknown(self) -> str:
        """How much of the rows' text the base model does not know, where that is much."""
        share = self.run.evaluation.get("unknown", 0.0)
        return f"{share:.0%}".replace("%", " %") if share >= MUCH_UNKNOWN else ""

    @property
    def score_shown(self) -> str:
        return "–" if self.score is None else self.metric.shown(self.score)

    @property
    def rivals(self) -> list[tuple[str, float]]:
        """(name, score) of each free baseline and of the untuned base, weakest first."""
        scores = {**self.run.version.baselines.get("scores", {}), "untuned": self.run.evaluation.get("untuned") or {}}
        found = [(name, s[self.metric.name]) for name, s in scores.items() if self.metric.name in s]
        return sorted(found, key=lambda pair: pair[1], reverse=self.metric.less_is_better)

    @property
    def beside(self) -> list[dict[str, Any]]:
        """The rivals as the page draws them, weakest first; the last one is the run itself."""
        intervals = self.run.version.baselines.get("intervals", {})
        found = [(_(BASELINES.get(name, name)), score, intervals.get(name, {}).get(self.metric.name)) for name, score in self.rivals]
        return [
            {
                "title": title,
                "shown": "–" if score is None else self.metric.shown(score),
                "interval": interval_shown(self.metric, interval),
                "width": self.width(score),
            }
            for title, score, interval in [*found, (_("This run"), self.score, self.interval)]
        ]

    def width(self, score: float | None) -> str:
        """How far a bar reaches: a share of the whole, a plain number of the largest in sight."""
        whole = 1.0 if self.metric.unit == "share" else max([value for _name, value in self.rivals] + [self.score or 0])
        return f"{100 * min(1, max(0, (score or 0) / (whole or 1))):.1f}%"

    @property
    def meter(self) -> str:
        """The bar of its own score, where a full bar means something."""
        return self.width(self.score) if self.metric.unit == "share" and self.score is not None else ""

    @property
    def best_rival(self) -> dict[str, str] | None:
        if not self.rivals:
            return None
        name, score = self.rivals[-1]
        return {"title": _(BASELINES.get(name, name)), "shown": self.metric.shown(score)}

    @property
    def lead(self) -> float | None:
        """How far the run is ahead of the best baseline, in what is shown of both; below zero behind it."""
        return None if self.score is None or not self.rivals else self.metric.ahead(self.score, self.rivals[-1][1])

    @property
    def verdict(self) -> str:
        """The lead in a word or two: “11.1 above”, “level with”; of a number without a whole “84 % lower than”."""
        if self.score is None or self.lead is None:
            return ""
        if not self.lead:
            return _("level with")
        if self.metric.unit == "share":
            return (_("%s above") if self.lead > 0 else _("%s below")) % f"{abs(self.lead):.1f}"
        higher, rival = self.score > self.rivals[-1][1], self.rivals[-1][1]
        if higher and self.score > 2 * rival > 0:
            return _("%s times") % f"{self.score / rival:,.1f}"
        share = 100 * abs(self.score - rival) / (rival or 1)
        said = _("less than 1") if share < 1 else _("over 99") if share > 99 else f"{share:.0f}"
        return (_("%s %% higher than") if higher else _("%s %% lower than")) % said

    # --- on which rows, and how sure they make it ---
    @property
    def rows_said(self) -> str:
        """“31 test rows”; of what is written only some are answered: “60 of 300 test rows”."""
        return rows_of(self.run.evaluation.get("split", ""), self.rows, int(self.run.metrics.get("rows", 0)))

    @property
    def all_rows_said(self) -> str:
        return rows_of(self.run.evaluation.get("split", ""), int(self.run.metrics.get("rows", 0)))

    @property
    def validation_said(self) -> str:
        """The rows on which the scores of the curve are measured."""
        return rows_of("validation", int(self.run.version.splits.get("validation", 0)))

    @property
    def caveat(self) -> str:
        """What makes the score a little flattering, or worthless."""
        return {
            "validation": _("The best state was chosen by the same rows, so this is a little flattering: give some rows the split “test”."),
            "train": _("No row was held out: the model has learnt from these. Give some rows the split “test”."),
        }.get(self.run.evaluation.get("split", ""), "")

    @property
    def interval(self) -> tuple[float, float] | None:
        found = self.run.evaluation.get("intervals", {}).get(self.metric.name)
        return (found[0], found[1]) if found and self.score is not None else None

    @property
    def interval_shown(self) -> str:
        return interval_shown(self.metric, self.interval)

    @property
    def is_within(self) -> bool:
        """Whether the best baseline lies where the run's own score may lie: so few rows do not tell them apart."""
        return bool(self.interval and self.rivals and self.interval[0] <= self.rivals[-1][1] <= self.interval[1])

    @property
    def is_full(self) -> bool:
        """Whether run and best baseline leave nothing to gain on these rows."""
        return self.metric.unit == "share" and bool(self.rivals) and min(self.score or 0, self.rivals[-1][1]) >= ALL_RIGHT

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
    def metrics(self) -> list[dict[str, str]]:
        """What the run scored by each metric of the task, as the page tells it."""
        signatures = self.run.evaluation.get("signatures") or {}
        return [
            {
                "title": _(m.title),
                "about": _(m.about),
                "shown": m.shown(self.run.metrics[m.name]),
                "signature": signatures.get(m.name, ""),
                "interval": interval_shown(m, self.run.evaluation.get("intervals", {}).get(m.name)),
            }
            for m in self.task.metrics
            if isinstance(self.run.metrics.get(m.name), int | float)
        ]

    @property
    def checkpoints(self) -> list[dict[str, Any]]:
        """Those that are there, and those of which a model was made or should have been, newest first."""
        metric = picked_by(self.run)
        found = self.run.checkpoints.select_related("model").order_by("-step", "-fence")
        is_there = self.run.state not in CLEARED
        shown = [each for each in found if (is_there and each.state == "committed") or (each.model and not each.model.deleted_at)]
        return [
            {
                "it": each,
                "is_last": each.pk == self.run.last_checkpoint_id,
                "score": "–" if each.metric is None else metric.shown(each.metric) if metric else f"{each.metric:.3f}",
            }
            for each in shown
        ]

    @property
    def beside_checkpoints(self) -> str:
        """With what a checkpoint's model is compared: the run's own, or the base."""
        result = self.run.result
        return str(result.pk) if result and result.is_answering else "base"

    @property
    def picked_by(self) -> str:
        """By what the states of the run are compared."""
        metric = picked_by(self.run)
        return _(metric.title) if metric else _("Validation loss")

    @property
    def charted(self) -> list[Metric]:
        """The metrics that may have a chart of their own while it learns; the page shows the first two that get points."""
        return sorted(self.task.metrics, key=lambda metric: metric.name != self.task.picked_by)

    @property
    def evaluation_template(self) -> str:
        return f"runs/evaluations/{self.task.evaluation_view}.html"

    @property
    def samples(self) -> list[dict[str, Any]]:
        """Held-out rows with their answers as the page draws them, worst first; a long input is folded away."""
        fields = {field.name: field for field in self.task.inputs}
        return [
            {
                "references": [sample["reference"]] if isinstance(sample["reference"], str) else sample["reference"],
                "answer": sample["answer"],
                "no_answer": sample.get("no_answer", False),
                "inputs": [
                    {"title": _(fields[name].label) if name in fields else name, "text": text, "is_long": len(text) > SHORT}
                    for name, text in sample.get("inputs", {}).items()
                    if text
                ],
                "scores": [
                    (_(m.title), m.shown(sample["scores"][m.name])) for m in self.task.metrics if m.name in sample.get("scores", {})
                ],
            }
            for sample in self.run.evaluation.get("samples", [])
        ]

    @property
    def kinds(self) -> list[dict[str, Any]]:
        """Scores of the rows that have an answer and of those that have none."""
        shown = [metric for metric in self.task.metrics if any(metric.name in kind for kind in self.run.evaluation.get("kinds", []))]
        return [
            {
                "title": _("No answer in the text") if kind["kind"] == "no_answer" else _("Answer in the text"),
                "rows": kind["rows"],
                "scores": [{"title": _(m.title), "shown": m.shown(kind[m.name]) if m.name in kind else "–"} for m in shown],
            }
            for kind in self.run.evaluation.get("kinds", [])
            if kind.get("rows")
        ]

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
        known = {setting.name: setting for setting in self.task.settings}
        named = [(known[name], self.run.settings[name]) for name in known if name in self.run.settings]
        return named + [({"label": name}, value) for name, value in self.run.settings.items() if name not in known]
