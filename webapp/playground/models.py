"""What was asked of a model and what it answered."""

from __future__ import annotations

from typing import Any

from django.db import models

from webapp.catalog.models import ModelVersion
from webapp.people.models import TeamScoped


class Prediction(TeamScoped):
    class State(models.TextChoices):
        QUEUED = "queued"
        DONE = "done"
        FAILED = "failed"

    model = models.ForeignKey(ModelVersion, models.CASCADE, related_name="predictions")
    untuned = models.BooleanField(default=False)  # asked of the model's base, for the comparison
    inputs: Any = models.JSONField(default=dict)
    parameters: Any = models.JSONField(default=dict)
    answer: Any = models.JSONField(default=dict)
    reason = models.TextField(blank=True)
    state = models.CharField(max_length=8, choices=State.choices, default=State.QUEUED)
    latency_ms = models.FloatField(null=True)

    @property
    def stream(self) -> str:
        return f"prediction:{self.pk}"
