"""The API's door: who comes in, what is refused, how errors look, how lists are paged."""

import json

import pytest
from django.core.exceptions import RequestDataTooBig
from django.http import Http404
from django.test import Client
from ninja import NinjaAPI

from webapp.api.app import api
from webapp.api.door import Body, Problem, guard, page
from webapp.datasets.models import Dataset
from webapp.people.access import Denied
from webapp.people.models import ApiToken, Team
from worker.nlp import TASKS
from worker.spec import SpecError


def bearer(user, *scopes, **limits):
    return {"Authorization": f"Bearer {ApiToken.make(user, 'test', list(scopes) or ['read', 'write'], **limits)[1]}"}


def problem(answer, status):
    assert answer.status_code == status, answer.content
    assert answer["Content-Type"] == "application/problem+json"
    found = json.loads(answer.content)
    assert found["status"] == status and found["title"] and found["type"] == "about:blank"
    return found


def test_me_says_who_i_am_and_in_which_teams(bob, team, client):
    me = client.get("/api/v1/me", headers=bearer(bob)).json()
    assert me == {"username": "bob", "teams": [{"id": str(team.pk), "name": "alice's team", "role": "editor"}]}


def test_a_session_reads_the_api_too(bob, signed_in):
    assert signed_in(bob).get("/api/v1/me").json()["username"] == "bob"


def test_a_token_for_one_team_names_no_other(alice, team, client):
    other = Team.objects.found("Second", alice)
    me = client.get("/api/v1/me", headers=bearer(alice, team=other)).json()
    assert [each["name"] for each in me["teams"]] == ["Second"]


def test_nobody_comes_in_without_a_key(db, client):
    answer = client.get("/api/v1/me")
    assert "Bearer tb_" in problem(answer, 401)["detail"]
    assert answer["WWW-Authenticate"].startswith("Bearer")


@pytest.mark.parametrize("header", ["Bearer tb_wrong", "Bearer", "Basic YWxpY2U6eA==", "Bearer " + "tb_" + "A" * 49, "nonsense"])
def test_a_wrong_key_is_refused_even_beside_a_good_session(header, alice, signed_in):
    problem(signed_in(alice).get("/api/v1/me", headers={"Authorization": header}), 401)


def test_a_good_token_counts_and_the_cookie_beside_it_does_not(alice, bob, signed_in):
    assert signed_in(alice).get("/api/v1/me", headers=bearer(bob)).json()["username"] == "bob"


def test_the_tasks_are_as_their_modules_say(alice, client):
    items = client.get("/api/v1/tasks", headers=bearer(alice)).json()["items"]
    assert [each["slug"] for each in items] == list(TASKS)
    first = items[0]
    assert {"title", "about", "roles", "inputs", "settings", "methods", "metrics", "primary_metric"} <= set(first)
    assert {role["name"] for role in first["roles"]} >= {"text", "label"}


def test_an_unknown_address_and_a_wrong_verb_are_problems(alice, client):
    problem(client.get("/api/v1/nothing", headers=bearer(alice)), 404)
    answer = client.delete("/api/v1/me", headers=bearer(alice))
    assert "GET" in problem(answer, 405)["detail"] and answer["Allow"] == "GET"


def test_openapi_describes_every_operation_and_its_two_ways_in(client):
    schema = client.get("/api/v1/openapi.json").json()
    assert schema["info"]["title"] == "Tunebench" and "/api/v1/me" in schema["paths"]
    assert set(schema["components"]["securitySchemes"]) == {"Token", "Session"}
    for path, verbs in schema["paths"].items():
        for verb, operation in verbs.items():
            assert operation.get("summary"), f"{verb} {path} has no summary"


def test_the_page_of_the_api_names_every_operation_and_field(alice, signed_in):
    page = signed_in(alice).get("/api/v1/docs").content.decode()
    for path, verbs in api.get_openapi_schema()["paths"].items():
        assert path in page
        for operation in verbs.values():
            assert all(f"<code>{each['name']}</code>" in page for each in operation.get("parameters", []))


# --- errors, seen through an API of its own that is guarded like ours --------------------------------------------------


class Order(Body):
    size: int
    note: str = ""


small = NinjaAPI(urls_namespace="small")
guard(small)


@small.post("/orders")
def order(request, payload: Order):
    return {"size": payload.size}


