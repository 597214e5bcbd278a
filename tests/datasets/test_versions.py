"""From a dropped file to a version: whole or not at all, with nothing lost unseen (reliability row 101)."""

import contextlib
import csv
import os
import signal
import threading
import time

import polars as pl
import psutil
import pytest
from django.db import connection

from tests.datasets.cast import dropped, labour, reviews, take
from webapp.datasets import work
from webapp.datasets.models import Dataset, DatasetVersion, Import, NotNow, Upload
from webapp.people.access import Denied, actor_of
from webapp.work.models import WorkItem
from worker.spec import SpecError
from worker.tasks import do_item

BAD_ROWS = b",positive\nNo label here,\n"
PUBLISHED = {"rows": 1, "rejected": 0, "splits": {}, "labels": [], "statistics": {}, "problems": [], "findings": []}


def read(dataset):
    labour()
    dataset.refresh_from_db()
    return dataset


def test_a_plain_file_becomes_ready_by_itself(alice):
    dataset = dropped(alice, reviews())
    assert labour("baselines") == ["read_files", "publish_version", "baselines"]
    dataset.refresh_from_db()
    version = dataset.latest_version
    assert (dataset.state, version.number, version.rows, version.rejected) == ("ready", 1, 60, 0)
    frame = pl.read_parquet(version.path)
    assert frame.columns[:4] == ["_row", "_split", "text", "label"]
    assert sum(version.splits.values()) == frame.height == 60
    assert {label["name"]: label["rows"] for label in version.labels} == {"negative": 20, "neutral": 20, "positive": 20}
    assert set(version.baselines["scores"]) == {"majority", "tfidf_word", "tfidf_char"}


def test_rejected_rows_always_ask_a_person(alice):
    dataset = read(dropped(alice, reviews() + BAD_ROWS))
    assert (dataset.state, dataset.versions.count()) == ("needs_mapping", 0)


def test_rows_are_left_out_only_when_somebody_said_so_and_the_counts_add_up(alice, signed_in):
    dataset = read(dropped(alice, reviews() + BAD_ROWS))
    reading = dataset.latest_import
    reading.confirm(actor_of(alice), reading.mapping)
    assert read(dataset).state == "needs_mapping"
    assert "2 rows" in dataset.reason
    reading.refresh_from_db()
    reading.confirm(actor_of(alice), reading.mapping, accept_rejected=True, message="without the two")
    version = read(dataset).latest_version
    assert (version.rows, version.rejected, version.message, dataset.reason) == (60, 2, "without the two", "")
    body = b"".join(signed_in(alice).get(f"/datasets/{dataset.pk}/rejected.csv")).decode().splitlines()
    assert [row["row"] for row in csv.DictReader(body)] == ["62", "63"]


def test_a_mapping_that_came_with_the_file_is_obeyed(alice):
    content = reviews(header="Review,Stars")
    dataset = read(dropped(alice, content, mapping={"text": "Review", "label": "Stars"}))
    assert dataset.state == "ready"
    assert dataset.latest_version.mapping == {"text": "Review", "label": "Stars"}


def test_a_mapping_with_an_unknown_column_names_it(alice):
    dataset = read(dropped(alice, reviews(), mapping={"text": "text", "label": "Stars"}))
    assert dataset.state == "needs_mapping"
    assert "Stars" in dataset.reason


@pytest.mark.parametrize(
    "mapping",
    [
        {"text": "text"},
        {"text": "text", "label": "text"},
        {"text": "text", "label": "nothing"},
        {"text": "text", "label": "label", "colour": "label"},
    ],
)
def test_a_mapping_that_cannot_work_says_which_field(alice, mapping):
    dataset = read(dropped(alice, reviews() + BAD_ROWS))
    with pytest.raises(SpecError) as error:
        dataset.latest_import.confirm(actor_of(alice), mapping)
    assert error.value.field == "mapping"
    assert WorkItem.objects.filter(kind="publish_version").count() == 0


