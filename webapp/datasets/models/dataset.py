"""A dataset, and the readings of its files."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from django.db import models, transaction
from django.utils.timezone import now
from django.utils.translation import gettext as _

from webapp import live
from webapp.datasets.models.imports import Import, NotNow
from webapp.datasets.models.upload import Upload
from webapp.datasets.models.version import DatasetVersion
from webapp.people.access import WRITE, Actor
from webapp.people.models import TeamQuerySet, TeamScoped, User
from webapp.work.models import WorkItem
from worker.nlp import KINDS, TASKS, slug_of
from worker.spec import SpecError

PARTS = ("file", "train", "validation", "test")


class DatasetQuerySet(TeamQuerySet):
    def visible_to(self, actor: Any) -> DatasetQuerySet:
        return self.filter(team__in=actor.team_ids, deleted_at=None)

    def with_latest(self) -> DatasetQuerySet:
        """Each with `rows` and `number` of its newest version."""
        newest = DatasetVersion.objects.filter(dataset=models.OuterRef("pk")).order_by("-number")
        found: DatasetQuerySet = self.annotate(
            rows=models.Subquery(newest.values("rows")[:1]), number=models.Subquery(newest.values("number")[:1])
        )
        return found

    def with_heads(self) -> DatasetQuerySet:
        """For long lists, in as many queries as for short ones: each with `numbered` (its versions, newest first, without
        their statistics), `readings` (its latest import or none) and `is_dropped` (see `give_up_dropped_work`)."""
        kept = Import.objects.exclude(state=Import.State.REPLACED).order_by("-pk")
        versions = DatasetVersion.objects.order_by("-number").only("dataset", "number", "hash", "rows")
        latest = models.Subquery(kept.filter(dataset=models.OuterRef("pk")).values("pk")[:1])
        readings = Import.objects.filter(pk=models.Subquery(kept.filter(dataset=models.OuterRef("dataset")).values("pk")[:1]))
        dropped = WorkItem.objects.filter(subject=models.OuterRef("latest"), state=WorkItem.State.FAILED)
        found: DatasetQuerySet = self.annotate(latest=latest).annotate(is_dropped=models.Exists(dropped))
        return found.prefetch_related(
            models.Prefetch("versions", versions, to_attr="numbered"),
            models.Prefetch("imports", readings, to_attr="readings"),
        )


class Dataset(TeamScoped):
    class State(models.TextChoices):
        IMPORTING = "importing"
        NEEDS_MAPPING = "needs_mapping"
        READY = "ready"
        FAILED = "failed"

    name = models.CharField(max_length=200)
    task = models.CharField(max_length=40, default="classification")  # empty until a reading has told it, where nobody has
    state = models.CharField(max_length=14, choices=State.choices, default=State.IMPORTING)
    reason = models.TextField(blank=True)  # for people: why it failed, or why its mapping needs a look
    deleted_at = models.DateTimeField(null=True)

    objects = DatasetQuerySet.as_manager()  # type: ignore[misc]
    every = TeamQuerySet.as_manager()  # with the deleted ones, for undo

    class Meta:
        indexes = [models.Index(fields=["team", "-created_at"])]

    def __str__(self) -> str:
        return self.name

    @property
    def stream(self) -> str:
        return f"dataset:{self.pk}"

    # --- from files to a version ---
    @classmethod
    def start(cls, actor: Actor, name: str, task: str, uploads: Mapping[str, Upload], options: Mapping[str, Any] | None = None) -> Dataset:
        """A new dataset of whole uploads by part: {"file": ...}, or {"train": ...} with "validation" and "test".
        Without a task the reading tells what it is for."""
        actor.require(WRITE, actor.team_id)
        task = task_called(task)
        files = list_files(uploads)
        with transaction.atomic():
            dataset: Dataset = cls.objects.create(
                team_id=actor.team_id,  # type: ignore[misc]  # require() has seen that there is one
                created_by=actor.user,
                name=(clean(name) or name_from(files[0]["name"]))[:200],
                task=task,
            )
            dataset.take_over(uploads)
            dataset.read(actor.user, files, options)
        return dataset

    def add_files(self, actor: Actor, uploads: Mapping[str, Upload], options: Mapping[str, Any] | None = None) -> Import:
        """Other files, which become the next version."""
        files = list_files(uploads)
        with transaction.atomic():
            self.take_over(uploads)
            return self.read(actor.user, files, options)

    def take_over(self, uploads: Mapping[str, Upload]) -> None:
        """From now on these belong to this dataset and its team."""
        Upload.objects.filter(pk__in=[u.pk for u in uploads.values()]).update(dataset=self, team=self.team_id)

    def read(self, user: User, files: list[dict[str, str]], options: Mapping[str, Any] | None = None) -> Import:
        """Have the files read; what an earlier reading was about to become is dropped."""
        with transaction.atomic():
            self.imports.filter(state__in=Import.State.open()).update(state=Import.State.REPLACED)
            reading = self.imports.create(team_id=self.team_id, created_by=user, files=files, options=dict(options or {}))
            self.wait()
            reading.hand_over("read_files")
        return reading

    def read_again(self, user: User, options: Mapping[str, Any], task: str = "") -> Import:
        """The same files, understood in another way or for another task."""
        latest = self.latest_import
        if latest is None or self.state == self.State.IMPORTING:
            raise NotNow(_("The file is still being read. Wait until that is done."))
        with transaction.atomic():
            self.settle_task(task_called(task) or self.task)
            return self.read(user, latest.files, {**latest.options, **options})

    def settle_task(self, task: str) -> None:
        """From now on this is what the rows are for; versions keep theirs."""
        Dataset.every.filter(pk=self.pk).update(task=task)
        self.task = task

    def _become(self, state: str, reason: str = "") -> None:
        Dataset.every.filter(pk=self.pk).update(state=state, reason=reason)
        self.state, self.reason = state, reason
        transaction.on_commit(lambda: live.announce(self.stream, {"type": "state", "state": state}))

    def fall_back(self, reason: str) -> None:
        """This reading came to nothing: what was there before stays."""
        self._become(self.State.READY if self.versions.exists() else self.State.FAILED, reason)

    def ask(self, reason: str = "") -> None:
        self._become(self.State.NEEDS_MAPPING, reason)

    def wait(self) -> None:
        self._become(self.State.IMPORTING)

    def become_ready(self) -> None:
        self._become(self.State.READY)

    def give_up_dropped_work(self) -> None:
        """A worker that crashed again and again cannot say so itself: its work item can."""
        latest = self.latest_import if self.state == self.State.IMPORTING else None
        if latest is None:
            return
        newest = WorkItem.objects.filter(subject=latest.pk).order_by("-created_at", "-pk").first()
        if newest is None or newest.state == WorkItem.State.FAILED:
            latest.fail((newest and newest.reason) or _("The file could not be read. Try it again, or try a smaller part of it."))
            self.refresh_from_db(fields=["state", "reason"])

    # --- what there is ---
    @property
    def latest_import(self) -> Import | None:
        return self.imports.exclude(state=Import.State.REPLACED).order_by("-pk").first()

    @property
    def latest_version(self) -> DatasetVersion | None:
        return self.versions.order_by("-number").first()

    @property
    def rejected_path(self) -> Path | None:
        """The rows that the newest reading could not use."""
        latest = self.latest_import
        found = sorted(latest.folder.glob("*/rejected.csv"), key=lambda path: path.stat().st_mtime) if latest else []
        return found[-1] if found else None

    # --- names and ends ---
    def rename(self, name: str) -> None:
        if not clean(name):
            raise SpecError("name", _("A dataset needs a name."))
        self.name = clean(name)[:200]
        self.save(update_fields=["name"])

    def delete(self, *args: Any, **kwargs: Any) -> tuple[int, dict[str, int]]:  # the rows stay, for undo and for the runs that used them
        Dataset.every.filter(pk=self.pk, deleted_at=None).update(deleted_at=now())
        return 1, {}

    def restore(self) -> None:
        Dataset.every.filter(pk=self.pk).update(deleted_at=None)
        if self.state == self.State.IMPORTING and (latest := self.latest_import):
            latest.hand_over_again()


def task_called(name: str) -> str:
    """The slug of a task by any of its names; empty for none. Raises SpecError when there is no such task."""
    slug = slug_of(name) if name.strip() else ""
    if slug and slug not in KINDS:
        known = {"task": name[:40], "tasks": ", ".join(TASKS)}
        raise SpecError("task", _("There is no task called %(task)s; there are %(tasks)s.") % known)
    return slug


def list_files(uploads: Mapping[str, Upload]) -> list[dict[str, str]]:
    """The uploads as an import keeps them. Raises SpecError naming the part that is wrong."""
    if not uploads:
        raise SpecError("file", _("Choose a file."))
    if not set(uploads) <= set(PARTS) or ("file" in uploads and len(uploads) > 1):
        raise SpecError("file", _("Give one file, or files for train, validation and test."))
    if "file" not in uploads and "train" not in uploads:
        raise SpecError("train", _("One of the files must hold the training rows."))
    for part, upload in uploads.items():
        if not upload.is_whole:
            raise SpecError(part, _("%(name)s has not arrived completely.") % {"name": upload.name})
    order = sorted(uploads, key=PARTS.index)
    return [{"part": part, "name": uploads[part].name, "sha256": uploads[part].sha256} for part in order]


def clean(name: str) -> str:
    return name.replace("\0", "").strip()  # PostgreSQL keeps no NUL


def name_from(file_name: str) -> str:
    """ "reviews.csv.gz" is called "reviews"."""
    stem = file_name
    for ending in (".gz", ".zip", ".csv", ".tsv", ".txt", ".jsonl", ".ndjson", ".json", ".parquet", ".xlsx", ".xls", ".ods"):
        if stem.lower().endswith(ending) and len(stem) > len(ending):
            stem = stem[: -len(ending)]
    return stem