@small.get("/fails/{kind}")
def fails(request, kind: str):
    raise {
        "denied": Denied("An owner of the team can change your role."),
        "gone": Http404(),
        "spec": SpecError("learning_rate", "Learning rate must lie between 1e-07 and 1."),
        "large": RequestDataTooBig(),
        "busy": Problem(409, "Conflict", "It runs already.", [{"field": "run", "message": "runs"}]),
        "slow": Problem(429, "Too Many Requests", "Wait a second.", Retry_After="1"),
        "bug": RuntimeError("password=hunter2"),
    }[kind]


urlpatterns = []


@pytest.fixture
def small_client(settings):
    from django.urls import path

    urlpatterns[:] = [path("api/small/", small.urls)]
    settings.ROOT_URLCONF = __name__
    return Client(raise_request_exception=False)


def test_a_field_that_we_do_not_know_is_an_error_that_names_it(small_client):
    answer = small_client.post("/api/small/orders", {"size": 3, "team_id": "x"}, content_type="application/json")
    assert [each["field"] for each in problem(answer, 422)["errors"]] == ["team_id"]


def test_a_wrong_value_is_an_error_that_names_the_field(small_client):
    answer = small_client.post("/api/small/orders", {"size": "many"}, content_type="application/json")
    assert problem(answer, 422)["errors"][0]["field"] == "size"


def test_what_is_not_json_is_a_problem(small_client):
    answer = small_client.post("/api/small/orders", "{", content_type="application/json")
    assert problem(answer, 400)


@pytest.mark.parametrize(("kind", "status"), [("denied", 403), ("gone", 404), ("spec", 422), ("large", 413), ("busy", 409), ("slow", 429)])
def test_each_kind_of_refusal_has_its_status(kind, status, small_client):
    answer = small_client.get(f"/api/small/fails/{kind}")
    found = problem(answer, status)
    assert found["detail"]
    if kind == "spec":
        assert found["errors"] == [{"field": "learning_rate", "message": "Learning rate must lie between 1e-07 and 1."}]
    if kind == "busy":
        assert found["errors"] == [{"field": "run", "message": "runs"}]
    if kind == "slow":
        assert answer["Retry-After"] == "1"


def test_a_fault_of_ours_shows_nothing_of_the_inside(small_client, caplog):
    answer = small_client.get("/api/small/fails/bug")
    found = problem(answer, 500)
    assert "hunter2" not in str(found) and "Traceback" not in str(found)
    assert "hunter2" in caplog.text  # the log keeps it


# --- pages of a list ---------------------------------------------------------------------------------------------------


def test_a_list_is_read_page_by_page_newest_first_without_gap_or_double(alice, team):
    made = [Dataset.objects.create(team=team, created_by=alice, name=str(n)) for n in range(7)]
    seen, after = [], None
    while True:
        part = page(Dataset.objects.all(), after, 3, lambda each: each.pk)
        seen += part["items"]
        after = part["next"]
        if after is None:
            break
    assert seen == sorted([each.pk for each in made], reverse=True)


def test_a_page_that_ends_the_list_has_no_next(alice, team):
    for n in range(3):
        Dataset.objects.create(team=team, created_by=alice, name=str(n))
    assert page(Dataset.objects.all(), None, 3, str)["next"] is None
    assert len(page(Dataset.objects.all(), None, 10**9, str)["items"]) == 3
    assert len(page(Dataset.objects.all(), None, -5, str)["items"]) == 1


def test_a_cursor_that_is_none_is_refused(db):
    with pytest.raises(Problem) as refused:
        page(Dataset.objects.all(), "' OR 1=1", 3, str)
    assert refused.value.status == 422 and refused.value.errors[0]["field"] == "after"


def test_every_body_of_the_api_forbids_unknown_fields():
    schema = api.get_openapi_schema()
    for path, verbs in schema["paths"].items():
        for verb, operation in verbs.items():
            for kind, content in operation.get("requestBody", {}).get("content", {}).items():
                if kind != "application/json":
                    continue
                name = content["schema"].get("$ref", "").rpartition("/")[2]
                body = schema["components"]["schemas"][name] if name else content["schema"]
                assert body.get("additionalProperties") is False, f"{verb} {path}: build its body on webapp.api.door.Body"
