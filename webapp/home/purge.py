"""What was deleted long ago goes for good: rows first, then the files that no row names any more. Until then all can be restored."""

from __future__ import annotations

import logging
import shutil
from collections.abc import Iterable
from datetime import datetime, timedelta
from pathlib import Path

from django.conf import settings
from django.db.models import Exists, OuterRef, Q
from django.utils.timezone import now

from webapp.catalog.models import ModelVersion
from webapp.datasets import blobs
from webapp.datasets.models import Dataset, DatasetVersion, Import, Upload
from webapp.playground.models import Prediction
from webapp.runs import states
from webapp.runs.models import Run
from webapp.work.models import WorkItem

log = logging.getLogger(__name__)
YOUNG = timedelta(hours=1)  # a file that is younger may belong to a row that is about to be written


def purge(days: float | None = None) -> int:
    """Delete for good what was deleted, or came to nothing, more than `days` (else PURGE_DAYS) ago. The bytes that became free.
    Any number may call this at once, and a call that broke off is made good by the next."""
    free = shutil.disk_usage(settings.FILES).free if settings.FILES.is_dir() else 0
    before = now() - timedelta(days=settings.PURGE_DAYS if days is None else days)
    if settings.PREDICTION_DAYS:
        Prediction.objects.filter(created_at__lt=now() - timedelta(days=settings.PREDICTION_DAYS)).delete()
    models(before)
    runs(before)
    models(before)  # those that only a run of the line above still needed
    datasets(before)
    WorkItem.objects.filter(finished_at__lt=before).delete()
    clear_folders()
    return max(0, shutil.disk_usage(settings.FILES).free - free) if settings.FILES.is_dir() else 0


def models(before: datetime) -> None:
    needed = Exists(Run.objects.filter(base=OuterRef("pk")))
    ours = Q(kind__in=[ModelVersion.Kind.HUB, ModelVersion.Kind.RUN, ModelVersion.Kind.FOLDER])
    for model in ModelVersion.objects.filter(ours, ~needed, deleted_at__lt=before):
        model.delete()
        if model.kind != ModelVersion.Kind.FOLDER:  # that one is somebody else's
            remove(model.path)
            remove(model.draft)


def runs(before: datetime) -> None:
    """A deleted run goes with its checkpoints; a model that it made and that nobody deleted stays where it lies."""
    for run in Run.objects.filter(deleted_at__lt=before, state__in=states.TERMINAL).select_related("result"):
        kept = {run.result.path} if run.result else set()
        folder = run.folder
        Run.objects.filter(pk=run.pk).delete()
        for path in folder.iterdir() if folder.is_dir() else ():
            if path not in kept:
                remove(path)
        if not kept:
            remove(folder)


def datasets(before: datetime) -> None:
    """A deleted dataset goes unless a run has learnt from one of its versions, and so does one that came to nothing; of a living
    one, the readings that another one replaced."""
    learnt = Exists(Run.objects.filter(version__dataset=OuterRef("pk")))
    came_to_nothing = Q(state=Dataset.State.FAILED, versions=None, created_at__lt=before)
    gone = Dataset.every.filter(~learnt, Q(deleted_at__lt=before) | came_to_nothing)
    Dataset._base_manager.filter(pk__in=list(gone.values_list("pk", flat=True))).delete()
    newer = Exists(Import.objects.filter(dataset=OuterRef("dataset"), pk__gt=OuterRef("pk")))
    over = Import.objects.filter(newer, state__in=[Import.State.FAILED, Import.State.REPLACED], created_at__lt=before)
    over.exclude(dataset__state=Dataset.State.IMPORTING).delete()  # a reading that fails brings back the one before


def clear_folders() -> None:
    """Files below FILES that belong to no row: named by content, they go only when the last row that names them has gone."""
    named = set(Upload.objects.exclude(sha256="").values_list("sha256", flat=True))
    named |= {file["sha256"] for files in Import.objects.values_list("files", flat=True) for file in files}
    for path in old(settings.FILES.glob("blobs/??/*")):
        if path.name.split(".")[0] not in named:
            blobs.forget(path.name, lambda sha256=path.name: is_named(sha256))  # type: ignore[misc]
    versions = set(DatasetVersion._base_manager.values_list("hash", flat=True))
    for path in old(settings.FILES.glob("versions/??/*.parquet")):
        if path.stem not in versions and not DatasetVersion._base_manager.filter(hash=path.stem).exists():
            path.unlink(missing_ok=True)
    imports = {str(pk) for pk in Import.objects.values_list("pk", flat=True)}
    for path in old(settings.FILES.glob("imports/*")):
        if path.name not in imports:
            remove(path)
    uploads = {str(pk) for pk in Upload.objects.values_list("pk", flat=True)}
    for path in old(settings.FILES.glob("uploads/*")):
        if path.name not in uploads:
            path.unlink(missing_ok=True)


def is_named(sha256: str) -> bool:
    named = Upload.objects.filter(sha256=sha256).exists()
    return named or any(file["sha256"] == sha256 for files in Import.objects.values_list("files", flat=True) for file in files)


def old(paths: Iterable[Path]) -> Iterable[Path]:
    latest = (now() - YOUNG).timestamp()
    for path in paths:
        try:
            if path.stat().st_mtime < latest:
                yield path
        except FileNotFoundError:
            continue


def remove(path: Path) -> None:
    """A folder of ours. Nothing outside the places where models and runs lie is ever touched."""
    places = [settings.FILES / place for place in ("models", "runs", "imports")]
    if not any(path.resolve().is_relative_to(place.resolve()) and path.resolve() != place.resolve() for place in places):
        return log.warning("%s is not ours to delete", path)
    if path.is_dir():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)
