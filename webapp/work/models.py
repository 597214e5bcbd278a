"""What waits to be done, and who does it: the lease and the fence are here, once, for runs and for short work."""

from __future__ import annotations

from typing import Any

from django.db import models

from webapp.ids import uuid7


class Worker(models.Model):
    """One worker process: what it listens to and when it was last seen."""

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    kind = models.CharField(max_length=10)  # train | data | serve
    host = models.CharField(max_length=255)
    boot_id = models.CharField(max_length=64)
    pid = models.IntegerField()
    pid_started = models.FloatField(default=0)  # with the pid, names a process even after the number is used again
    queues = models.JSONField(default=list)
    device = models.JSONField(default=dict)  # {"kind": "cpu"|"cuda", "name", "threads", "memory_mb"}
    version = models.CharField(max_length=32)
    draining = models.BooleanField(default=False)
    started_at = models.DateTimeField(auto_now_add=True)
    last_seen = models.DateTimeField()


class Claimable(models.Model):
    """Work that exactly one worker may do at a time. Each claim raises the fence; every later write must carry it."""

    fence = models.BigIntegerField(default=0)
    lease_owner = models.ForeignKey(Worker, models.SET_NULL, null=True, related_name="+")
    lease_until = models.DateTimeField(null=True)
    not_before = models.DateTimeField(null=True)
    attempts_total = models.IntegerField(default=0)
    attempts_fruitless = models.IntegerField(default=0)
    reason_code = models.CharField(max_length=40, blank=True)
    reason = models.TextField(blank=True)  # for people: the cause and the remedy

    class Meta:
        abstract = True


class WorkItem(Claimable):
    """Short work for a data worker: `kind` names a verb in worker/tasks.py, `subject` the row it is about."""

    class State(models.TextChoices):
        QUEUED = "queued"
        RUNNING = "running"
        RETRY_WAIT = "retry_wait"
        SUCCEEDED = "succeeded"
        FAILED = "failed"

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    kind = models.CharField(max_length=40)  # read_files | publish_version | baselines | fetch_model
    subject = models.UUIDField()
    payload: Any = models.JSONField(default=dict)
    state = models.CharField(max_length=12, choices=State.choices, default=State.QUEUED)
    created_at = models.DateTimeField(auto_now_add=True)
    finished_at = models.DateTimeField(null=True)

    class Meta:
        indexes = [models.Index(fields=["state", "created_at"])]
