"""A run: one fine-tuning, from the wish to the model."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, ClassVar

from django.conf import settings as conf
from django.db import IntegrityError, models, transaction
from django.db.models import Q
from django.db.models.functions import Coalesce, Now
from django.http import Http404
from django.utils.text import slugify
from django.utils.translation import gettext as _

from webapp import live, queue
from webapp.catalog.models import ModelVersion
from webapp.datasets.models import DatasetVersion
from webapp.people.access import WRITE, Actor
from webapp.people.models import TeamQuerySet, TeamScoped
from webapp.runs import states
from webapp.runs.states import Change, Row
from webapp.work.models import Claimable, Worker, hence
from worker.nlp import TASKS
from worker.nlp.languages import NAMES
from worker.spec import Setting, SpecError, Wish

DECIDING = ("state", "desired", "fence", "attempts_total", "attempts_fruitless", "oom_replans")
CLEARED = (states.SUCCEEDED, states.CANCELLED)  # a failed run keeps its last checkpoints, in case somebody wants them

MOST_NAMED = 6  # languages of a base model


class IdempotencyConflict(Exception):
    """The same key came with another request."""


class RunQuerySet(TeamQuerySet):
    def present(self) -> RunQuerySet:
        """Those that were not deleted."""
        return self.filter(deleted_at=None)


class Run(TeamScoped, Claimable):
    class State(models.TextChoices):
        QUEUED = states.QUEUED
        STARTING = states.STARTING
        RUNNING = states.RUNNING
        FINALIZING = states.FINALIZING
        RETRY_WAIT = states.RETRY_WAIT
        PAUSED = states.PAUSED
        STOPPING = states.STOPPING
        SUCCEEDED = states.SUCCEEDED
        FAILED = states.FAILED
        CANCELLED = states.CANCELLED

    CLAIMED = states.STARTING
    LEASED = states.LEASED
    WAITING = states.WAITING

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

    objects: ClassVar[Any] = RunQuerySet.as_manager()

    class Meta:
        constraints = [models.UniqueConstraint(fields=["team", "idempotency_key"], name="one_run_per_key")]
        indexes = [models.Index(fields=["state", "created_at"]), models.Index(fields=["team", "-created_at"])]

    def __str__(self) -> str:
        return self.name

    # --- what people do ---

    @classmethod
    def submit(
        cls,
        actor: Actor,
        version: DatasetVersion,
        base: ModelVersion,
        method: str,
        settings: Mapping[str, Any],
        name: str = "",
        idempotency_key: str | None = None,
        request_hash: str = "",
    ) -> Run:
        """Queue a run and ring. The same key with the same request gives the same run.

        Raises SpecError naming the field, Denied, Http404 (not visible), IdempotencyConflict.
        """
        if version.team_id not in actor.roles or base.team_id not in (None, version.team_id):
            raise Http404
        actor.require(WRITE, version.team_id)
        if idempotency_key and (known := cls._known(version.team_id, idempotency_key, request_hash)):
            return known
        chosen = read_settings(version, base, method, settings)
        try:
            with transaction.atomic():
                run = cls.objects.create(
                    team_id=version.team_id,
                    created_by=actor.user,
                    name=name.strip()[:200] or cls._next_name(version),
                    version=version,
                    base=base,
                    task=version.task,
                    method=method,
                    settings=chosen,
                    idempotency_key=idempotency_key or None,
                    request_hash=request_hash,
                )
        except IntegrityError:
            if not idempotency_key:
                raise
            known = cls._known(version.team_id, idempotency_key, request_hash)
            if known is None:
                raise
            return known
        run.ring()
        return run

    @classmethod
    def _known(cls, team_id: Any, key: str, request_hash: str) -> Run | None:
        run = cls.objects.filter(team=team_id, idempotency_key=key).first()
        if run and run.request_hash != request_hash:
            raise IdempotencyConflict(_("This Idempotency-Key was used for another request. Take a new key."))
        return run

    @classmethod
    def _next_name(cls, version: DatasetVersion) -> str:
        number = cls.objects.filter(version__dataset=version.dataset_id).count() + 1
        return f"{slugify(version.dataset.name, allow_unicode=True)[:150] or version.task}-{number}"

    def ring(self) -> None:
        queue.ring_on_commit(*((queue.TRAIN_GPU,) if self.needs_gpu else (queue.TRAIN_CPU, queue.TRAIN_GPU)))

    def cancel(self) -> bool:
        return self.want(Wish.CANCEL)

    def finish(self) -> bool:
        """Stop here and keep what was learned."""
        return self.want(Wish.FINISH)

    def pause(self) -> bool:
        return self.want(Wish.PAUSE)

    def want(self, wish: Wish) -> bool:
        moved = self.move(lambda row: states.want(row, wish))
        if moved and self.state == states.QUEUED:
            self.ring()
        return moved

    def resume(self) -> bool:
        if moved := self.move(states.resume):
            self.ring()
        return moved

    def rename(self, name: str) -> None:
        if not (name := name.strip()):
            raise SpecError("name", _("A run needs a name."))
        if len(name) > 200:
            raise SpecError("name", _("A name has at most 200 characters."))
        self.name = name
        self.save(update_fields=["name"])

    def delete(self, *args: Any, **kwargs: Any) -> bool:  # type: ignore[override]
        """Hide it, until `restore`. False while it is going on: cancel it first."""
        deleted = Run.objects.filter(pk=self.pk, state__in=states.TERMINAL, deleted_at=None).update(deleted_at=Now())
        self.refresh_from_db()
        return bool(deleted)

    def restore(self) -> None:
        Run.objects.filter(pk=self.pk).update(deleted_at=None)
        self.refresh_from_db()

    def checkpoint_at(self, step: int) -> Any:
        """The newest checkpoint of a step. Raises Http404."""
        found = self.checkpoints.select_related("model").filter(step=step).order_by("-fence").first()
        if found is None:
            raise Http404
        return found

    # --- what it says about itself ---

    @property
    def stream(self) -> str:
        return f"run:{self.pk}"

    @property
    def folder(self) -> Path:
        return conf.FILES / "runs" / str(self.pk)

    @property
    def is_over(self) -> bool:
        return self.state in states.TERMINAL

    @property
    def why(self) -> str:
        """The reason of its state in the reader's language: `reason` keeps one English sentence a line."""
        return " ".join(_(line) for line in self.reason.splitlines() if line)

    @property
    def baselines(self) -> dict[str, Any]:
        """The baselines of its data: {"split", "rows", "scores": {name: {metric: value}}}."""
        return dict(self.version.baselines or {})

    @property
    def base_reason(self) -> str:
        """Why this base, as far as the language of the rows goes."""
        return fit(self.version, self.base)

    def position(self) -> int | None:
        """Its place in the queue from 1, or None when it does not wait."""
        if self.state not in states.WAITING:
            return None
        before = Q(created_at__lt=self.created_at) | Q(created_at=self.created_at, pk__lt=self.pk)
        return Run.objects.filter(before, state__in=states.WAITING, needs_gpu=self.needs_gpu, deleted_at=None).count() + 1

    def worker_listens(self) -> bool:
        """Whether a worker that could train this was heard of lately."""
        return Worker.listening(queue.TRAIN_GPU, *([] if self.needs_gpu else [queue.TRAIN_CPU])).exists()

    def clone_data(self) -> dict[str, Any]:
        """What the form needs to start another one like it."""
        return {"version": str(self.version_id), "base_model": str(self.base_id), "method": self.method, "settings": dict(self.settings)}

    def facts(self) -> dict[str, Any]:
        """Its state as the page, the socket's `state` message and the API all tell it."""
        reason = self.why
        if self.state in states.WAITING and not reason and not self.worker_listens():
            reason = _("No training worker is running. Start one, and this run begins by itself.")
        return {
            "id": str(self.pk),
            "name": self.name,
            "state": self.state,
            "desired": self.desired,
            "reason": reason,
            "reason_code": self.reason_code,
            "position": self.position(),
            "step": self.step,
            "steps": self.steps,
            "epoch": self.epoch,
            "eta_s": self.eta_s,
            "tokens_per_s": self.tokens_per_s,
            "progress": self.progress,
            "worker": str(self.lease_owner) if self.lease_owner and self.state in states.LEASED else "",
            "metrics": self.metrics,
            "model": str(self.result_id) if self.result_id else None,
            "checkpoint": self.last_checkpoint.step if self.last_checkpoint else None,
            "attempts": self.attempts_total,
            "started_at": self.started_at.isoformat() if self.started_at else None,
            "finished_at": self.finished_at.isoformat() if self.finished_at else None,
        }

    def announce(self) -> None:
        """Tell those who watch how it stands, once the transaction is through."""
        transaction.on_commit(lambda: live.announce(self.stream, {"type": "state", **self.facts()}))

    # --- how its state changes ---

    def move(self, decide: Callable[[Row], Change | None], still: Q = Q(), **fields: Any) -> bool:
        """Let the pure state machine decide on the row as it stands, and swap only if it still stands so."""
        for _attempt in range(10):
            values = Run.objects.filter(pk=self.pk).values(*DECIDING).get()
            change = decide(Row(**values))
            if change is None:
                return False
            with transaction.atomic():
                guard = Q(pk=self.pk, state=values["state"], desired=values["desired"], fence=values["fence"]) & still
                won = Run.objects.filter(guard).update(**self._columns(change), **fields)
                if won and change.outcome:
                    self.attempts.filter(ended_at=None).update(ended_at=Now(), outcome=change.outcome)
            if won:
                self.refresh_from_db()
                self.announce()
                return True
            if not Run.objects.filter(pk=self.pk).filter(still).exists():
                return False
        return False

    def _columns(self, change: Change) -> dict[str, Any]:
        columns: dict[str, Any] = {"state": change.state, **change.fields}
        if change.state == states.RUNNING:
            columns["started_at"] = Coalesce("started_at", Now())
        if change.state in states.TERMINAL:
            columns["finished_at"] = Now()
        if change.state not in states.LEASED:
            columns |= {"lease_until": None, "lease_owner": None, "eta_s": None, "tokens_per_s": 0, "progress": {}}
            columns["not_before"] = hence(change.delay_s) if change.delay_s else None
        return columns

    # --- what it leaves on disk ---

    def clear_away(self) -> None:
        """Delete what nobody will go on from: half-done and superseded checkpoints of attempts that are over, and all of
        them once the run became a model or was cancelled. The attempt that works on it now clears up after itself."""
        if self.state in CLEARED:
            self.checkpoints.filter(state="committed").update(state="deleting")
        kept = {(str(c.fence), str(c.step)) for c in self.checkpoints.filter(state="committed")}
        newest = self.fence - 1 if self.state in states.LEASED else self.fence
        for left in self.folder.glob("*/checkpoints/*"):
            fence, step = left.parts[-3], left.name
            if fence.isdigit() and int(fence) <= newest and (fence, step) not in kept:
                shutil.rmtree(left, ignore_errors=True)
        for draft in self.folder.glob(".model.*.*"):
            if int(draft.name.split(".")[2]) <= newest:
                shutil.rmtree(draft, ignore_errors=True)

    @classmethod
    def clear_ended(cls) -> None:
        """The same for runs that ended while nobody worked on them."""
        for run in cls.objects.filter(state__in=CLEARED, checkpoints__state="committed").distinct():
            run.clear_away()

    @classmethod
    def open_to(cls, worker: Worker) -> Any:
        runs = super().open_to(worker).filter(deleted_at=None, desired__in=(Wish.RUN, Wish.FINISH))
        if queue.TRAIN_GPU in worker.queues:
            return runs
        return runs.filter(needs_gpu=False) if queue.TRAIN_CPU in worker.queues else runs.none()

    def was_claimed(self, worker: Worker) -> None:
        self.attempts.create(fence=self.fence, worker=worker, host=worker.host, boot_id=worker.boot_id)
        self.announce()

    def bury(self, still: Q) -> bool:
        fence = self.fence
        progressed = self.checkpoints.filter(fence=fence).exists()
        buried = self.move(lambda row: states.lost(row, fence, progressed, conf.RETRY_BASE), still)
        if buried and self.state in states.WAITING:
            self.ring()
        return buried


