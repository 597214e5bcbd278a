"""What was deleted a while ago goes for good, with its files; what can still be restored, and what others share, stays."""

import contextlib
import os
import time
from datetime import timedelta

import pytest
from django.core.management import call_command
from django.db import connection
from django.utils.timezone import now

from tests.datasets.cast import dropped, labour, reviews, take
from tests.runs import made
from webapp.catalog.models import ModelVersion
from webapp.datasets import blobs
from webapp.datasets.models import Dataset, DatasetVersion, Import, Upload
from webapp.home.purge import failed_datasets, purge
from webapp.people.access import actor_of
from webapp.playground.models import Prediction
from webapp.runs.models import Run
from webapp.work.models import WorkItem

pytestmark = pytest.mark.django_db
LONG_AGO = now() - timedelta(days=31)


@pytest.fixture(autouse=True)
def files(settings, tmp_path):
    settings.FILES = tmp_path / "files"
    settings.FILES.mkdir()
    return settings.FILES


@pytest.fixture
def aged(files):
    """aged(): every file is two hours old."""

    def aged():
        for path in files.rglob("*"):
            os.utime(path, (time.time() - 7200,) * 2)

    return aged


def left(files):
    return {path.relative_to(files).parts[0] for path in files.rglob("*") if path.is_file()}


def test_a_dataset_that_was_deleted_long_ago_goes_with_all_its_files(alice, files, aged):
    dataset = dropped(alice, reviews())
    labour()
    aged()
    dataset.delete()
    purge()
    assert DatasetVersion.objects.count() == 1 and left(files) == {"blobs", "versions", "imports"}
    Dataset.every.update(deleted_at=LONG_AGO)
    purge()
    assert not Dataset.every.exists() and not Upload.objects.exists() and not Import.objects.exists()
    assert left(files) == set()


def test_a_file_that_another_dataset_uses_too_stays(alice, files, aged):
    one, two = dropped(alice, reviews()), dropped(alice, reviews())
    labour()
    aged()
    Dataset.every.filter(pk=one.pk).update(deleted_at=LONG_AGO)
    purge()
    assert two.latest_version.path.is_file() and Upload.objects.get().path.is_file()


def test_a_dataset_that_a_run_has_learnt_from_stays_until_the_run_goes(alice, team, files, aged):
    dropped(alice, reviews())
    labour()
    aged()
    run = made.run(team, alice, version=DatasetVersion.objects.get(), state="failed")
    (run.folder / "1").mkdir(parents=True)
    (run.folder / "1" / "weights").write_bytes(b"x" * 1000)
    Dataset.every.update(deleted_at=LONG_AGO)
    purge()
    assert run.version.path.is_file() and run.folder.is_dir()
    Run.objects.update(deleted_at=LONG_AGO)
    purge()
    assert not Run.objects.exists() and not Dataset.every.exists() and left(files) == set()


def model_of(team, files, **fields):
    model = ModelVersion(team=team, name="mine", kind="hub", source="a/b", **fields)
    model.folder = model.folder or f"models/{model.pk}"
    model.save()
    model.path.mkdir(parents=True, exist_ok=True)
    (model.path / "model.safetensors").write_bytes(b"x" * 1000)
    return model


def test_a_model_goes_after_its_time_with_what_was_asked_of_it(alice, team, files, aged):
    model = model_of(team, files)
    Prediction.objects.create(team=team, created_by=alice, model=model)
    model.delete_softly()
    purge()
    assert model.path.is_dir()
    ModelVersion.objects.update(deleted_at=LONG_AGO)
    purge()
    assert not ModelVersion.objects.filter(pk=model.pk).exists() and not Prediction.objects.exists() and not model.path.exists()


