"""Runs and what they leave: attempts, checkpoints, the curve. The row in SQL is queue, state and clock."""

from __future__ import annotations

from typing import Any

from django.db import models
from django.db.models import Q

from webapp.catalog.models import ModelVersion
from webapp.datasets.models import DatasetVersion
from webapp.people.models import TeamScoped
from webapp.work.models import Claimable, Worker


class Run(TeamScoped, Claimable):
    class State(models.TextChoices):
        QUEUED = "queued"
        STARTING = "starting"
        RUNNING = "running"
        FINALIZING = "finalizing"
        RETRY_WAIT = "retry_wait"
        PAUSED = "paused"
        STOPPING = "stopping"
        SUCCEEDED = "succeeded"
        FAILED = "failed"
        CANCELLED = "cancelled"

    name = models.CharField(max_length=200)
    version = models.ForeignKey(DatasetVersion, models.PROTECT, related_name="runs")
    base = models.ForeignKey(ModelVersion, models.PROTECT, related_name="runs_from")
    result = models.OneToOneField(ModelVersion, models.SET_NULL, null=True, related_name="run")
    task = models.CharField(max_length=40)
    method = models.CharField(max_length=12)
    settings: Any = models.JSONField(default=dict)
    state = models.CharField(max_length=12, choices=State.choices, default=State.QUEUED)
    desired = models.CharField(max_length=8, default="run")  # worker.spec.Wish; only the web writes it
    needs_gpu = models.BooleanField(default=False)
    step = models.IntegerField(default=0)
    steps = models.IntegerField(default=0)
    epoch = models.FloatField(default=0)
    tokens_per_s = models.FloatField(default=0)
    eta_s = models.FloatField(null=True)
    progress: Any = models.JSONField(default=dict)  # {"what": "caching", "done", "total"} before the first step
    metrics: Any = models.JSONField(default=dict)  # held-out metrics when done
    evaluation: Any = models.JSONField(default=dict)  # confusion matrix, per class, calibration
    oom_replans = models.IntegerField(default=0)
    last_checkpoint = models.ForeignKey("Checkpoint", models.SET_NULL, null=True, related_name="+")
    idempotency_key = models.CharField(max_length=200, null=True)
    request_hash = models.CharField(max_length=64, blank=True)
    started_at = models.DateTimeField(null=True)
    finished_at = models.DateTimeField(null=True)
    deleted_at = models.DateTimeField(null=True)

    class Meta:
        constraints = [models.UniqueConstraint(fields=["team", "idempotency_key"], name="one_run_per_key")]
        indexes = [models.Index(fields=["state", "created_at"]), models.Index(fields=["team", "-created_at"])]

    @property
    def stream(self) -> str:
        return f"run:{self.pk}"


class Attempt(models.Model):
    """One trainer process working on a run under one fence."""

    run = models.ForeignKey(Run, models.CASCADE, related_name="attempts")
    fence = models.BigIntegerField()
    worker = models.ForeignKey(Worker, models.SET_NULL, null=True, related_name="+")
    host = models.CharField(max_length=255, blank=True)
    boot_id = models.CharField(max_length=64, blank=True)
    pid = models.IntegerField(null=True)
    started_at = models.DateTimeField(auto_now_add=True)
    ended_at = models.DateTimeField(null=True)
    outcome = models.CharField(max_length=20, blank=True)
    exit_code = models.IntegerField(null=True)
    signal = models.IntegerField(null=True)
    resumed_step = models.IntegerField(default=0)  # steps after this one replace those of earlier attempts
    last_step = models.IntegerField(default=0)

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["run", "fence"], name="one_attempt_per_fence"),
            models.UniqueConstraint(fields=["run"], condition=Q(ended_at=None), name="one_open_attempt_per_run"),
        ]


class Checkpoint(models.Model):
    run = models.ForeignKey(Run, models.CASCADE, related_name="checkpoints")
    fence = models.BigIntegerField()
    step = models.IntegerField()
    path = models.CharField(max_length=500)
    manifest_sha256 = models.CharField(max_length=64)
    bytes = models.BigIntegerField(default=0)
    metric = models.FloatField(null=True)
    is_best = models.BooleanField(default=False)
    state = models.CharField(max_length=10, default="committed")  # committed | deleting
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        constraints = [models.UniqueConstraint(fields=["run", "fence", "step"], name="one_checkpoint_per_step")]


class MetricChunk(models.Model):
    """A stretch of the curve. A live frame holds points and log lines as JSON; merged stretches hold float32 columns.
    (run, fence, seq) is the cursor; a merged chunk carries the highest seq of the frames it replaced."""

    run = models.ForeignKey(Run, models.CASCADE, related_name="chunks")
    fence = models.BigIntegerField()
    seq = models.BigIntegerField()
    first_step = models.IntegerField(null=True)
    last_step = models.IntegerField(null=True)
    points: Any = models.JSONField(default=list)  # [{"step", "epoch", "time", "values"}]
    log: Any = models.JSONField(default=list)  # [{"at", "level", "text"}]
    columns = models.BinaryField(null=True)  # merged: see runs/cursor.py
    rollup: Any = models.JSONField(default=dict)  # {series: [min, max, mean]}

    class Meta:
        constraints = [models.UniqueConstraint(fields=["run", "fence", "seq"], name="one_chunk_per_seq")]
