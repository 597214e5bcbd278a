"""Uploads, imports, datasets and their immutable versions."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from django.conf import settings
from django.db import models

from webapp.people.models import TeamScoped


class Dataset(TeamScoped):
    class State(models.TextChoices):
        IMPORTING = "importing"
        NEEDS_MAPPING = "needs_mapping"
        READY = "ready"
        FAILED = "failed"

    name = models.CharField(max_length=200)
    task = models.CharField(max_length=40, default="classification")
    state = models.CharField(max_length=14, choices=State.choices, default=State.IMPORTING)
    reason = models.TextField(blank=True)  # for people, when failed
    deleted_at = models.DateTimeField(null=True)

    @property
    def stream(self) -> str:
        return f"dataset:{self.pk}"


class Upload(TeamScoped):
    """One file on its way in, by the tus 1.0 protocol. `offset` counts bytes that are safely on disk."""

    name = models.CharField(max_length=500)  # as the person calls it; never part of a path
    length = models.BigIntegerField()  # bytes
    offset = models.BigIntegerField(default=0)  # bytes
    sha256 = models.CharField(max_length=64, blank=True)  # set when whole
    dataset = models.ForeignKey(Dataset, models.CASCADE, null=True, related_name="uploads")
    part = models.CharField(max_length=12, default="file")  # file | train | validation | test
    expires_at = models.DateTimeField()


class Import(TeamScoped):
    """One reading of the files of a dataset: what was found, and how the person wants it understood."""

    dataset = models.ForeignKey(Dataset, models.CASCADE, related_name="imports")
    options: Any = models.JSONField(default=dict)  # {header_row, encoding, delimiter, sheet, mapping, labels, accept_rejected, message}
    report: Any = models.JSONField(default=dict)  # webapp/datasets/reading: Report.to_json()
    state = models.CharField(max_length=14, default="reading")  # reading | read | publishing | published | failed


class DatasetVersion(TeamScoped):
    """Rows that never change. `hash` is the SHA-256 of the Parquet file, which is stored under it."""

    dataset = models.ForeignKey(Dataset, models.CASCADE, related_name="versions")
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

    class Meta:
        constraints = [models.UniqueConstraint(fields=["dataset", "number"], name="one_version_per_number")]

    @property
    def held_out(self) -> str:
        """The split that scores are reported on: test where there is one, else validation."""
        return "test" if self.splits.get("test") else "validation"

    @property
    def path(self) -> Path:
        return settings.FILES / "versions" / self.hash[:2] / f"{self.hash}.parquet"
