"""What a run leaves while it goes: checkpoints, and the curve in stretches."""

from __future__ import annotations

from typing import Any

from django.db import models

from webapp.runs.models.run import Run


class Checkpoint(models.Model):
    run = models.ForeignKey(Run, models.CASCADE, related_name="checkpoints")
    fence = models.BigIntegerField()
    step = models.IntegerField()
    path = models.CharField(max_length=500)
    manifest_sha256 = models.CharField(max_length=64)
    bytes = models.BigIntegerField(default=0)
    metric = models.FloatField(null=True)
    is_best = models.BooleanField(default=False)
    state = models.CharField(max_length=10, default="committed")  # committed | deleting | damaged
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
    log: Any = models.JSONField(default=list)  # [{"at", "level", "text"}], in a merged chunk with their "seq"
    columns = models.BinaryField(null=True)  # merged: see runs/cursor.py
    rollup: Any = models.JSONField(default=dict)  # {series: [min, max, mean]}

    class Meta:
        constraints = [models.UniqueConstraint(fields=["run", "fence", "seq"], name="one_chunk_per_seq")]