def test_a_base_of_a_run_and_a_folder_of_somebody_else_and_a_starter_stay(team, files, tmp_path):
    base = model_of(team, files, deleted_at=LONG_AGO)
    made.run(team, base=base)
    theirs = model_of(team, files, folder=str(tmp_path / "theirs"), deleted_at=LONG_AGO)
    ModelVersion.objects.filter(pk=theirs.pk).update(kind="folder")
    starter = model_of(None, files, folder=str(tmp_path / "starter"), deleted_at=LONG_AGO)
    ModelVersion.objects.filter(pk=starter.pk).update(kind="starter")
    purge()
    assert base.path.is_dir() and (theirs.path / "model.safetensors").is_file() and (starter.path / "model.safetensors").is_file()
    assert not ModelVersion.objects.filter(pk=theirs.pk).exists()


def test_a_model_of_a_deleted_run_stays_where_it_lies(team, files):
    run = made.done(team)
    ModelVersion.objects.filter(pk=run.result_id).update(folder=f"runs/{run.pk}/model")
    (run.folder / "model").mkdir(parents=True)
    (run.folder / "1" / "checkpoints").mkdir(parents=True)
    Run.objects.update(deleted_at=LONG_AGO)
    purge()
    assert not Run.objects.exists() and [path.name for path in run.folder.iterdir()] == ["model"]
    ModelVersion.objects.filter(kind="run").update(deleted_at=LONG_AGO)
    purge()
    assert not (run.folder / "model").exists()


def test_the_page_of_a_run_whose_model_was_purged_still_stands(alice, team, signed_in):
    run = made.done(team)
    ModelVersion.objects.filter(pk=run.result_id).update(deleted_at=LONG_AGO)
    purge()
    assert signed_in(alice).get(f"/runs/{run.pk}/").status_code == 200


def test_failed_datasets_old_answers_and_old_work_go_too(alice, team, files, aged):
    failed = dropped(alice, b"\x89PNG no table")
    labour()
    model = model_of(team, files)
    Prediction.objects.create(team=team, created_by=alice, model=model)
    aged()
    purge()
    assert Dataset.every.get().state == "failed" and Prediction.objects.exists()
    Dataset.every.filter(pk=failed.pk).update(created_at=LONG_AGO)
    Import.objects.update(created_at=LONG_AGO)
    Upload.objects.update(created_at=LONG_AGO)
    Prediction.objects.update(created_at=now() - timedelta(days=181))
    WorkItem.objects.update(finished_at=LONG_AGO)
    purge()
    assert not Dataset.every.exists() and not Prediction.objects.exists() and not WorkItem.objects.exists()
    assert left(files) == {"models"}


def test_the_command_says_what_became_free(alice, files, aged, capsys):
    dropped(alice, reviews()).delete()
    aged()
    call_command("purge", "--days", "0")
    assert "MB became free" in capsys.readouterr().out
    assert not Dataset.every.exists() and left(files) == set()


def test_what_is_on_its_way_is_left_alone(alice, files):
    take(alice, b"text,label\n")
    labour()
    purge(0)
    assert Upload.objects.get().path.is_file()


def failed_long_ago(user):
    """A dataset of long ago that came to nothing then."""
    dataset = dropped(user, b"\x89PNG no table")
    labour()
    Dataset.every.filter(pk=dataset.pk).update(created_at=LONG_AGO)
    for kind in (Import, Upload):
        kind.objects.filter(dataset=dataset).update(created_at=LONG_AGO)
    WorkItem.objects.update(created_at=LONG_AGO, finished_at=LONG_AGO)
    return dataset


def test_an_old_dataset_that_failed_today_on_a_new_file_stays(alice):
    dataset = failed_long_ago(alice)
    dataset.add_files(actor_of(alice), {"file": take(alice, b"\x89PNG another")})
    labour()
    WorkItem.objects.update(finished_at=now())
    purge()
    purge(0)
    assert Dataset.every.get().state == "failed" and Upload.objects.filter(dataset=dataset).count() == 2


def test_an_old_file_that_waited_for_a_worker_until_it_failed_today_stays(alice):
    failed_long_ago(alice)
    WorkItem.objects.update(finished_at=now())
    for days in (None, 0, 0):
        purge(days)
    assert Dataset.every.get().state == "failed" and Upload.objects.exists()


