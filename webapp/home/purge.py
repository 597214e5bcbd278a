"""What was deleted long ago goes for good: rows first, then the files that no row names any more. Until then all can be restored."""

from __future__ import annotations

import logging
import shutil
from collections.abc import Iterable, Iterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from django.conf import settings
from django.db import IntegrityError, transaction
from django.db.models import Exists, OuterRef, Q, QuerySet
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
    """Delete for good what was deleted more than `days` (else PURGE_DAYS) ago, and what came to nothing PURGE_DAYS ago. The bytes
    that became free. Any number may call this at once, and a call that broke off is made good by the next."""
    free = shutil.disk_usage(settings.FILES).free if settings.FILES.is_dir() else 0
    life = timedelta(days=settings.PURGE_DAYS)
    before = now() - (life if days is None else timedelta(days=days))
    unasked = min(before, now() - life)  # for what nobody has deleted
    if settings.PREDICTION_DAYS:
        Prediction.objects.filter(created_at__lt=now() - timedelta(days=settings.PREDICTION_DAYS)).delete()
    models(before)
    runs(before)
    models(before)  # those that only a run of the line above still needed
    datasets(before)
    failed_datasets(unasked)
    readings(before)
    for dataset in Dataset.objects.filter(state=Dataset.State.IMPORTING, deleted_at=None):
        dataset.give_up_dropped_work()  # while the item that says so is there
    WorkItem.objects.filter(finished_at__lt=unasked).delete()
    clear_folders()
    return max(0, shutil.disk_usage(settings.FILES).free - free) if settings.FILES.is_dir() else 0


def each_gone(things: QuerySet[Any]) -> Iterator[Any]:
    """Delete the `things` one by one and give what each was. One that is restored, or needed again, in the meantime stays:
    whether it still is one of them is asked anew under the lock of its row."""
    for pk in list(things.values_list("pk", flat=True)):
        try:
            with transaction.atomic():
                thing = things.select_for_update().filter(pk=pk).first()
                if thing is not None:
                    things.model._base_manager.filter(pk=pk).delete()
        except IntegrityError:  # ProtectedError is one of them
            continue
        if thing is not None:
            yield thing


def models(before: datetime) -> None:
    needed = Exists(Run.objects.filter(base=OuterRef("pk")))
    ours = Q(kind__in=[ModelVersion.Kind.HUB, ModelVersion.Kind.RUN, ModelVersion.Kind.FOLDER])
    for model in each_gone(ModelVersion.objects.filter(ours, ~needed, deleted_at__lt=before)):
        if model.kind != ModelVersion.Kind.FOLDER:  # that one is somebody else's
            remove(model.path)
            remove(model.draft)


def runs(before: datetime) -> None:
    """A deleted run goes with its checkpoints; a model that it made and that nobody deleted stays where it lies."""
    for run in each_gone(Run.objects.filter(deleted_at__lt=before, state__in=states.TERMINAL)):
        kept = {run.result.path} if run.result else set()
        for path in run.folder.iterdir() if run.folder.is_dir() else ():
            if path not in kept:
                remove(path)
        if not kept:
            remove(run.folder)


def datasets(before: datetime) -> None:
    """A deleted dataset goes unless a run has learnt from one of its versions."""
    learnt = Exists(Run.objects.filter(version__dataset=OuterRef("pk")))
    for dataset in each_gone(Dataset.every.filter(~learnt, deleted_at__lt=before)):
        log.info("the dataset %s has gone", dataset.pk)


def failed_datasets(before: datetime) -> None:
    """One that never had a version goes when nothing was tried with it any more, not when it is old itself."""
    ours = {"dataset": OuterRef("pk")}
    readings = Import.objects.filter(dataset=OuterRef(OuterRef("pk"))).values("pk")
    tried = (
        Exists(Import.objects.filter(**ours, created_at__gte=before))
        | Exists(Upload.objects.filter(**ours, created_at__gte=before))
        | Exists(WorkItem.objects.filter(Q(finished_at=None) | Q(finished_at__gte=before), subject__in=readings))
        | Exists(DatasetVersion._base_manager.filter(**ours))
    )
    for dataset in each_gone(Dataset.every.filter(~tried, state=Dataset.State.FAILED, deleted_at=None, created_at__lt=before)):
        log.info("the dataset %s came to nothing and has gone", dataset.pk)


def readings(before: datetime) -> None:
    """Of a living dataset go the readings that another one replaced, but not while it reads: one that fails brings back the one before."""
    newer = Exists(Import.objects.filter(dataset=OuterRef("dataset"), pk__gt=OuterRef("pk")))
    over = Import.objects.filter(newer, state__in=[Import.State.FAILED, Import.State.REPLACED], created_at__lt=before)
    for pk in set(over.values_list("dataset", flat=True)):
        with transaction.atomic():
            if Dataset.every.select_for_update().exclude(state=Dataset.State.IMPORTING).filter(pk=pk).exists():
                over.filter(dataset=pk).delete()


def clear_folders() -> None:
    """Files below FILES that belong to no row: named by content, they go only when the last row that names them has gone."""
    named = set(Upload.objects.exclude(sha256="").values_list("sha256", flat=True))
    named |= {file["sha256"] for files in Import.objects.values_list("files", flat=True) for file in files}
    for path in old(settings.FILES.glob("blobs/??/*")):
        if (sha256 := path.name.split(".")[0]) not in named:
            blobs.forget(path, lambda lies, sha256=sha256: is_young(lies) or is_named(sha256))  # type: ignore[misc]
    versions = set(DatasetVersion._base_manager.values_list("hash", flat=True))
    for path in old(settings.FILES.glob("versions/??/*.parquet*")):
        if (sha256 := path.name.split(".")[0]) not in versions:
            blobs.forget(path, lambda lies, sha256=sha256: is_young(lies) or is_version(sha256))  # type: ignore[misc]
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


def is_version(sha256: str) -> bool:
    return bool(DatasetVersion._base_manager.filter(hash=sha256).exists())


def old(paths: Iterable[Path]) -> Iterable[Path]:
    return (path for path in paths if not is_young(path))


def is_young(path: Path) -> bool:
    """So is a file that has gone: nobody needs to delete it."""
    try:
        return path.stat().st_mtime >= (now() - YOUNG).timestamp()
    except FileNotFoundError:
        return True


def remove(path: Path) -> None:
    """A folder of ours. Nothing outside the places where models and runs lie is ever touched."""
    places = [settings.FILES / place for place in ("models", "runs", "imports")]
    if not any(path.resolve().is_relative_to(place.resolve()) and path.resolve() != place.resolve() for place in places):
        return log.warning("%s is not ours to delete", path)
    if path.is_dir():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)