def test_labels_are_joined(alice):
    lines = [f"Text number {i},{('good', 'Good ', 'bad')[i % 3]}" for i in range(60)]
    dataset = read(dropped(alice, "\n".join(["text,label", *lines, ""]).encode()))
    assert dataset.state == "needs_mapping"
    reading = dataset.latest_import
    reading.confirm(actor_of(alice), reading.mapping, labels={"Good": "good"})
    assert [(label["name"], label["rows"]) for label in read(dataset).latest_version.labels] == [("bad", 20), ("good", 40)]


def test_two_or_three_files_keep_their_splits(alice):
    actor = actor_of(alice)
    parts = {
        "train": reviews(60),
        "validation": reviews(12).replace(b"expected", b"wanted"),
        "test": reviews(15).replace(b"expected", b"hoped"),
    }
    uploads = {part: take(alice, content, f"{part}.csv") for part, content in parts.items()}
    dataset = read(Dataset.start(actor, "three", "classification", uploads))
    if dataset.state == "needs_mapping":  # the same texts stand in several files: that needs a look
        dataset.latest_import.confirm(actor, dataset.latest_import.mapping, accept_rejected=True)
        read(dataset)
    assert dataset.latest_version.splits == {"train": 60, "validation": 12, "test": 15}


@pytest.mark.parametrize("parts", [["validation"], ["file", "train"], ["train", "other"], []])
def test_files_for_no_known_split_are_refused(alice, parts):
    uploads = {part: take(alice, reviews()) for part in parts}
    with pytest.raises(SpecError):
        Dataset.start(actor_of(alice), "", "classification", uploads)
    assert not Dataset.objects.exists()


def test_a_file_that_has_not_arrived_starts_nothing(alice):
    with pytest.raises(SpecError, match="arrived"):
        Dataset.start(actor_of(alice), "", "classification", {"file": Upload.begin(actor_of(alice), "a.csv", 10)})


@pytest.mark.parametrize("content", [b"", b"text,label\n", b"\x7fELF" + bytes(range(256)) * 20])
def test_a_file_that_cannot_be_read_fails_with_a_reason_and_nothing_half_done(alice, content):
    dataset = read(dropped(alice, content))
    assert dataset.state == "failed"
    assert len(dataset.reason) > 20
    assert not DatasetVersion.objects.exists()


def test_another_file_mends_a_failure_and_a_bad_one_leaves_what_was_there(alice):
    dataset = read(dropped(alice, b""))
    dataset.add_files(actor_of(alice), {"file": take(alice, reviews())})
    assert read(dataset).state == "ready"
    dataset.add_files(actor_of(alice), {"file": take(alice, b"")})
    assert read(dataset).state == "ready"
    assert dataset.reason and dataset.versions.count() == 1


def test_a_second_version_has_a_parent_and_leaves_the_first_alone(alice):
    dataset = read(dropped(alice, reviews()))
    first = dataset.latest_version
    dataset.add_files(actor_of(alice), {"file": take(alice, reviews(90))})
    second = read(dataset).latest_version
    assert (second.number, second.parent, second.rows) == (2, first, 90)
    first.refresh_from_db()
    assert first.rows == 60 and first.path.exists()


def test_the_same_rows_make_the_same_hash(alice):
    assert read(dropped(alice, reviews())).latest_version.hash == read(dropped(alice, reviews())).latest_version.hash


def test_reading_again_with_another_header_row_forgets_the_mapping(alice):
    dataset = read(dropped(alice, b"My reviews\n\n" + reviews() + BAD_ROWS))
    again = dataset.read_again(alice, {"header_row": 3, "mapping": None})
    assert dataset.imports.exclude(pk=again.pk).get().state == Import.State.REPLACED
    assert read(dataset).latest_import.report["files"][0]["header_row"] == 3