def test_days_0_takes_no_failed_dataset_that_nobody_has_deleted(alice):
    kept, deleted = dropped(alice, b"\x89PNG no table"), dropped(alice, b"\x89PNG nor this")
    labour()
    deleted.delete()
    purge(0)
    assert Dataset.every.get() == kept
    failed_long_ago(alice)
    purge(0)
    assert Dataset.every.get() == kept


@contextlib.contextmanager
def after_listing(kind, change):
    """`change` happens as soon as the rows of `kind` have been listed, as it may in another process."""
    todo = [change]

    def watch(execute, sql, *rest):
        answer = execute(sql, *rest)
        if todo and sql.startswith(f'SELECT "{kind._meta.db_table}"."id"'):
            todo.pop()()
        return answer

    with connection.execute_wrapper(watch):
        yield
    assert not todo


def test_a_dataset_that_is_restored_during_the_purge_stays(alice, files, aged):
    dataset = dropped(alice, reviews())
    labour()
    aged()
    Dataset.every.update(deleted_at=LONG_AGO)
    with after_listing(Dataset, dataset.restore):
        purge()
    assert Dataset.objects.get().latest_version.path.is_file() and Upload.objects.get().path.is_file()


def test_a_failed_dataset_that_gets_a_file_during_the_purge_stays(alice):
    dataset, upload = failed_long_ago(alice), take(alice, reviews())
    with after_listing(Dataset, lambda: dataset.add_files(actor_of(alice), {"file": upload})):
        failed_datasets(LONG_AGO + timedelta(days=1))
    labour()
    assert Dataset.objects.get().state == "ready"


def test_a_model_that_is_restored_during_the_purge_stays(team, files):
    model = model_of(team, files, deleted_at=LONG_AGO)
    with after_listing(ModelVersion, model.restore):
        purge()
    assert ModelVersion.objects.filter(pk=model.pk).exists() and (model.path / "model.safetensors").is_file()


def test_a_run_that_is_restored_during_the_purge_stays(team, files):
    run = made.run(team, state="failed", deleted_at=LONG_AGO)
    (run.folder / "1").mkdir(parents=True)
    with after_listing(Run, run.restore):
        purge()
    assert Run.objects.get() == run and (run.folder / "1").is_dir()


def test_a_model_that_a_new_run_needs_holds_up_nothing_else(team, files):
    needed, other = model_of(team, files, deleted_at=LONG_AGO), model_of(team, files, deleted_at=LONG_AGO)
    with after_listing(ModelVersion, lambda: made.run(team, base=needed)):
        purge()
    assert needed.path.is_dir() and not other.path.exists()


@pytest.mark.parametrize("is_item_there", [True, False])
def test_a_dataset_whose_worker_crashed_long_ago_does_not_read_for_ever(alice, is_item_there):
    dataset = dropped(alice, reviews())
    WorkItem.objects.update(state="failed", reason="The worker was lost.", finished_at=LONG_AGO)
    if not is_item_there:
        WorkItem.objects.all().delete()
    purge()
    dataset.refresh_from_db()
    assert dataset.state == "failed" and dataset.reason and not WorkItem.objects.exists()


def test_rows_that_are_published_again_just_now_keep_their_file(alice, files, aged, monkeypatch):
    dataset = dropped(alice, reviews())
    labour()
    path = dataset.latest_version.path
    dataset.delete()
    Dataset.every.get().versions.all().delete()  # the file alone is left
    aged()
    again = files / "again.parquet"
    again.write_bytes(path.read_bytes())
    listed = DatasetVersion._base_manager.filter(hash=path.stem).exists

    def ask(sha256):  # the row is written only after the purge has looked for it
        if again.exists():
            blobs.keep(again, path)
        return listed()

    monkeypatch.setattr("webapp.home.purge.is_version", ask)
    purge()
    assert path.is_file() and not again.exists()


def test_a_file_that_was_kept_again_is_young(alice, files, aged):
    take(alice, reviews())
    path = Upload.objects.get().path
    aged()
    take(alice, reviews())
    assert time.time() - path.stat().st_mtime < 60
