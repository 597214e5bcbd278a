"""Datasets by API: files, mappings, rows, and errors that name the field."""

import json

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile
from django.test import Client

from tests.datasets.cast import dropped, labour, reviews, take, version_of
from webapp.datasets.models import Dataset, Upload
from webapp.people.access import actor_of
from webapp.people.models import Team
from webapp.work.models import WorkItem


@pytest.fixture
def api(signed_in, bob):
    return signed_in(bob)


def file(content, name="reviews.csv"):
    return SimpleUploadedFile(name, content)


def test_a_file_becomes_a_dataset_and_then_a_version(api):
    answer = api.post("/api/v1/datasets", {"file": file(reviews()), "name": "My reviews"})
    assert (answer.status_code, answer.json()["state"]) == (202, "importing")
    labour()
    got = api.get(f"/api/v1/datasets/{answer.json()['id']}").json()
    assert {"id", "name", "task", "state", "rows", "problems", "reason", "columns", "mapping", "version", "versions"} <= got.keys()
    assert (got["name"], got["state"], got["rows"], got["problems"]) == ("My reviews", "ready", 60, [])
    assert got["columns"] == ["text", "label"]
    assert got["version"] == got["versions"][0]["id"]
    version = api.get(f"/api/v1/versions/{got['version']}").json()
    assert (version["rows"], version["hash"]) == (60, got["versions"][0]["hash"])


def test_a_mapping_may_come_with_the_file(api):
    content = reviews(header="Review,Stars")
    answer = api.post("/api/v1/datasets", {"file": file(content), "mapping": json.dumps({"text": "Review", "label": "Stars"})})
    labour()
    assert api.get(f"/api/v1/datasets/{answer.json()['id']}").json()["state"] == "ready"


def test_rejected_rows_need_a_look_and_a_confirmation(api):
    made = api.post("/api/v1/datasets", {"file": file(reviews() + b",positive\n")}).json()
    labour()
    got = api.get(f"/api/v1/datasets/{made['id']}").json()
    assert got["state"] == "needs_mapping"
    assert got["problems"]
    assert set(got["problems"][0]) == {"row", "column", "message"}
    confirm = {"mapping": got["mapping"]}
    answer = api.post(f"/api/v1/datasets/{made['id']}/versions", confirm, content_type="application/json")
    assert answer.status_code == 202
    labour()
    refused = api.get(f"/api/v1/datasets/{made['id']}").json()
    assert refused["state"] == "needs_mapping" and "1 row" in refused["reason"]
    api.post(f"/api/v1/datasets/{made['id']}/versions", confirm | {"accept_rejected": True}, content_type="application/json")
    labour()
    done = api.get(f"/api/v1/datasets/{made['id']}").json()
    assert (done["state"], done["rows"]) == ("ready", 60)
    assert done["problems"][0]["row"] == 62


@pytest.mark.parametrize(
    ("content", "fields", "words"),
    [
        (b"", {}, "empty (0 bytes)"),
        (b"text,label\n", {}, "no rows"),
        (b"\x00\x01\x02\xff" * 500, {}, "reviews.csv"),
        (reviews(), {"mapping": json.dumps({"text": "Review", "label": "label"})}, "no column called Review"),
    ],
)
def test_what_is_wrong_with_the_whole_is_among_the_problems_once(api, content, fields, words):
    made = api.post("/api/v1/datasets", {"file": file(content)} | fields).json()
    labour()
    problems = api.get(f"/api/v1/datasets/{made['id']}").json()["problems"]
    assert [problem["row"] for problem in problems if words in problem["message"]] == [None]


def test_the_task_is_told_by_the_file_or_given_by_any_of_its_names(api):
    pairs = b"en,zh\n" + b"".join(f"I saw the {i}th river.,我看见了{i}号河。\n".encode() for i in range(40))
    for fields in ({}, {"task": "translation"}, {"task": "Machine-Translation"}):
        made = api.post("/api/v1/datasets", {"file": file(pairs, "pairs.csv")} | fields).json()
        labour()
        got = api.get(f"/api/v1/datasets/{made['id']}").json()
        assert (got["task"], got["state"], got["mapping"]) == ("translation", "ready", {"source": "en", "target": "zh"})
    row = api.get(f"/api/v1/versions/{got['version']}/rows?limit=1").json()["items"][0]
    assert set(row) == {"id", "row", "split", "source", "target", "other"}


