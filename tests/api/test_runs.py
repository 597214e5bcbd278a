"""Runs over the API: what a program sees and may do, and what it is told when it may not."""

import csv
import io
import json
from concurrent.futures import ThreadPoolExecutor

import pytest
from django.db import connection
from django.test import Client

from tests.runs.conftest import base, submit, version, worker  # noqa: F401
from tests.runs.test_engine_cursor import point
from webapp.catalog.models import ModelVersion
from webapp.people.models import ApiToken
from webapp.runs.models import Run

pytestmark = pytest.mark.django_db


def caller(user, scopes=("read", "write")):
    """call(verb, path, body, **headers) -> (status, JSON or bytes), as a program with a token of `user`."""
    _token, secret = ApiToken.make(user, "test", list(scopes))

    def call(verb, path, body=None, **headers):
        given = {"Authorization": f"Bearer {secret}", **{name.replace("_", "-"): value for name, value in headers.items()}}
        answer = Client().generic(verb, f"/api/v1{path}", json.dumps(body) if body is not None else "", "application/json", headers=given)
        is_json = "json" in answer.headers.get("Content-Type", "")
        return answer.status_code, answer.json() if is_json and answer.content else answer.content

    return call


@pytest.fixture
def as_alice(alice):
    return caller(alice)


@pytest.fixture
def wanted(version, base):  # noqa: F811
    return {"version": str(version.pk), "base_model": str(base.pk), "method": "full", "settings": {"epochs": 2}}


def test_a_run_starts_and_tells_what_it_is(as_alice, wanted, version):  # noqa: F811
    status, run = as_alice("POST", "/runs", wanted)
    assert (status, run["state"], run["position"], run["settings"]["epochs"]) == (201, "queued", 1, 2)
    status, shown = as_alice("GET", f"/runs/{run['id']}")
    assert status == 200
    assert {"state", "reason", "position", "step", "steps", "eta_s", "metrics", "baselines", "model"} <= set(shown)
    assert shown["baselines"] == version.baselines
    status, listed = as_alice("GET", "/runs")
    assert [item["id"] for item in listed["items"]] == [run["id"]]


def test_without_a_base_model_the_starter_is_taken(as_alice, wanted, base):  # noqa: F811
    del wanted["base_model"]
    first = ModelVersion.objects.trainable("classification").filter(kind="starter").best_first("classification").first()
    assert first.task == ""
    assert as_alice("POST", "/runs", wanted)[1]["base_model"]["id"] == str(first.pk)


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"settings": {"epochs": 10**9}}, "epochs"),
        ({"settings": {"learning_rate": "fast"}}, "learning_rate"),
        ({"settings": {"sparkle": 1}}, "sparkle"),
        ({"method": "magic"}, "method"),
        ({"task": "translation"}, "task"),
        ({"team_id": 3}, "team_id"),
        ({"version": "not an id"}, "version"),
    ],
)
def test_a_field_that_does_not_fit_is_named(as_alice, wanted, change, field):
    status, problem = as_alice("POST", "/runs", wanted | change)
    assert status == 422
    assert field in problem["errors"][0]["field"]
    assert not Run.objects.exists()


def test_the_same_key_gives_the_same_run_and_another_request_a_conflict(as_alice, wanted):
    first = as_alice("POST", "/runs", wanted, Idempotency_Key="k1")
    again = as_alice("POST", "/runs", wanted, Idempotency_Key="k1")
    assert first == again
    assert as_alice("POST", "/runs", wanted | {"method": "lora", "settings": {}}, Idempotency_Key="k1")[0] == 409
    assert Run.objects.count() == 1


@pytest.mark.django_db(transaction=True)
def test_fifty_identical_posts_at_once_start_one_run(alice, wanted):
    call = caller(alice)

    def post(_):
        try:
            return call("POST", "/runs", wanted, Idempotency_Key="once")
        finally:
            connection.close()

    with ThreadPoolExecutor(10) as pool:
        answers = list(pool.map(post, range(50)))
    assert {status for status, _ in answers} == {201}
    assert len({run["id"] for _, run in answers}) == 1
    assert Run.objects.count() == 1


