"""Rows that the tests of run pages start from: a version, a base, a run with a curve."""

from django.utils.timezone import now

from webapp.catalog.models import ModelVersion
from webapp.datasets.models import Dataset, DatasetVersion
from webapp.runs.models import Run
from webapp.work.models import Worker

SCORES = {"majority": {"macro_f1": 0.181}, "tfidf_word": {"macro_f1": 0.642}, "tfidf_char": {"macro_f1": 0.631}}
METRICS = {"macro_f1": 0.753, "accuracy": 0.765, "calibration_error": 0.03, "rows": 100}
EVALUATION = {
    "split": "test",
    "labels": ["bad", "<b>good</b>"],
    "confusion": [[40, 10], [5, 45]],
    "per_class": [{"label": "bad", "precision": 0.89, "recall": 0.8, "f1": 0.84, "rows": 50}],
    "reliability": [{"low": 0.9, "high": 1.0, "confidence": 0.95, "accuracy": 0.93, "rows": 100}],
    "examples": [],
}


def version(team, name="reviews", **fields):
    dataset = Dataset.objects.create(team=team, name=name, state="ready")
    defaults = {
        "number": 1,
        "hash": "ab" * 32,
        "task": "classification",
        "rows": 1000,
        "splits": {"train": 800, "validation": 100, "test": 100},
        "labels": [{"name": "bad", "rows": 500}, {"name": "good", "rows": 500}],
        "baselines": {"split": "test", "rows": 100, "scores": SCORES},
    }
    return DatasetVersion.objects.create(team=team, dataset=dataset, **{**defaults, **fields})


def base(**fields):
    defaults = {"name": "small-base", "kind": "starter", "folder": "/nowhere", "parameters": 22_700_000}
    return ModelVersion.objects.create(**{**defaults, **fields})


def run(team, by=None, **fields):
    defaults = {"name": "reviews-1", "task": "classification", "method": "full", "settings": {"epochs": 3, "learning_rate": 1e-4}}
    if "version" not in fields:
        fields["version"] = version(team)
    if "base" not in fields:
        fields["base"] = base()
    return Run.objects.create(team=team, created_by=by, **{**defaults, **fields})


def done(team, by=None, **fields):
    """A run that ended well, with its model."""
    found = run(team, by, state="succeeded", step=75, steps=75, metrics=METRICS, evaluation=EVALUATION, finished_at=now(), **fields)
    found.result = ModelVersion.objects.create(
        team=team, name=found.name, kind="run", folder="runs/x", task="classification", parent=found.base
    )
    found.save()
    return found


def worker(kind="train", queues=("train.cpu",), **fields):
    defaults = {
        "host": "gpu-1",
        "boot_id": "elsewhere",
        "pid": 7,
        "version": "0",
        "last_seen": now(),
        "device": {"kind": "cpu", "threads": 3},
    }
    return Worker.objects.create(kind=kind, queues=list(queues), **{**defaults, **fields})