def test_another_task_reads_the_file_again_and_then_takes_its_own_mapping(api):
    pairs = b"en,zh\n" + b"".join(f"I saw the {i}th river.,我看见了{i}号河。\n".encode() for i in range(40))
    made = api.post("/api/v1/datasets", {"file": file(pairs, "pairs.csv"), "task": "classification"}).json()
    labour()
    got = api.get(f"/api/v1/datasets/{made['id']}").json()
    assert (got["state"], got["fits_better"]) == ("needs_mapping", "translation")
    address = f"/api/v1/datasets/{made['id']}/versions"
    wrong = {"task": "translation", "mapping": {"text": "en"}}
    assert api.post(address, wrong, content_type="application/json").status_code == 202
    labour()
    got = api.get(f"/api/v1/datasets/{made['id']}").json()
    assert (got["task"], got["state"]) == ("translation", "needs_mapping") and "text" in got["reason"]
    right = {"mapping": {"source": "zh", "target": "en"}}
    assert api.post(address, right, content_type="application/json").status_code == 202
    labour()
    assert api.get(f"/api/v1/datasets/{made['id']}").json()["state"] == "ready"


def test_a_row_that_the_task_refuses_is_named_with_its_column(api):
    asked = b"context,question,answer\n" + b"".join(
        b"The mill was built in 18%02d by two people.,When %d?,18%02d\n" % (i, i, i) for i in range(30)
    )
    made = api.post("/api/v1/datasets", {"file": file(asked + b"The mill is old.,Who?,a giant\n", "qa.csv")}).json()
    labour()
    got = api.get(f"/api/v1/datasets/{made['id']}").json()
    assert (got["task"], got["state"]) == ("question_answering", "needs_mapping")
    assert got["problems"][0] == {
        "row": 32,
        "column": "answer",
        "message": "Row 32: The answer does not appear word for word in the passage.",
    }


def test_texts_that_no_database_keeps_are_refused_by_field(api):
    made = api.post("/api/v1/datasets", {"file": file(reviews())}).json()
    for body in ('{"name": "a\\u0000b"}', '{"name": "\\ud800"}'):
        answer = api.patch(f"/api/v1/datasets/{made['id']}", body, content_type="application/json")
        assert (answer.status_code, answer.json()["errors"][0]["field"]) == (422, "name")
    body = '{"labels": {"positive": "\\u0000"}}'
    answer = api.post(f"/api/v1/datasets/{made['id']}/versions", body, content_type="application/json")
    assert (answer.status_code, answer.json()["errors"][0]["field"]) == (422, "labels")


@pytest.mark.parametrize("kind", ["multipart/form-data", "multipart/form-data; boundary=\u00e4"])
def test_a_form_that_cannot_be_taken_apart_is_the_senders_fault(api, kind):
    assert api.post("/api/v1/datasets", b"garbage", content_type=kind).status_code == 400


def test_two_files_of_one_name_are_refused_rather_than_one_lost(api):
    answer = api.post("/api/v1/datasets", {"file": [file(reviews(), "a.csv"), file(reviews(), "b.csv")]})
    assert (answer.status_code, answer.json()["errors"][0]["field"]) == (422, "file")
    assert not Dataset.objects.exists()


def test_with_several_files_a_problem_names_its_file(api):
    made = api.post("/api/v1/datasets", {"train": file(reviews(), "a.csv"), "test": file(reviews(30) + b",positive\n", "b.csv")}).json()
    labour()
    assert api.get(f"/api/v1/datasets/{made['id']}").json()["problems"][0]["message"].startswith("b.csv: Row 32: ")


def test_a_second_file_is_the_next_version(api):
    made = api.post("/api/v1/datasets", {"file": file(reviews())}).json()
    labour()
    assert api.post(f"/api/v1/datasets/{made['id']}/versions", {"file": file(reviews(90))}).status_code == 202
    labour()
    got = api.get(f"/api/v1/datasets/{made['id']}").json()
    assert [version["rows"] for version in got["versions"]] == [90, 60]