def test_the_curve_comes_by_cursor(as_alice, submit, worker):  # noqa: F811
    submit()
    attempt = Run.claim(worker).attempts.get()
    attempt.ready(10, 0)
    evaluation = {**point(2), "values": {"eval_loss": 0.5}}  # comes after the step itself
    attempt.record([point(1), point(2), evaluation], [{"at": "now", "level": "info", "text": "begun"}])
    path = f"/runs/{attempt.run_id}"
    _, first = as_alice("GET", f"{path}/points")
    assert ([p["step"] for p in first["points"]], first["next"], first["cut"]) == ([1, 2], "1.1", None)
    assert as_alice("GET", f"{path}/points?after=1.1")[1]["points"] == []
    attempt.record([point(3)], [])
    _, more = as_alice("GET", f"{path}/points?after=1.1")
    assert ([p["step"] for p in more["points"]], more["next"]) == ([3], "1.2")
    rows = list(csv.DictReader(io.StringIO(as_alice("GET", f"{path}/points.csv")[1].decode())))
    assert [row["step"] for row in rows] == ["1", "2", "3"]
    assert rows[1]["eval_loss"] == "0.5" and rows[0]["eval_loss"] == ""
    assert as_alice("GET", f"{path}/log")[1]["items"] == [{"at": "now", "level": "info", "text": "begun"}]


def test_cancelling_pausing_resuming_and_deleting(as_alice, submit):  # noqa: F811
    path = f"/runs/{submit().pk}"
    assert as_alice("POST", f"{path}/pause")[1]["state"] == "paused"
    assert as_alice("POST", f"{path}/resume")[1]["state"] == "queued"
    assert as_alice("DELETE", path)[0] == 409
    assert as_alice("POST", f"{path}/finish")[0] == 409  # nothing was learned yet
    assert as_alice("POST", f"{path}/cancellation")[1]["state"] == "cancelled"
    assert as_alice("POST", f"{path}/cancellation")[0] == 200
    assert as_alice("POST", f"{path}/resume")[0] == 409
    assert as_alice("PATCH", path, {"name": "Second try"})[1]["name"] == "Second try"
    assert as_alice("PATCH", path, {"name": "  "})[0] == 422
    assert as_alice("DELETE", path)[0] == 204
    assert as_alice("GET", path)[0] == 404
    assert as_alice("POST", f"{path}/restoration")[0] == 200
    assert as_alice("GET", path)[0] == 200


READS = ["", "/points", "/points.csv", "/log"]
WRITES = [("POST", "/cancellation"), ("POST", "/finish"), ("POST", "/pause"), ("POST", "/resume"), ("DELETE", ""), ("PATCH", "")]


def test_a_stranger_finds_nothing(submit, charlie):  # noqa: F811
    path, call = f"/runs/{submit().pk}", caller(charlie)
    assert {call("GET", path + end)[0] for end in READS} == {404}
    assert {call(verb, path + end, {"name": "x"} if verb == "PATCH" else None)[0] for verb, end in WRITES} == {404}
    assert call("GET", "/runs")[1]["items"] == []


def test_a_viewer_reads_and_changes_nothing(submit, vera, wanted):  # noqa: F811
    run = submit()
    path, call = f"/runs/{run.pk}", caller(vera)
    assert {call("GET", path + end)[0] for end in READS} == {200}
    assert {call(verb, path + end, {"name": "x"} if verb == "PATCH" else None)[0] for verb, end in WRITES} == {403}
    assert call("POST", "/runs", wanted)[0] == 403
    run.refresh_from_db()
    assert run.state == "queued"


def test_a_token_that_may_only_read_starts_nothing(alice, wanted):
    assert caller(alice, ["read"])("POST", "/runs", wanted)[0] == 403
