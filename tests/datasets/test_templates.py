"""Several columns as one text, on the page and by the API: proposed, seen, changed, refused in words."""

import json

import polars as pl
import pytest

from tests.datasets.cast import labour, take
from tests.datasets.test_reading_columns import alpaca, as_text, chat, said
from webapp.datasets.models import Dataset
from webapp.people.access import actor_of
from worker.spec import SpecError


def lines(record, rows=60):
    return "".join(json.dumps(record(i)) + "\n" for i in range(rows)).encode()


def letter(i):
    return {"title": f"About case number {i}", "body": f"{said(i)} {said(i + 1)} {said(i + 2)}", "label": "ab"[i % 2]}


@pytest.fixture
def started(alice):
    def started(record, task="", **options):
        dataset = Dataset.start(actor_of(alice), "", task, {"file": take(alice, lines(record), "rows.jsonl")}, options)
        labour()
        dataset.refresh_from_db()
        return dataset

    return started


def rows_of(dataset):
    return pl.read_parquet(dataset.latest_version.path).sort("_row")


def test_alpaca_is_ready_by_itself_and_its_version_says_how_the_prompt_was_made(started, signed_in, alice):
    dataset = started(alpaca)
    assert (dataset.state, dataset.latest_version.mapping["prompt"]) == ("ready", "{instruction}\n\n{input}")
    client = signed_in(alice)
    assert "Turn the sentence into a question." in client.get(f"/datasets/{dataset.pk}/").content.decode()
    body = client.get(f"/datasets/{dataset.pk}/mapping/").content.decode()
    assert "{instruction}\n\n{input}</textarea>" in body and "part of the template below" in body
    assert f"Turn the sentence into a question.\n\n{said(0)}</pre>" in body


def test_a_proposed_template_is_seen_and_confirmed(started, signed_in, alice):
    dataset = started(letter)
    assert dataset.state == "needs_mapping" and "“title”" in dataset.reason
    client = signed_in(alice)
    body = client.get(f"/datasets/{dataset.pk}/").content.decode()
    assert "{title}\n\n{body}</textarea>" in body and f"About case number 0\n\n{said(0)}" in body
    client.post(f"/datasets/{dataset.pk}/versions/", {"role-2": "label", "template-text": "{title}\r\n\r\n{body}"})
    labour()
    dataset.refresh_from_db()
    assert dataset.state == "ready" and rows_of(dataset)["text"][0] == f"About case number 0\n\n{said(0)} {said(1)} {said(2)}"


def test_a_column_chosen_instead_ends_the_template(started, signed_in, alice):
    dataset = started(letter)
    answers = {"role-1": "text", "role-2": "label", "template-text": "{title}\r\n\r\n{body}", "template-pair": ""}
    signed_in(alice).post(f"/datasets/{dataset.pk}/versions/", answers)
    labour()
    dataset.refresh_from_db()
    assert (dataset.state, dataset.latest_version.mapping) == ("ready", {"text": "body", "label": "label"})


def test_a_template_written_by_hand_goes_before_the_column(started, signed_in, alice):
    dataset = started(letter, mapping={"text": "body", "label": "label"})
    assert dataset.state == "ready"
    answers = {"role-1": "text", "role-2": "label", "template-text": "Subject: {title}\r\n{body}"}
    signed_in(alice).post(f"/datasets/{dataset.pk}/versions/", answers)
    labour()
    assert dataset.versions.count() == 2
    assert rows_of(dataset)["text"][0].startswith(f"Subject: About case number 0\n{said(0)}")


@pytest.mark.parametrize(
    ("template", "words"), [("{title} {nothing}", "names {nothing}"), ("{body} {body}", "twice"), ("{label}", "two roles")]
)
def test_a_template_that_cannot_work_is_told_on_the_page_and_by_the_model(started, signed_in, alice, template, words):
    dataset = started(letter)
    page = signed_in(alice).post(f"/datasets/{dataset.pk}/versions/", {"role-2": "label", "template-text": template})
    assert page.status_code == 422 and words in page.content.decode()
    with pytest.raises(SpecError, match=words):
        dataset.latest_import.confirm(actor_of(alice), {"text": template, "label": "label"})


def test_a_template_that_came_with_the_file_is_obeyed_and_a_wrong_one_asks(started):
    dataset = started(letter, mapping={"text": "{body}\n({title})", "label": "label"})
    assert dataset.state == "ready" and rows_of(dataset)["text"][0].endswith("\n(About case number 0)")
    dataset = started(letter, mapping={"text": "{subject}\n\n{body}", "label": "label"})
    assert dataset.state == "needs_mapping" and "{subject}" in dataset.reason and "{title}, {body}, {label}" in dataset.reason


def test_preference_pairs_become_a_version_that_no_run_is_offered_for(started, signed_in, alice):
    dataset = started(as_text)
    assert (dataset.task, dataset.state, dataset.latest_version.rows) == ("preferences", "ready", 60)
    client = signed_in(alice)
    body = client.get(f"/datasets/{dataset.pk}/").content.decode()
    assert "Preference pairs" in body and "Better answer" in body and "/runs/new/?version" not in body
    assert client.get(f"/datasets/{dataset.pk}/mapping/").status_code == 200
    assert client.get(f"/datasets/{dataset.pk}/versions/1/rows/0/").status_code == 200
    assert "Preference pairs" in client.get("/datasets/").content.decode()
    version = str(dataset.latest_version.pk)
    assert version not in client.get(f"/runs/new/?version={version}").content.decode()
    row = client.get(f"/api/v1/versions/{version}/rows").json()["items"][0]
    assert {"prompt", "chosen", "rejected"} <= row.keys()


def test_preference_pairs_for_another_task_wait_for_a_person(started):
    dataset = started(as_text, "generation")
    assert dataset.state == "needs_mapping" and "a better and a worse answer" in dataset.reason


def test_a_chat_is_shown_as_people_read_it(started, signed_in, alice):
    dataset = started(lambda i: {"conversations": [{"from": m["role"], "value": m["content"]} for m in chat(i)]})
    body = signed_in(alice).get(f"/datasets/{dataset.pk}/mapping/").content.decode()
    assert f"user: Tell me about {said(0)}\nassistant: Gladly, number 0." in body