def test_files_for_a_dataset_of_another_of_ones_teams_are_taken_in_that_team(signed_in, team, alice, vera):
    other = Team.objects.found("Vera's own", vera)
    elsewhere = Dataset.objects.create(team=other, created_by=vera, name="elsewhere", state="ready")
    by_tus = Upload.begin(actor_of(vera, other.pk), "by-tus.csv", 0)
    client = signed_in(vera)  # works in Alice's team, where she only looks
    address = f"/api/v1/datasets/{elsewhere.pk}/versions"
    assert client.post(address, {"train": file(reviews()), "uploads": json.dumps({"test": str(by_tus.pk)})}).status_code == 202
    assert set(Upload.objects.values_list("team", "dataset")) == {(other.pk, elsewhere.pk)}
    hers = Dataset.objects.create(team=team, created_by=alice, name="Alice's", state="ready")
    client.post("/teams/choice/", {"team": str(other.pk)})
    assert client.post(f"/api/v1/datasets/{hers.pk}/versions", {"file": file(reviews())}).status_code == 403
    assert Upload.objects.count() == 2


def test_an_upload_goes_to_the_team_of_the_dataset_that_takes_it(signed_in, alice):
    upload = take(alice, reviews())
    second = Team.objects.found("Second", alice)
    elsewhere = Dataset.objects.create(team=second, created_by=alice, name="elsewhere", state="ready")
    body = {"uploads": {"file": str(upload.pk)}}
    answer = signed_in(alice).post(f"/api/v1/datasets/{elsewhere.pk}/versions", body, content_type="application/json")
    assert answer.status_code == 202
    assert Upload.objects.get().team == second


def test_uploads_by_tus_are_named_by_id(api, bob):
    upload = take(bob, reviews())
    answer = api.post("/api/v1/datasets", {"uploads": {"file": str(upload.pk)}, "name": "by tus"}, content_type="application/json")
    assert answer.status_code == 202
    assert Upload.objects.get().dataset_id == Dataset.objects.get().pk


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({}, "file"),
        ({"file": "F", "mapping": "not json"}, "mapping"),
        ({"file": "F", "mapping": '["text"]'}, "mapping"),
        ({"file": "F", "task": "cooking"}, "task"),
        ({"file": "F", "colour": "red"}, "colour"),
        ({"validation": "F"}, "train"),
        ({"other": "F"}, "other"),
        ({"file": "F", "header_row": "-3"}, "header_row"),
    ],
)
def test_what_is_wrong_is_named(api, fields, field):
    fields = {name: file(reviews()) if value == "F" else value for name, value in fields.items()}
    answer = api.post("/api/v1/datasets", fields)
    assert answer.status_code == 422, answer.content
    assert answer["Content-Type"].startswith("application/problem+json")
    assert [error["field"] for error in answer.json()["errors"]] == [field]
    assert not Dataset.objects.exists()


def test_a_form_above_its_limit_points_to_tus(api, settings):
    settings.FORM_LIMIT = 100
    answer = api.post("/api/v1/datasets", {"file": file(reviews())})
    assert answer.status_code == 413 and "tus" in answer.json()["detail"]


def test_confirming_too_early_is_a_conflict(api, bob):
    dataset = dropped(bob, reviews())
    answer = api.post(f"/api/v1/datasets/{dataset.pk}/versions", {"mapping": {"text": "a"}}, content_type="application/json")
    assert answer.status_code == 409


def test_an_unknown_column_is_named_when_confirming(api, bob):
    dataset = dropped(bob, reviews() + b",positive\n")
    labour()
    wrong = {"mapping": {"text": "text", "label": "Stars"}}
    answer = api.post(f"/api/v1/datasets/{dataset.pk}/versions", wrong, content_type="application/json")
    assert answer.status_code == 422 and "Stars" in answer.json()["detail"]