def advice_for(version: DatasetVersion) -> dict[str, tuple[Any, str]]:
    """What these rows ask for otherwise than usual: {setting: (value, the reason as a sentence)}."""
    labels = {label["name"]: label["rows"] for label in version.labels}
    return TASKS[version.task].advice(version.rows, labels) if version.task in TASKS else {}


def fit(version: DatasetVersion, base: ModelVersion) -> str:
    """A sentence on whether `base` reads what `version` is written in; empty where that is not known of the rows."""
    if not version.languages:
        return ""
    words = {"languages": named(version.languages), "known": named(base.languages)}
    if base.reads(version.languages):
        return _("The texts are in %(languages)s, which this base model reads.") % words
    if base.languages:
        return _("The texts are in %(languages)s, and this base model reads only %(known)s: expect weak results.") % words
    return _("The texts are in %(languages)s; it is not known whether this base model reads that.") % words


def named(codes: Iterable[str]) -> str:
    """Languages as people call them, as in “Chinese, English”."""
    names = [_(NAMES[code]) if code in NAMES else code for code in codes]
    return ", ".join(names) if len(names) <= MOST_NAMED else _("%(count)s other languages") % {"count": len(names)}


def suggested(setting: Setting, method: str, advice: Mapping[str, tuple[Any, str]]) -> Any:
    """The value of a setting for which nobody chose one: what the rows ask for, else the default of the recipe."""
    return advice[setting.name][0] if setting.name in advice else setting.default_for(method)


