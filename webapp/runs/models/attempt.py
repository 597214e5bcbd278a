"""One trainer process working on a run under one fence, and all that it may write: nothing, once it was fenced off."""

from __future__ import annotations

from typing import Any

from django.conf import settings
from django.db import models, transaction
from django.db.models import Q
from django.db.models.functions import Now

from webapp import live
from webapp.catalog.models import ModelVersion
from webapp.runs import states
from webapp.runs.models.curve import Checkpoint, MetricChunk
from webapp.runs.models.run import Run
from webapp.runs.states import Ending
from webapp.work.models import Worker, hence

KEPT_CHECKPOINTS = 2  # beside the best


class Fenced(Exception):
    """Somebody else holds the run, or nobody may: write nothing more, kill the trainer, leave."""


class Attempt(models.Model):
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
    # Steps after this one replace those of earlier attempts; null until the trainer said where it goes on.
    resumed_step = models.IntegerField(null=True)
    last_step = models.IntegerField(default=0)

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["run", "fence"], name="one_attempt_per_fence"),
            models.UniqueConstraint(fields=["run"], condition=Q(ended_at=None), name="one_open_attempt_per_run"),
        ]

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.seq = 0  # frames written under this fence; its one holder counts them

    def _write(self, **columns: Any) -> str:
        """Update the run if we still hold it and give what people want of it. Locks the row until the transaction ends."""
        mine = Run.objects.filter(pk=self.run_id, fence=self.fence, state__in=states.LEASED)
        if not mine.update(**columns):
            raise Fenced
        return str(mine.values_list("desired", flat=True).get())

    def wish(self) -> str:
        """What people want of it now. Raises Fenced."""
        mine = Run.objects.filter(pk=self.run_id, fence=self.fence, state__in=states.LEASED)
        wish = mine.values_list("desired", flat=True).first()
        if wish is None:
            raise Fenced
        return str(wish)

    def renew(self) -> str:
        """T5: hold it for another lease; gives the wish. Raises Fenced."""
        return self._write(lease_until=hence(settings.LEASE_TTL))

    def _move(self, change: Any, **fields: Any) -> None:
        if not self.run.move(change, **fields):
            raise Fenced

    def started(self, pid: int) -> None:
        Attempt.objects.filter(pk=self.pk).update(pid=pid)

    def ready(self, steps: int, resumed_step: int) -> None:
        """T4: the trainer begins after `resumed_step`; what earlier attempts recorded beyond it counts no more."""
        self.resumed_step = resumed_step
        with transaction.atomic():
            self._move(lambda row: states.ready(row, self.fence), steps=steps, step=resumed_step, progress={})
            self.save(update_fields=["resumed_step"])
        live.announce(self.run.stream, {"type": "cut", "fence": self.fence, "step": resumed_step})

    def stopping(self) -> None:
        """T11, T12: the trainer was told to leave."""
        self.run.move(lambda row: states.stop(row, self.fence))

    def progress(self, what: str, done: int, total: int) -> None:
        self._write(progress={"what": what, "done": done, "total": total})
        self.run.refresh_from_db()
        self.run.announce()

    def record(self, points: list[dict[str, Any]], log: list[dict[str, Any]], **columns: Any) -> str:
        """T6: write a frame, then announce it; gives the wish. Writing the same frame twice leaves one. Raises Fenced."""
        if points:
            last = points[-1]
            columns |= {"step": max(p["step"] for p in points), "epoch": last["epoch"], "progress": {}}
        steps = [point["step"] for point in points]
        frame = {"fence": self.fence, "seq": self.seq + 1, "points": points, "log": log}
        chunk = MetricChunk(run_id=self.run_id, first_step=min(steps, default=None), last_step=max(steps, default=None), **frame)
        with transaction.atomic():
            wish = self._write(**(columns or {"fence": self.fence}))
            MetricChunk.objects.bulk_create([chunk], ignore_conflicts=True)
        self.seq += 1
        live.announce(self.run.stream, {"type": "points", **frame})
        return wish

    def checkpoint(self, step: int, path: str, manifest_sha256: str, bytes: int, best: bool, metric: float | None) -> list[str]:
        """T7: a checkpoint lies whole on disk. Gives the folders that are not needed any more. Raises Fenced."""
        with transaction.atomic():
            self._write(fence=self.fence)  # takes the row's lock
            saved, _new = Checkpoint.objects.update_or_create(
                run_id=self.run_id,
                fence=self.fence,
                step=step,
                defaults={"path": path, "manifest_sha256": manifest_sha256, "bytes": bytes, "is_best": best, "metric": metric},
            )
            if best:
                Checkpoint.objects.filter(run_id=self.run_id, is_best=True).exclude(pk=saved.pk).update(is_best=False)
            self._move(lambda row: states.saved(row, self.fence), last_checkpoint=saved)
            return self._superseded()

    def _superseded(self) -> list[str]:
        committed = Checkpoint.objects.filter(run_id=self.run_id, state="committed").order_by("-step", "-fence")
        kept = [c.pk for c in committed[:KEPT_CHECKPOINTS]]
        old = committed.exclude(pk__in=kept).exclude(is_best=True)
        paths = list(old.values_list("path", flat=True))
        Checkpoint.objects.filter(pk__in=list(old.values_list("pk", flat=True))).update(state="deleting")
        return paths

    def finalize(self) -> None:
        self._move(lambda row: states.finalize(row, self.fence))

    def succeed(self, step: int, metrics: dict[str, Any], evaluation: dict[str, Any], bytes: int, model_sha256: str) -> None:
        """T8: enter the result, once. Raises Fenced."""
        run = self.run
        with transaction.atomic():
            self._move(lambda row: states.succeed(row, self.fence), step=step, metrics=metrics, evaluation=evaluation)
            if run.result_id is None:
                run.result = ModelVersion.trained(
                    team=run.team,
                    created_by=run.created_by,
                    name=run.name,
                    folder=f"runs/{run.pk}/model",
                    task=run.task,
                    labels=[label["name"] for label in run.version.labels],
                    parent=run.base,
                    metrics=metrics,
                    bytes=bytes,
                    manifest_sha256=model_sha256,
                )
                run.save(update_fields=["result"])
            self._close(0)

    def end(self, ending: Ending, status: int | None = None) -> None:
        """T9, T13: the trainer is gone without a result. Raises Fenced."""
        with transaction.atomic():
            self._move(lambda row: states.end(row, self.fence, ending, settings.RETRY_BASE))
            if ending.kind == "damaged":
                self._fall_back()
            self._close(status)
        if self.run.state in states.WAITING:
            self.run.ring()

    def _fall_back(self) -> None:
        """Let the run go on from the checkpoint before the one that does not verify; from the beginning, if there is none."""
        run = self.run
        if damaged := run.last_checkpoint:
            run.checkpoints.filter(pk=damaged.pk).update(state="damaged", is_best=False)
        run.last_checkpoint = run.checkpoints.filter(state="committed").order_by("-step", "-fence").first()
        run.save(update_fields=["last_checkpoint"])

    def _close(self, status: int | None) -> None:
        values: dict[str, Any] = {"last_step": self.run.step, "ended_at": Now()}
        if status is not None:
            values |= {"signal": -status} if status < 0 else {"exit_code": status}
        Attempt.objects.filter(pk=self.pk).update(**values)