def test_a_way_of_reading_that_fails_leaves_the_way_before(alice, signed_in):
    dataset = read(dropped(alice, reviews() + BAD_ROWS))
    dataset.read_again(alice, {"encoding": "klingon"})
    assert (read(dataset).state, dataset.latest_import.state) == ("needs_mapping", Import.State.READ)
    assert "klingon" in signed_in(alice).get(f"/datasets/{dataset.pk}/").content.decode()
    dataset.latest_import.confirm(actor_of(alice), {"text": "text", "label": "label"}, accept_rejected=True)
    assert read(dataset).state == "ready"
    dataset.read_again(alice, {"encoding": "klingon"})
    assert (read(dataset).state, dataset.latest_import.state) == ("ready", Import.State.PUBLISHED)
    dataset.latest_import.confirm(actor_of(alice), {"text": "text", "label": "label"}, accept_rejected=True)
    assert read(dataset).versions.count() == 2 and not dataset.reason


def test_other_columns_are_looked_at_before_they_become_a_version(alice, signed_in):
    spelled = ["Positive", "positive", "negative", "NEGATIVE"]
    rows = reviews(60).decode().splitlines()[1:]
    content = "text,label,verdict\n" + "".join(f"{row},{spelled[i % 4]}\n" for i, row in enumerate(rows))
    dataset = read(dropped(alice, (content + ",neutral,positive\n").encode()))
    client, address = signed_in(alice), f"/datasets/{dataset.pk}/"
    client.post(f"{address}versions/", {"role-0": "text", "role-2": "label"})
    assert (read(dataset).state, dataset.versions.count()) == ("needs_mapping", 0)
    page = client.get(address).content.decode()
    assert "another spelling" in page
    assert dataset.latest_import.report["joins"].keys() <= set(spelled)
    answers = {"role-0": "text", "role-2": "label", "accept_rejected": "on"}
    labels = dataset.latest_import.report["labels"]
    answers |= {f"label-{i}": label["name"].lower() for i, label in enumerate(labels)}
    client.post(f"{address}versions/", answers)
    version = read(dataset).latest_version
    assert [label["name"] for label in version.labels] == ["negative", "positive"]
    assert (version.rows, version.mapping) == (60, {"text": "text", "label": "verdict"})


def test_other_columns_without_a_doubt_become_a_version_at_once(alice, signed_in):
    content = "text,label,verdict\n" + "".join(f"{row},{'ab'[i % 2]}\n" for i, row in enumerate(reviews().decode().splitlines()[1:]))
    dataset = read(dropped(alice, content.encode()))
    signed_in(alice).post(f"/datasets/{dataset.pk}/versions/", {"role-0": "text", "role-2": "label"})
    assert read(dataset).latest_version.mapping == {"text": "text", "label": "verdict"}


def test_nothing_can_be_confirmed_while_it_is_read(alice):
    dataset = dropped(alice, reviews())
    with pytest.raises((NotNow, SpecError)):
        dataset.latest_import.confirm(actor_of(alice), {"text": "text", "label": "label"})


def test_vera_may_not_start_one(alice, vera):
    with pytest.raises(Denied):
        dropped(vera, reviews())


# --- Twice, and killed ----------------------------------------------------------------------------------------------------
def test_work_that_is_done_twice_makes_one_version(alice):
    dataset = dropped(alice, reviews())
    reading, items = dataset.latest_import, []
    for kind in ("read_files", "publish_version", "baselines"):
        items.append(item := WorkItem.objects.get(kind=kind))
        getattr(work, kind)(item)
        getattr(work, kind)(item)
    assert DatasetVersion.objects.count() == 1
    for item in items:  # a message that comes very late
        getattr(work, item.kind)(item)
    reading.refresh_from_db()
    assert (reading.state, DatasetVersion.objects.count(), WorkItem.objects.count()) == ("published", 1, 3)


