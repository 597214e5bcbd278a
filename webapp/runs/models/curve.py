"""What a run leaves while it goes: checkpoints, and the curve in stretches."""

from __future__ import annotations

import errno
import json
import os
import shutil
from pathlib import Path
from typing import Any

from django.db import models, transaction
from django.utils.translation import gettext as _

from webapp.catalog.models import ModelVersion
from webapp.people.access import WRITE, Actor
from webapp.runs.models.run import Run
from webapp.work.models import WorkItem
from worker.nlp import TASKS
from worker.spec import Metric, SpecError


class Checkpoint(models.Model):
    run = models.ForeignKey(Run, models.CASCADE, related_name="checkpoints")
    fence = models.BigIntegerField()
    step = models.IntegerField()
    path = models.CharField(max_length=500)
    manifest_sha256 = models.CharField(max_length=64)
    bytes = models.BigIntegerField(default=0)
    metric = models.FloatField(null=True)  # by which states are compared, where it was measured at this step
    model = models.OneToOneField(ModelVersion, models.SET_NULL, null=True, related_name="checkpoint")  # made of it
    is_best = models.BooleanField(default=False)
    state = models.CharField(max_length=10, default="committed")  # committed | deleting | damaged
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        constraints = [models.UniqueConstraint(fields=["run", "fence", "step"], name="one_checkpoint_per_step")]

    @property
    def is_kept(self) -> bool:
        """Whether there is a model of it, or will be."""
        return bool(self.model and self.model.deleted_at is None and self.model.state != ModelVersion.State.FAILED)

    @property
    def scores(self) -> dict[str, float]:
        metric = picked_by(self.run)
        return {metric.name: self.metric} if metric and self.metric is not None else {}

    def keep(self, actor: Actor) -> ModelVersion:
        """Save as model, which stays when the checkpoint goes: a data worker writes it. Asked twice, it is made once.

        Raises Denied, and SpecError when the checkpoint was cleared away or the disk is full.
        """
        actor.require(WRITE, self.run.team_id)
        if self.is_kept and self.model:
            return self.model
        if self.model and self.model.state == ModelVersion.State.READY:  # it was made, and deleted
            self.model.restore()
            return self.model
        model = self._model_to_be(actor)
        try:
            hold(Path(self.path), model.draft / "checkpoint")
            with transaction.atomic():
                model.save(force_insert=True)
                WorkItem.add("keep_checkpoint", model.pk, team=model.team_id)
                if not Checkpoint.objects.filter(pk=self.pk, model=self.model).update(model=model):
                    raise Overtaken
        except BaseException as problem:
            shutil.rmtree(model.draft, ignore_errors=True)
            if not isinstance(problem, Overtaken):
                raise
        self.refresh_from_db()
        assert self.model is not None
        return self.model

    def _model_to_be(self, actor: Actor) -> ModelVersion:
        run = self.run
        model = ModelVersion(
            team=run.team,
            created_by=actor.user,
            name=_("%(run)s, step %(step)d") % {"run": run.name[:180], "step": self.step},
            kind=ModelVersion.Kind.RUN,
            state=ModelVersion.State.FETCHING,
            task=run.task,
            labels=[label["name"] for label in run.version.labels],
            parent=run.base,
            licence=run.base.licence,
            languages=run.base.languages,
            metrics=self.scores,
        )
        model.folder = f"models/{model.pk}"
        return model


class Overtaken(Exception):
    """Somebody else has a model made of the same checkpoint."""


def picked_by(run: Run) -> Metric | None:
    """The metric that says which state of a run is the best; None where the validation loss does."""
    task = TASKS[run.task]
    return task.metric(task.picked_by or task.primary_metric)


def hold(folder: Path, target: Path) -> None:
    """Links to the files of a checkpoint, so that its end is not theirs. Raises SpecError when it is gone."""
    try:
        files = [*json.loads((folder / "manifest.json").read_text(encoding="utf-8"))["files"], "manifest.json"]
        target.mkdir(parents=True)
        for name in files:
            try:
                os.link(folder / name, target / name)
            except FileNotFoundError:
                raise
            except OSError:  # a file system that knows no links, or not so many
                shutil.copyfile(folder / name, target / name)
    except (FileNotFoundError, ValueError, KeyError):
        raise SpecError("checkpoint", _("This checkpoint is gone: the run has cleared it away. Choose another one.")) from None
    except OSError as problem:
        if problem.errno != errno.ENOSPC:
            raise
        raise SpecError("checkpoint", _("The disk is full. Free some space and try again.")) from None


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
