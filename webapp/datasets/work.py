"""What a data worker does for datasets. Each function may be called twice for the same item, also at the same time:
the rows decide which result counts, and the files are equal."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

from webapp import live
from webapp.datasets import blobs
from webapp.datasets.models import Dataset, DatasetVersion, Import
from webapp.datasets.models.version import path_of
from webapp.datasets.reading import ReadingError, limited
from webapp.work.models import WorkItem

SEED = 13
SHARES = [0.8, 0.1, 0.1]  # train, validation, test
ANNOUNCE_EVERY = 0.2  # seconds


def read_files(item: WorkItem) -> None:
    """Read what was uploaded, keep what was found. Raises ReadingError when the files cannot be used."""
    reading = Import.objects.select_related("dataset").get(pk=item.subject)
    if reading.state != Import.State.READING or not reading.is_wanted:
        return
    files = [{"part": f["part"], "name": f["name"], "path": str(blobs.path_of(f["sha256"]))} for f in reading.files]
    job = {
        "files": files,
        "task": reading.dataset.task,
        "options": reading.reading_options,
        "mapping": reading.options.get("mapping"),
        "out": folder_for(reading, item),
    }
    try:
        report = limited.run("read", job, progress_of(reading.dataset), lambda: reading.is_wanted)
    except ReadingError as error:
        reading.fail(error.message)
        raise
    reading.finish_reading(report)


def publish_version(item: WorkItem) -> None:
    """Write the rows as the person mapped them; the version appears when its file is whole, or not at all."""
    reading = Import.objects.select_related("dataset").get(pk=item.subject)
    if reading.state != Import.State.PUBLISHING or not reading.is_wanted:
        return
    job = {
        "staged": reading.report["staged"],
        "problems": reading.report.get("problems", []),
        "task": reading.dataset.task,
        "mapping": reading.mapping,
        "labels": reading.options.get("labels", {}),
        "several_labels": reading.options.get("several_labels"),
        "kept": reading.report.get("kept", []),
        "accept_rejected": bool(reading.options.get("accept_rejected")),
        "seed": SEED,
        "shares": SHARES,
        "out": folder_for(reading, item),
    }
    try:
        published = limited.run("publish", job, progress_of(reading.dataset), lambda: reading.is_wanted)
    except ReadingError as error:
        reading.refuse(error.message)
        raise
    blobs.keep(Path(published["path"]), path_of(published["sha256"]))
    reading.publish(published)


def baselines(item: WorkItem) -> None:
    """Score what costs nothing on the same split."""
    version = DatasetVersion.objects.select_related("dataset").get(pk=item.subject)
    if version.baselines:
        return
    here = DatasetVersion.objects.filter(pk=version.pk, dataset__deleted_at=None)
    job = {"path": str(version.path), "task": version.task}
    scores = limited.run("baselines", job, progress_of(version.dataset), here.exists)
    DatasetVersion.objects.filter(pk=version.pk, baselines={}).update(baselines=scores)
    live.announce(version.dataset.stream, {"type": "baselines", "version": str(version.pk)})


def folder_for(reading: Import, item: WorkItem) -> str:
    """A folder of this claim alone: a worker that was thought dead may still be writing into its own."""
    folder = reading.folder / f"{item.kind}-{item.fence}"
    folder.mkdir(parents=True, exist_ok=True)
    return str(folder)


def progress_of(dataset: Dataset) -> Callable[[str, int, int], None]:
    last = 0.0

    def announce(what: str, done: int, total: int) -> None:
        nonlocal last
        if time.monotonic() - last >= ANNOUNCE_EVERY or done >= total:
            last = time.monotonic()
            live.announce(dataset.stream, {"type": "progress", "what": what, "done": done, "total": total})

    return announce