def test_a_worker_thought_dead_that_finishes_after_its_successor_changes_nothing(alice):
    dataset = dropped(alice, reviews())
    work.read_files(WorkItem.objects.get(kind="read_files"))
    item = WorkItem.objects.get(kind="publish_version")
    zombie = Import.objects.get(pk=dataset.latest_import.pk)  # has looked, and sleeps
    work.publish_version(item)
    hash_before = DatasetVersion.objects.get().hash
    late = {**PUBLISHED, "sha256": "0" * 64}
    assert zombie.publish(late) is None
    assert DatasetVersion.objects.get().hash == hash_before


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("kind", ["read_files", "publish_version"])
def test_killed_at_any_time_there_is_no_version_or_a_whole_one(alice, kind):
    """The reading child is killed at once, then the item runs again, as after a lost lease."""
    dataset = dropped(alice, reviews(400))
    if kind == "publish_version":
        work.read_files(WorkItem.objects.get(kind="read_files"))
    item = WorkItem.objects.get(kind=kind)
    for delay_s in (0.05, 0.4):
        killer = threading.Timer(delay_s, kill_children)
        killer.start()
        try:
            getattr(work, kind)(item)
        except work.ReadingError:  # the child is gone; the parent lives and says so
            reset(dataset, kind)
        killer.join()
        for version in DatasetVersion.objects.all():
            assert pl.read_parquet(version.path).height == version.rows
        item.refresh_from_db()
    getattr(work, kind)(item)
    labour()
    assert DatasetVersion.objects.get().rows == 400


def kill_children():
    for child in psutil.Process().children(recursive=True):
        with contextlib.suppress(psutil.Error):  # it is gone already
            if "webapp.datasets.reading" in " ".join(child.cmdline()):
                os.kill(child.pid, signal.SIGKILL)


def reset(dataset, kind):
    """As if not the child but the whole worker had been killed: nobody wrote a reason."""
    back = Import.State.READING if kind == "read_files" else Import.State.PUBLISHING
    dataset.imports.update(state=back)
    Dataset.objects.update(state="importing", reason="")


def test_a_version_is_never_seen_before_its_file_is_whole(alice, monkeypatch):
    dataset = dropped(alice, reviews())
    work.read_files(WorkItem.objects.get(kind="read_files"))

    def killed(source, target):
        raise SystemError("killed before the move")

    monkeypatch.setattr(work.blobs, "keep", killed)
    with pytest.raises(SystemError):
        work.publish_version(WorkItem.objects.get(kind="publish_version"))
    assert not DatasetVersion.objects.exists()
    monkeypatch.undo()
    work.publish_version(WorkItem.objects.get(kind="publish_version"))
    assert dataset.latest_version.path.exists()


def test_a_reading_whose_worker_crashed_for_good_says_so(alice):
    dataset = dropped(alice, reviews())
    WorkItem.objects.update(state=WorkItem.State.FAILED, reason="The worker was lost while it worked on this.")
    dataset.give_up_dropped_work()
    assert (dataset.state, dataset.reason) == ("failed", "The worker was lost while it worked on this.")


def test_progress_is_announced(alice, redis_server):
    import redis

    from webapp.datasets.work import progress_of

    dataset = dropped(alice, reviews())
    progress_of(dataset)("reading", 5, 10)
    time.sleep(0.05)
    entries = redis.Redis.from_url(redis_server).xrange(dataset.stream)
    assert b'"done": 5' in entries[-1][1][b"frame"]


@pytest.mark.django_db(transaction=True)
def test_deleting_a_dataset_ends_its_reading_and_restoring_it_reads_again(alice):
    dataset = dropped(alice, reviews(150_000))
    item = WorkItem.objects.get(kind="read_files")
    assert item.team == dataset.team_id
    ended = []

    def read_it():
        try:
            do_item(item)
        finally:
            ended.append(time.monotonic())
            connection.close()

    WorkItem.objects.filter(pk=item.pk).update(state="running")
    thread = threading.Thread(target=read_it)
    thread.start()
    time.sleep(1)
    dataset.delete()
    began = time.monotonic()
    thread.join(30)
    item.refresh_from_db()
    assert ended[0] - began < 10
    assert (item.state, item.reason_code) == ("failed", "unwanted")
    assert not [p for p in psutil.Process().children(recursive=True) if "webapp.datasets.reading" in p.cmdline()]
    dataset.restore()
    again = WorkItem.objects.get(kind="read_files", state="queued")
    assert again.subject == item.subject
