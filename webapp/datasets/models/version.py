"""Rows that never change."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from django.conf import settings
from django.db import models

from webapp.people.models import TeamQuerySet, TeamScoped
from worker.nlp import KINDS

SPOKEN = 0.2  # of the texts: a base model should read every language that so many are in


class DatasetVersionQuerySet(TeamQuerySet):
    def visible_to(self, actor: Any) -> DatasetVersionQuerySet:
        return self.filter(team__in=actor.team_ids, dataset__deleted_at=None)


class DatasetVersion(TeamScoped):
    """Rows that never change. `hash` is the SHA-256 of the Parquet file, which is stored under it."""

    dataset = models.ForeignKey("datasets.Dataset", models.CASCADE, related_name="versions")
    number = models.IntegerField()
    parent = models.ForeignKey("self", models.SET_NULL, null=True, related_name="+")
    hash = models.CharField(max_length=64)
    task = models.CharField(max_length=40)
    message = models.TextField(blank=True)
    mapping: Any = models.JSONField(default=dict)  # {role: column}
    rows = models.IntegerField()
    rejected = models.IntegerField(default=0)
    splits: Any = models.JSONField(default=dict)  # {"train": rows, "validation": rows, "test": rows}
    labels: Any = models.JSONField(default=list)  # [{"name", "rows"}], the order fixes class numbers
    statistics: Any = models.JSONField(default=dict)
    baselines: Any = models.JSONField(default=dict)  # {"split": "test", "scores": {name: {metric: value}}}

    objects = DatasetVersionQuerySet.as_manager()  # type: ignore[misc]

    class Meta:
        constraints = [models.UniqueConstraint(fields=["dataset", "number"], name="one_version_per_number")]
        ordering = ["-number"]

    def __str__(self) -> str:
        return f"{self.dataset.name} v{self.number}"

    @property
    def held_out(self) -> str:
        """The split that scores are reported on: test where there is one, else validation."""
        return "test" if self.splits.get("test") else "validation"

    @property
    def languages(self) -> list[str]:
        """Two-letter codes of the languages that at least a fifth of its texts are in, the commonest first; empty where that is not known."""
        shares = self.statistics.get("languages", {})
        return sorted((code for code, share in shares.items() if share >= SPOKEN), key=lambda code: -shares[code])

    @property
    def label_role(self) -> str:
        """The column that the histogram counts; empty for a task without labels."""
        return next((role.name for role in KINDS[self.task].roles if role.is_label), "")

    @property
    def path(self) -> Path:
        return path_of(self.hash)


def path_of(sha256: str) -> Path:
    return Path(settings.FILES / "versions" / sha256[:2] / f"{sha256}.parquet")
