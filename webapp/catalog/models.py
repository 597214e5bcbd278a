"""Everything that can be fine-tuned or tried: starters, models of the hub, models trained here; and what came of what."""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any
from uuid import UUID

from django.conf import settings
from django.db import models, transaction
from django.db.models import Case, F, Q, Value, When
from django.utils.functional import cached_property
from django.utils.timezone import now
from django.utils.translation import gettext as _

from webapp import quota
from webapp.catalog.starters import starters
from webapp.ids import uuid7
from webapp.people.access import WRITE, Actor
from webapp.people.models import Team, TeamQuerySet, User
from webapp.work.models import WorkItem
from worker.nlp import TASKS, families
from worker.spec import SpecError
from worker.weights import Unusable, Weights, look, read_config

log = logging.getLogger(__name__)
HUB_ID = re.compile(r"(?:[A-Za-z0-9][\w.-]{0,95}/)?[A-Za-z0-9][\w.-]{0,95}", re.ASCII)
LONGEST_PATH = 500  # characters, as many as a row keeps
CARD_LIMIT = 64 * 1024  # bytes of a model card that a page shows


class ModelQuerySet(TeamQuerySet):
    def visible_to(self, actor: Any) -> ModelQuerySet:
        """Those of the actor's teams, and those that belong to everybody (team is null)."""
        return self.filter(Q(team__in=actor.team_ids) | Q(team=None))

    def at_hand(self, actor: Any) -> ModelQuerySet:
        """Those of the team that the actor works in, and everybody's: what lists and pickers show."""
        return self.visible_to(actor).filter(Q(team=actor.team_id) | Q(team=None))

    def present(self) -> ModelQuerySet:
        return self.filter(deleted_at=None)

    def trainable(self, task: str | None = None) -> ModelQuerySet:
        """Those that a run may start from; with a task, those whose shape it can be learnt by."""
        found = self.present().filter(is_trainable=True, state=ModelVersion.State.READY)
        return found.filter(shape__in=TASKS[task].shapes if task in TASKS else ()) if task else found

    def best_first(self, task: str) -> ModelQuerySet:
        """As a run for `task` should choose: the starter that does this task already, the plain starters, other starters, the
        team's own bases, what runs made. Where answers are labels a plain one comes first: a head is learnt anew anyway."""
        starter, plain = Q(kind=ModelVersion.Kind.STARTER), Q(task="")
        rank = Case(
            When(starter & Q(task=task, labels=[]), then=Value(0)),
            When(starter & plain, then=Value(1)),
            When(starter, then=Value(2)),
            When(kind=ModelVersion.Kind.RUN, then=Value(4)),
            default=Value(3),
        )
        return self.order_by(rank, F("team").asc(nulls_first=True), "parameters", "name")

    def best_for(self, task: str, languages: Iterable[str]) -> list[ModelVersion]:
        """The same, those that read the languages of the rows before all others."""
        languages = list(languages)
        return sorted(self.best_first(task), key=lambda model: not model.reads(languages))

    def answering(self, task: str | None = None) -> ModelQuerySet:
        """Those that can be asked something."""
        found = self.present().filter(state=ModelVersion.State.READY).exclude(task="")
        return found.filter(task=task) if task else found

    def listed(self) -> ModelQuerySet:
        """With everything that a list shows."""
        return self.select_related("created_by", "parent", "run", "checkpoint__run")


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
    progress: Any = models.JSONField(default=dict)  # {"done", "total"} bytes while it is fetched
    source = models.CharField(max_length=500, blank=True)  # hub id (with @commit once it is known), or where it came from
    folder = models.CharField(max_length=500)  # absolute, or below settings.FILES
    task = models.CharField(max_length=40, blank=True)  # empty: a base that answers nothing yet
    labels: Any = models.JSONField(default=list)
    is_trainable = models.BooleanField(default=True)
    parent = models.ForeignKey("self", models.SET_NULL, null=True, related_name="children")
    family = models.CharField(max_length=60, blank=True)  # config.model_type
    shape = models.CharField(max_length=20, default=families.ENCODER)  # one of worker.nlp.families.SHAPES
    parameters = models.BigIntegerField(default=0)
    bytes = models.BigIntegerField(default=0)
    licence = models.CharField(max_length=80, blank=True)
    languages: Any = models.JSONField(default=list)
    metrics: Any = models.JSONField(default=dict)
    manifest_sha256 = models.CharField(max_length=64, blank=True)

    objects = ModelQuerySet.as_manager()

    class Meta:
        constraints = [models.UniqueConstraint(fields=["source"], condition=Q(kind="starter"), name="one_starter_per_source")]
        indexes = [models.Index(fields=["team", "-id"])]

    def __str__(self) -> str:
        return self.name

    # --- how one comes to be ---
    @classmethod
    def register_starters(cls) -> None:
        """The models that come with the installation, for every team. Any number may call this at once."""
        there: dict[str, ModelVersion] = {}
        for starter in starters():
            try:
                facts = fields_of(look(starter.folder))
            except Unusable as refusal:
                log.warning("the starter %s is left out: %s", starter.name, refusal)
                continue
            facts |= {
                "folder": below_files(starter.folder),
                "name": starter.name[:200],
                "licence": starter.licence[:80],
                "languages": list(starter.languages),
                "task": starter.task,
                "labels": list(starter.labels),
                "metrics": starter.metrics,
                "parent": there.get(starter.base),
                "deleted_at": None,
            }
            there[starter.source] = cls.objects.update_or_create(kind=cls.Kind.STARTER, source=starter.source, defaults=facts)[0]
        gone = cls.objects.present().filter(kind=cls.Kind.STARTER, source__startswith="starters/").exclude(source__in=there)
        gone.update(deleted_at=now())  # of a version before this one; what was made of them stays

    @classmethod
    def trained(
        cls,
        team: Team,
        created_by: User | None,
        name: str,
        folder: Path | str,
        task: str,
        labels: Iterable[str],
        parent: ModelVersion,
        metrics: dict[str, Any],
        bytes: int,
        manifest_sha256: str,
    ) -> ModelVersion:
        """What a run made, in `folder`. A second call for the same folder gives the same model."""
        facts = fields_of(look(Path(settings.FILES) / folder)) | {
            "created_by": created_by,
            "name": name[:200],
            "task": task,
            "labels": list(labels),
            "parent": parent,
            "metrics": metrics,
            "bytes": bytes,
            "licence": parent.licence,
            "languages": parent.languages,
            "manifest_sha256": manifest_sha256,
        }
        return cls.objects.get_or_create(team=team, kind=cls.Kind.RUN, folder=below_files(Path(folder)), defaults=facts)[0]

    @classmethod
    def add_folder(cls, actor: Actor, path: str) -> ModelVersion:
        """A model in a folder that an administrator allowed (TUNEBENCH_MODEL_DIRS). Raises SpecError with a sentence."""
        actor.require(WRITE, actor.team_id)
        if (folder := allowed_folder(path.strip())) is None:
            raise SpecError("folder", _("Only folders inside those that an administrator allowed (TUNEBENCH_MODEL_DIRS) can be added."))
        try:
            facts = fields_of(look(folder)) | skill_of(folder)
        except Unusable as refusal:
            raise SpecError("folder", str(refusal)) from None
        mine: Any = cls.objects.filter(team=actor.team_id, kind=cls.Kind.FOLDER, deleted_at=None)
        facts |= {
            "team_id": actor.team_id,
            "kind": cls.Kind.FOLDER,
            "name": folder.name[:200],
            "created_by": actor.user,
            "source": str(folder)[:500],
        }
        model: ModelVersion = mine.get_or_create(folder=str(folder), defaults=facts)[0]
        return model

    @classmethod
    def add_hub(cls, actor: Actor, name: str) -> ModelVersion:
        """A model of the hub, called "organisation/name": a data worker fetches it. Raises SpecError with a sentence."""
        actor.require(WRITE, actor.team_id)
        name = name.strip()
        if not HUB_ID.fullmatch(name) or ".." in name or "--" in name:
            raise SpecError("hub", _("A model of the hub is called organisation/name, for example google-bert/bert-base-uncased."))
        wanted = Q(source=name) | Q(source__startswith=f"{name}@")
        here = cls.objects.present().filter(wanted, team=actor.team_id, kind=cls.Kind.HUB).exclude(state=cls.State.FAILED)
        with quota.one_at_a_time(actor.team_id):
            found: ModelVersion | None = here.first()
            if found:
                return found
            try:
                quota.check(actor.team_id, 1)  # how large it is the hub says later
            except quota.OverQuota as full:
                raise SpecError("hub", str(full)) from None
            model = cls(team_id=actor.team_id, created_by=actor.user, name=name.split("/")[-1], kind=cls.Kind.HUB, source=name)
            model.state = cls.State.FETCHING
            model.folder = f"models/{model.pk}"
            model.save(force_insert=True)
            model._queue_fetching()
        return model

    @classmethod
    def held_by(cls, team_id: Any) -> int:
        """Bytes of the models that a team has fetched, until they are purged, and of those on their way."""
        theirs = cls.objects.filter(team=team_id, kind=cls.Kind.HUB)
        coming = theirs.filter(state=cls.State.FETCHING, deleted_at=None)
        whole = theirs.exclude(state=cls.State.FETCHING).aggregate(bytes=models.Sum("bytes"))["bytes"] or 0
        return int(whole + sum(model.reserved for model in coming))

    @property
    def reserved(self) -> int:
        """Bytes that it may come to while it is fetched: as many as any model may have, until the hub has told."""
        return int(self.progress.get("total") or settings.MODEL_LIMIT)

    def reserve(self, total: int) -> None:
        """So many bytes it will have. Raises OverQuota when the team has no room for them. Others of which that is not known yet
        do not count: each asks for itself."""
        with quota.one_at_a_time(self.team_id):
            coming = ModelVersion.objects.filter(team=self.team_id, kind=self.Kind.HUB, state=self.State.FETCHING, deleted_at=None)
            guessed = sum(model.reserved for model in coming if model.pk == self.pk or not model.progress.get("total"))
            quota.check(self.team_id, total - guessed)
            ModelVersion.objects.filter(pk=self.pk, state=self.State.FETCHING).update(progress={"done": 0, "total": total})

    def fetch_again(self) -> bool:
        """Queue another attempt at a model that could not be fetched. False when there is nothing to repeat."""
        failed = ModelVersion.objects.filter(pk=self.pk, kind=self.Kind.HUB, state=self.State.FAILED, deleted_at=None)
        with transaction.atomic():
            if not failed.update(state=self.State.FETCHING, reason="", progress={}):
                return False
            self._queue_fetching()
        self.refresh_from_db()
        return True

    def _queue_fetching(self) -> None:
        WorkItem.add("fetch_model", self.pk, team=self.team_id)

    # --- how one goes ---
    def delete_softly(self) -> bool:
        """Take it off every list; its files stay, so that it can come back. False when it was gone already."""
        return self._stamp(deleted_at=now(), was=Q(deleted_at=None))

    def restore(self) -> bool:
        """Back on the lists; what was being fetched is fetched again, for that work was dropped."""
        with transaction.atomic():
            won = self._stamp(deleted_at=None, was=~Q(deleted_at=None))
            going_on = WorkItem.objects.filter(subject=self.pk, state__in=WorkItem.WAITING | WorkItem.LEASED)
            if won and self.kind == self.Kind.HUB and self.state == self.State.FETCHING and not going_on.exists():
                self._queue_fetching()
        return won

    def _stamp(self, deleted_at: Any, was: Q) -> bool:
        won = ModelVersion.objects.filter(was, pk=self.pk).update(deleted_at=deleted_at)
        self.deleted_at = deleted_at
        return bool(won)

    # --- what is asked of one ---
    def reads(self, languages: Iterable[str]) -> bool:
        """Whether it is known to have learnt all these languages."""
        return "multilingual" in self.languages or set(languages) <= set(self.languages)

    @property
    def path(self) -> Path:
        return settings.FILES / self.folder  # an absolute folder wins over the left side

    @property
    def draft(self) -> Path:
        """Where its files lie until they are whole."""
        return self.path.with_suffix(".part")

    @property
    def is_answering(self) -> bool:
        return bool(self.task) and self.state == self.State.READY and self.deleted_at is None

    @property
    def card(self) -> str:
        """The model card as it was written; it is shown as text."""
        try:
            with (self.path / "README.md").open("rb") as file:
                return file.read(CARD_LIMIT).decode(errors="replace")
        except OSError:
            return ""

    @property
    def examples(self) -> list[dict[str, Any]]:
        """Up to three held-out rows to try it with, from tunebench.json beside the weights."""
        try:
            found = json.loads((self.path / "tunebench.json").read_text(encoding="utf-8")).get("examples", [])
        except (OSError, ValueError, AttributeError):
            return []
        return [example for example in found if isinstance(example, dict)][:3] if isinstance(found, list) else []

    @cached_property
    def known(self) -> dict[str, Any]:
        """What it learnt of its rows beside the weights (docs/internals.md, "Tasks"): languages, which inputs it uses."""
        try:
            found = json.loads((self.path / "config.json").read_text(encoding="utf-8")).get("tunebench")
        except (OSError, ValueError, AttributeError):
            return {}
        return found if isinstance(found, dict) else {}

    @property
    def maker(self) -> Any:
        """The run that made it, or out of whose checkpoint it was made."""
        if hasattr(self, "run"):
            return self.run
        return self.checkpoint.run if hasattr(self, "checkpoint") else None

    @property
    def run_id(self) -> UUID | None:
        return self.maker.pk if self.maker else None

    @property
    def percent(self) -> int:
        """How much of it has been fetched."""
        return round(100 * self.progress["done"] / self.progress["total"]) if self.progress.get("total") else 0

    @property
    def learns(self) -> list[str]:
        """The tasks that it can be trained for."""
        is_base = self.is_trainable and self.state == self.State.READY
        return [slug for slug, task in TASKS.items() if is_base and self.shape in task.shapes]

    def facts(self) -> dict[str, Any]:
        """What the API and the pages say about a model."""
        return {
            "id": str(self.pk),
            "name": self.name,
            "kind": self.kind,
            "state": self.state,
            "reason": self.reason,
            "progress": self.progress,
            "source": self.source,
            "task": self.task,
            "labels": self.labels,
            "trainable": self.is_trainable and self.state == self.State.READY,
            "run": str(self.run_id) if self.run_id else None,
            "base": {"id": str(self.parent.pk), "name": self.parent.name} if self.parent else None,
            "metrics": self.metrics,
            "family": self.family,
            "shape": self.shape,
            "learns": self.learns,
            "parameters": self.parameters,
            "bytes": self.bytes,
            "licence": self.licence,
            "languages": self.languages,
            "created_by": self.created_by.username if self.created_by else None,
            "created_at": self.created_at.isoformat(),
        }


