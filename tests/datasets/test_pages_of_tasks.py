"""The pages of data for tasks other than labels: which task, which roles, samples of each."""

import json

import pytest

from tests.datasets.cast import dropped, labour, reviews, take
from tests.datasets.test_reading_tasks import sentences, squad, table
from webapp.datasets.models import Dataset, DatasetVersion
from webapp.datasets.pages import SAMPLES
from webapp.people.access import actor_of
from worker.nlp import TASKS
from worker.spec import SpecError

PAIRS = table("en,zh", sentences()).encode()


def started(user, content, name, task=""):
    dataset = Dataset.start(actor_of(user), "", task, {"file": take(user, content, name)})
    labour("baselines")
    dataset.refresh_from_db()
    return dataset


def test_a_file_that_nobody_named_a_task_for_tells_it_itself(alice):
    dataset = started(alice, PAIRS, "pairs.csv")
    assert (dataset.task, dataset.state, dataset.latest_version.mapping) == ("translation", "ready", {"source": "en", "target": "zh"})
    assert started(alice, reviews(), "reviews.csv").task == "classification"


@pytest.mark.parametrize("name", ["machine_translation", "Machine Translation", "translation"])
def test_a_task_may_be_called_by_any_of_its_names(alice, name):
    assert started(alice, PAIRS, "pairs.csv", name).task == "translation"


def test_an_unknown_task_is_refused_by_name(alice):
    with pytest.raises(SpecError, match="cooking"):
        started(alice, PAIRS, "pairs.csv", "cooking")


@pytest.mark.parametrize("key", SAMPLES)
def test_every_sample_becomes_a_version_by_one_click_and_its_pages_are_drawn(signed_in, bob, key):
    client = signed_in(bob)
    assert client.post("/datasets/sample/", {"sample": key}).status_code == 302
    labour("baselines")
    dataset = Dataset.objects.get()
    version = dataset.latest_version
    assert (dataset.state, dataset.task) == ("ready", SAMPLES[key].task)
    assert version.rejected == 0 and min(version.splits.values()) > 0
    body = client.get(f"/datasets/{dataset.pk}/").content.decode()
    task = TASKS[dataset.task]
    assert task.title in body and all(role.label in body for role in task.roles if role.name in version.mapping)
    assert ('class="bars"' in body) == bool(version.labels)
    assert ("Baselines" in body) == bool(version.baselines["scores"])
    intervals = [each for named in version.baselines["intervals"].values() for each in named.values()]
    assert ('title="95 % interval"' in body) == bool(version.baselines["scores"]) and all(low <= high for low, high in intervals)
    DatasetVersion.objects.update(baselines={name: version.baselines[name] for name in ("split", "rows", "scores")})  # as an older home
    assert "95 % interval" not in client.get(f"/datasets/{dataset.pk}/").content.decode()
    assert client.get(f"/datasets/{dataset.pk}/versions/1/rows/0/").status_code == 200
    assert client.get(f"/datasets/{dataset.pk}/mapping/").status_code == 200
    listed = client.get("/datasets/").content.decode()
    assert task.title in listed


def test_there_is_no_sample_of_another_name(signed_in, bob):
    assert signed_in(bob).post("/datasets/sample/", {"sample": "secrets"}).status_code == 404


def test_the_first_page_says_what_a_file_for_each_task_looks_like(signed_in, bob):
    body = signed_in(bob).get("/datasets/").content.decode()
    for task in TASKS.values():
        assert task.title in body and task.example_file.splitlines()[0] in body


def test_the_task_is_switched_on_the_mapping_page_and_the_file_read_again(signed_in, alice):
    dataset = started(alice, PAIRS, "pairs.csv", "classification")
    assert dataset.state == "needs_mapping"
    client = signed_in(alice)
    body = client.get(f"/datasets/{dataset.pk}/").content.decode()
    assert "looks like data for another task: Translation" in body
    assert client.post(f"/datasets/{dataset.pk}/readings/", {"as": "translation", "task": "classification"}).status_code == 302
    labour()
    dataset.refresh_from_db()
    assert (dataset.task, dataset.state, dataset.latest_version.task) == ("translation", "ready", "translation")


def test_a_way_of_reading_that_fails_leaves_the_task_as_it_was(alice):
    dataset = started(alice, PAIRS, "pairs.csv", "classification")
    dataset.read_again(alice, {"encoding": "klingon"}, "generation")
    labour()
    dataset.refresh_from_db()
    assert (dataset.task, dataset.state) == ("classification", "needs_mapping")
    assert dataset.latest_import.report["task"] == "classification"


def test_the_mapping_page_names_each_role_and_counts_what_is_left_out(signed_in, alice):
    data = squad()
    data["data"][0]["paragraphs"][0]["qas"][0]["answers"] = [{"text": "a giant", "answer_start": 0}]
    data["data"][0]["paragraphs"][1]["qas"][0]["question"] = ""
    dataset = started(alice, json.dumps(data).encode(), "squad.json")
    assert dataset.state == "needs_mapping"
    body = signed_in(alice).get(f"/datasets/{dataset.pk}/").content.decode()
    for role in TASKS["question_answering"].roles:
        assert role.label in body and role.help.split(";")[0] in body
    assert "Create version 1 (38 rows)" in body and "2 rows are left out" in body
    assert "Row 1: The answer does not appear word for word in the passage" in body


def test_a_chat_is_shown_as_a_chat(signed_in, alice):
    chat = [{"role": "user", "content": "Is it <b>open</b>?"}, {"role": "assistant", "content": "It is."}]
    lines = "".join(json.dumps({"messages": [*chat[:1], {"role": "assistant", "content": f"It is {i}."}]}) + "\n" for i in range(30))
    dataset = started(alice, lines.encode(), "chat.jsonl")
    assert (dataset.state, dataset.task) == ("ready", "generation")
    body = signed_in(alice).get(f"/datasets/{dataset.pk}/versions/1/rows/0/").content.decode()
    assert "user: Is it &lt;b&gt;open&lt;/b&gt;?" in body and "assistant: It is " in body


def test_while_a_file_is_read_nobody_knows_its_task_and_the_pages_stand(signed_in, alice):
    dataset = Dataset.start(actor_of(alice), "", "", {"file": take(alice, PAIRS, "pairs.csv")})
    client = signed_in(alice)
    assert client.get(f"/datasets/{dataset.pk}/").status_code == 200
    assert client.get("/datasets/").status_code == 200
    assert client.get(f"/api/v1/datasets/{dataset.pk}").json()["task"] == ""
    failed = dropped(alice, b"")
    labour()
    assert client.get(f"/datasets/{failed.pk}/").status_code == 200