def read_settings(version: DatasetVersion, base: ModelVersion, method: str, given: Mapping[str, Any]) -> dict[str, Any]:
    """All settings of a run; what was not given is filled in as the rows suggest. Raises SpecError naming the field that does not fit."""
    task = TASKS.get(version.task)
    if task is None:
        raise SpecError("version", _("This data is for a task that cannot be trained yet."))
    if not version.splits.get("train"):
        raise SpecError("version", _("This version has no rows to train on."))
    if not (base.is_trainable and base.state == ModelVersion.State.READY and base.deleted_at is None):
        raise SpecError("base_model", _("This model cannot be trained on. Choose another one."))
    if base.shape not in task.shapes:
        words = {"task": _(task.title), "shape": base.shape, "shapes": _(" or ").join(task.shapes)}
        raise SpecError("base_model", _("%(task)s needs a base model of the kind %(shapes)s; this one is of the kind %(shape)s.") % words)
    recipes = [recipe.method for recipe in task.recipes(base.shape)]
    if method not in recipes:
        words = {"method": method, "recipes": ", ".join(recipes)}
        raise SpecError("method", _("There is no recipe called “%(method)s” for this base model. There are: %(recipes)s.") % words)
    known = {setting.name: setting for setting in task.known_settings(method, base.shape)}
    for name in given:
        if name not in known:
            raise SpecError(name, _("This base model and recipe have no setting called “%s”.") % name)
    advice = advice_for(version)
    return {name: setting.read(given.get(name, suggested(setting, method, advice))) for name, setting in known.items()}