quota.holders.append(ModelVersion.held_by)


def fields_of(weights: Weights) -> dict[str, Any]:
    return {"family": weights.family[:60], "shape": weights.shape, "parameters": weights.parameters, "bytes": weights.bytes}


def skill_of(folder: Path) -> dict[str, Any]:
    """What a model that was not made here can be asked as it came: its task and its labels; no task where it must learn one first."""
    config = read_config(folder / "config.json")
    for slug, task in TASKS.items():
        if (labels := task.comes_with(config)) is not None:
            return {"task": slug, "labels": list(labels)}
    return {"task": "", "labels": []}


def below_files(folder: Path) -> str:
    """As it is kept in a row: the same for every process, wherever each one finds the files."""
    return str(folder.relative_to(settings.FILES) if folder.is_relative_to(settings.FILES) else folder)


def allowed_folder(path: str) -> Path | None:
    """The folder of that name, if an administrator allowed it and all that lies in it."""
    try:
        folder = Path(path).resolve()
        inside = path and is_allowed(folder) and folder.is_dir() and all(is_allowed(file.resolve()) for file in folder.iterdir())
    except (OSError, ValueError, RuntimeError):  # a name that no system takes, a folder that may not be read, links in a circle
        return None
    return folder if inside and len(str(folder)) <= LONGEST_PATH else None


def is_allowed(path: Path) -> bool:
    return any(path.is_relative_to(allowed) for allowed in settings.MODEL_DIRS)


def offered_folders(most: int = 100) -> list[str]:
    """Model folders inside those that an administrator allowed, for the form."""
    found = (config.parent for allowed in settings.MODEL_DIRS for config in sorted(allowed.glob("*/config.json")))
    return [str(folder) for folder, _number in zip(found, range(most), strict=False)]
