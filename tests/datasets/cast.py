"""Datasets for tests: rows in a real version file, and files read by the real reader."""

import hashlib
import io

import polars as pl

from webapp.datasets import blobs, work
from webapp.datasets.models import Dataset, DatasetVersion, Upload
from webapp.datasets.models.version import path_of
from webapp.people.access import actor_of
from webapp.work.models import WorkItem

LABELS = ("negative", "neutral", "positive")
WORDS = ["battery", "screen", "garden", "letter", "summer", "bridge", "coffee", "window", "river", "market"]


def reviews(rows=60, header="text,label"):
    """Distinct short texts, three labels in turn."""
    lines = [f"The {WORDS[i % 10]} number {i} is what I expected,{LABELS[i % 3]}" for i in range(rows)]
    return "\n".join([header, *lines, ""]).encode()


def dropped(user, content, name="reviews.csv", part="file", **options):
    """A dataset of which the file has arrived and nothing is read yet."""
    return Dataset.start(actor_of(user), "", "classification", {part: take(user, content, name)}, options)


def take(user, content, name="reviews.csv"):
    return Upload.take(actor_of(user), name, io.BytesIO(content), len(content))


def labour(*more):
    """What a data worker would do, here and now: every waiting item, oldest first; the slow baselines only when asked for."""
    done = []
    waiting = WorkItem.objects.filter(state=WorkItem.State.QUEUED, kind__in=["read_files", "publish_version", *more])
    while item := waiting.order_by("pk").first():
        try:
            getattr(work, item.kind)(item)
            WorkItem.objects.filter(pk=item.pk).update(state=WorkItem.State.SUCCEEDED)
        except work.ReadingError as error:
            WorkItem.objects.filter(pk=item.pk).update(state=WorkItem.State.FAILED, reason=error.message)
        done.append(item.kind)
    return done


def version_of(user, rows=250, split=(0.8, 0.1, 0.1), **values):
    """A ready dataset whose rows are written straight into a version's file."""
    team = user.teams.get()
    dataset = Dataset.objects.create(team=team, created_by=user, name="reviews", state="ready")
    bounds = [round(rows * split[0]), round(rows * (split[0] + split[1]))]
    splits = ["train" if i < bounds[0] else "validation" if i < bounds[1] else "test" for i in range(rows)]
    frame = pl.DataFrame(
        {
            "_row": [i + 2 for i in range(rows)],
            "_split": splits,
            "text": [f"The {WORDS[i % 10]} number {i}" for i in range(rows)],
            "label": [LABELS[i % 3] for i in range(rows)],
            "x_product": [WORDS[i % 7] for i in range(rows)],
        },
        schema_overrides={"_row": pl.Int64},
    ).with_columns(**values)
    buffer = io.BytesIO()
    frame.write_parquet(buffer, row_group_size=5000)
    sha256 = hashlib.sha256(buffer.getvalue()).hexdigest()
    source = blobs.part_path(f"{sha256}.test")
    source.parent.mkdir(parents=True, exist_ok=True)
    source.write_bytes(buffer.getvalue())
    blobs.keep(source, path_of(sha256))
    counts = frame["label"].value_counts(sort=True).rows()
    return DatasetVersion.objects.create(
        team=team,
        created_by=user,
        dataset=dataset,
        number=1,
        hash=sha256,
        task="classification",
        mapping={"text": "text", "label": "label"},
        rows=rows,
        splits={name: splits.count(name) for name in ("train", "validation", "test")},
        labels=[{"name": name, "rows": count} for name, count in sorted(counts)],
    )