def test_rows_come_by_keyset_with_filters(api, alice):
    version = version_of(alice)
    found, after = [], ""
    while after is not None:
        page = api.get(f"/api/v1/versions/{version.pk}/rows?limit=77&after={after}").json()
        found += page["items"]
        after = page["next"]
    assert [row["id"] for row in found] == list(range(250))
    assert set(found[0]) == {"id", "row", "split", "text", "label", "other"}
    assert found[0]["other"] == {"product": "battery"}
    neutral = api.get(f"/api/v1/versions/{version.pk}/rows?label=neutral&split=test&q=GARDEN").json()["items"]
    assert all(
        row["label"] == "neutral" and row["split"] == "test" and "garden" in row["text"] + row["other"]["product"] for row in neutral
    )
    assert api.get(f"/api/v1/versions/{version.pk}/rows?after=x").status_code == 422


def test_lists_are_paged_newest_first(api, alice):
    made = [str(version_of(alice, 10).dataset_id) for _ in range(5)]
    first = api.get("/api/v1/datasets?limit=3").json()
    rest = api.get(f"/api/v1/datasets?limit=3&after={first['next']}").json()
    assert [item["id"] for item in first["items"] + rest["items"]] == made[::-1]
    assert rest["next"] is None


def test_a_long_list_asks_no_more_of_the_database_than_a_short_one(api, alice, django_assert_max_num_queries, django_assert_num_queries):
    def add():
        dropped(alice, reviews() + b",positive\n,\n")  # asks a person
        dropped(alice, b"")  # fails
        dropped(alice, reviews())
        labour()
        version_of(alice, 10)
        dropped(alice, reviews())  # is still waiting

    add()
    with django_assert_max_num_queries(12) as short:
        first = api.get("/api/v1/datasets").json()["items"]
    for _ in range(3):
        add()
    with django_assert_num_queries(len(short)):
        items = api.get("/api/v1/datasets?limit=200").json()["items"]
    assert len(items) == 4 * len(first) == 20
    for item in items:
        alone = api.get(f"/api/v1/datasets/{item['id']}").json()
        assert item == alone | {"problems": alone["problems"][:20]}
    asked = next(item for item in items if item["state"] == "needs_mapping")
    assert (asked["rows"], asked["rejected"], asked["blank"]) == (62, 0, 1) and asked["mapping"] == {"text": "text", "label": "label"}


def test_a_reading_that_was_given_up_says_so_in_the_list_too(api, alice):
    dataset = dropped(alice, reviews())
    WorkItem.objects.filter(subject=dataset.latest_import.pk).update(state=WorkItem.State.FAILED, reason="It crashed.")
    item = api.get("/api/v1/datasets").json()["items"][0]
    assert (item["state"], item["reason"]) == ("failed", "It crashed.")


def test_renaming_and_deleting(api, alice):
    pk = version_of(alice, 10).dataset_id
    assert api.patch(f"/api/v1/datasets/{pk}", {"name": "New"}, content_type="application/json").json()["name"] == "New"
    assert api.patch(f"/api/v1/datasets/{pk}", {"name": " "}, content_type="application/json").status_code == 422
    assert api.delete(f"/api/v1/datasets/{pk}").status_code == 204
    assert api.get(f"/api/v1/datasets/{pk}").status_code == 404


def test_charlie_gets_404_and_vera_403_and_nobody_401(client, alice, vera, charlie):
    version = version_of(alice, 10)
    dataset = f"/api/v1/datasets/{version.dataset_id}"
    calls = [("get", dataset), ("patch", dataset), ("delete", dataset), ("post", f"{dataset}/versions")]
    calls += [("get", f"/api/v1/versions/{version.pk}"), ("get", f"/api/v1/versions/{version.pk}/rows")]
    for user, read, write in [(charlie, 404, 404), (vera, 200, 403), (None, 401, 401)]:
        client.logout()
        if user:
            client.force_login(user)
        for method, url in calls:
            body = {"data": {"name": "x"}, "content_type": "application/json"} if method == "patch" else {}
            assert getattr(client, method)(url, **body).status_code == (read if method == "get" else write), (user, method, url)


def test_another_site_cannot_post_in_bobs_name(bob):
    client = Client(enforce_csrf_checks=True)
    client.force_login(bob)
    assert client.post("/api/v1/datasets", {"file": file(reviews())}).status_code == 403
