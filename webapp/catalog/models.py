"""Everything that can be fine-tuned or tried: starters, models of the hub, models trained here; and what came of what."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from django.conf import settings
from django.db import models
from django.db.models import Q

from webapp.ids import uuid7
from webapp.people.models import Team, TeamQuerySet, User


class ModelQuerySet(TeamQuerySet):
    def visible_to(self, actor: Any) -> ModelQuerySet:
        """Those of the actor's teams, and those that belong to everybody (team is null)."""
        return self.filter(Q(team__in=actor.team_ids) | Q(team=None))

    def trainable(self, task: str | None = None) -> ModelQuerySet:
        return self.filter(is_trainable=True, state=ModelVersion.State.READY, deleted_at=None)

    def answering(self, task: str | None = None) -> ModelQuerySet:
        """Those that can be asked something."""
        found = self.exclude(task="").filter(state=ModelVersion.State.READY, deleted_at=None)
        return found.filter(task=task) if task else found


class ModelVersion(models.Model):
    class Kind(models.TextChoices):
        STARTER = "starter"
        HUB = "hub"
        FOLDER = "folder"
        RUN = "run"

    class State(models.TextChoices):
        FETCHING = "fetching"
        READY = "ready"
        FAILED = "failed"

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    team = models.ForeignKey(Team, models.CASCADE, null=True, related_name="+")  # null: everybody's
    created_by = models.ForeignKey(User, models.SET_NULL, null=True, related_name="+")
    created_at = models.DateTimeField(auto_now_add=True)
    deleted_at = models.DateTimeField(null=True)
    name = models.CharField(max_length=200)
    kind = models.CharField(max_length=10, choices=Kind.choices)
    state = models.CharField(max_length=10, choices=State.choices, default=State.READY)
    reason = models.TextField(blank=True)
    source = models.CharField(max_length=500, blank=True)  # hub id, or where it came from
    folder = models.CharField(max_length=500)  # absolute, or below settings.FILES
    task = models.CharField(max_length=40, blank=True)  # empty: a base that answers nothing yet
    labels: Any = models.JSONField(default=list)
    is_trainable = models.BooleanField(default=True)
    parent = models.ForeignKey("self", models.SET_NULL, null=True, related_name="children")
    family = models.CharField(max_length=60, blank=True)  # config.model_type
    parameters = models.BigIntegerField(default=0)
    bytes = models.BigIntegerField(default=0)
    licence = models.CharField(max_length=80, blank=True)
    languages: Any = models.JSONField(default=list)
    metrics: Any = models.JSONField(default=dict)
    manifest_sha256 = models.CharField(max_length=64, blank=True)

    objects = ModelQuerySet.as_manager()

    def __str__(self) -> str:
        return self.name

    @property
    def path(self) -> Path:
        return settings.FILES / self.folder  # an absolute folder wins over the left side
