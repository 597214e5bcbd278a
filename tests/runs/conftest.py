"""A version to train on, a base to train from, and runs of Alice's."""

import pytest

from webapp.catalog.models import ModelVersion
from webapp.datasets.models import Dataset, DatasetVersion
from webapp.people.access import actor_of
from webapp.runs.models import Run
from webapp.work.models import Worker


@pytest.fixture
def version(team, alice):
    dataset = Dataset.objects.create(team=team, created_by=alice, name="Reviews sentiment", state="ready")
    return DatasetVersion.objects.create(
        team=team,
        created_by=alice,
        dataset=dataset,
        number=1,
        hash="ab" * 32,
        task="classification",
        rows=100,
        splits={"train": 80, "validation": 10, "test": 10},
        labels=[{"name": "bad", "rows": 50}, {"name": "good", "rows": 50}],
        baselines={"split": "test", "rows": 10, "scores": {"majority": {"macro_f1": 0.33}}},
    )


@pytest.fixture
def base(db):
    return ModelVersion.objects.create(name="tiny", kind="starter", folder="/nowhere", is_trainable=True)


@pytest.fixture
def submit(alice, version, base):
    """Queue a run of Alice's: submit(method=..., settings=...)."""

    def submit(method="full", settings=None, actor=None, **more):
        return Run.submit(actor or actor_of(alice), version, base, method, settings or {}, **more)

    return submit


@pytest.fixture
def worker(db):
    return Worker.register("train", ["train.cpu"])
