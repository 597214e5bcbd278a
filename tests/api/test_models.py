"""Models over the API: what clients count on, and every way in which a question can be refused."""

import json

import pytest

from tests.playground.conftest import actor, folders, listening, model, one_relay, relay  # noqa: F401  (fixtures)
from webapp.people.access import actor_of
from webapp.playground import line
from webapp.playground.models import Prediction
from webapp.work.models import WorkItem

GOOD = {"text": "it works well"}


@pytest.fixture
def api(signed_in):
    """A function that calls the API as somebody: api(user, verb, path, body)."""

    def call(user, verb, path, body=None, **headers):
        client = signed_in(user)
        more = {"data": json.dumps(body), "content_type": "application/json"} if body is not None else {}
        return getattr(client, verb)(f"/api/v1{path}", **more, headers=headers)

    return call


def ask(api, user, model, inputs=GOOD, headers=None, **more):  # noqa: F811
    return api(user, "post", f"/models/{model.pk}/predictions", {"inputs": inputs, **more}, **(headers or {}))


@pytest.mark.django_db(transaction=True)
def test_a_question_gets_its_answer_at_the_top_level(relay, api, vera, model):  # noqa: F811
    answer = ask(api, vera, model)
    content = answer.json()
    assert answer.status_code == 200, content
    assert set(content) == {"id", "label", "scores", "cut", "unknown", "latency_ms", "engine"}
    assert content["label"] == max(content["scores"], key=content["scores"].get)
    many = ask(api, vera, model, [GOOD, {"text": "never again"}]).json()
    assert len(many["answers"]) == 2 and many["answers"][0]["scores"] == pytest.approx(content["scores"], abs=1e-4)
    base = ask(api, vera, model, untuned=True).json()
    assert base["label"] in content["scores"]


@pytest.mark.filterwarnings("ignore:StreamingHttpResponse must consume")
@pytest.mark.django_db(transaction=True)
def test_the_stream_says_loading_and_then_the_answer(relay, api, vera, model):  # noqa: F811
    answer = ask(api, vera, model, headers={"accept": "text/event-stream"})
    text = b"".join(answer).decode()
    events = [block.split("\n")[0] for block in text.strip().split("\n\n")]
    assert answer["Content-Type"] == "text/event-stream" and events[-1] == "event: answer"
    assert json.loads(text.strip().split("data: ")[-1])["label"]


@pytest.mark.parametrize(
    ("inputs", "field", "sentence"),
    [({"text": ""}, "inputs.text", "empty"), ({"text": "x" * 20_001}, "inputs.text", "at most 20,000"), ([GOOD] * 65, "inputs", "64")],
)
def test_bad_inputs_are_named_with_their_limit(api, alice, model, listening, inputs, field, sentence):  # noqa: F811
    answer = ask(api, alice, model, inputs)
    assert answer.status_code == 422 and answer["Content-Type"] == "application/problem+json"
    assert answer.json()["errors"][0]["field"] == field and sentence in answer.json()["detail"]


def test_another_teams_model_does_not_exist(api, charlie, model, listening):  # noqa: F811
    for verb, path, body in (
        ("post", "/predictions", {"inputs": GOOD}),
        ("get", "", None),
        ("get", "/download", None),
        ("delete", "", None),
    ):
        assert api(charlie, verb, f"/models/{model.pk}{path}", body).status_code == 404
    assert str(model.pk) not in api(charlie, "get", "/models").content.decode()
    assert not Prediction.objects.exists()


def test_parameters_beyond_their_bounds_name_their_field(api, alice, model, listening):  # noqa: F811
    answer = ask(api, alice, model, parameters={"temperature": 7})
    assert answer.status_code == 422 and answer["Content-Type"] == "application/problem+json"
    assert answer.json()["errors"][0]["field"] == "parameters.temperature"


def test_control_characters_are_no_reason_to_refuse_a_text(api, alice, model, listening, monkeypatch):  # noqa: F811
    monkeypatch.setattr(Prediction, "answered", lambda self: at_once({"type": "failed", "reason": "nobody is there"}))
    assert ask(api, alice, model, {"text": "it works\0 well"}).status_code == 502
    assert Prediction.objects.get().inputs == {"text": "it works  well"}


async def at_once(value):
    return value


def test_a_megabyte_of_text_is_refused_at_the_door(api, alice, model, listening):  # noqa: F811
    assert ask(api, alice, model, {"text": "x" * 900_000}).status_code == 422
    assert ask(api, alice, model, {"text": "x" * 1_100_000}).status_code in (413, 422)


def test_the_team_may_read_a_prediction_and_only_its_asker_may_stop_it(api, alice, vera, charlie, model, listening):  # noqa: F811
    prediction = Prediction.ask(actor_of(alice), model, GOOD)
    path = f"/predictions/{prediction.pk}"
    assert api(charlie, "get", path).status_code == api(charlie, "delete", path).status_code == 404
    assert api(vera, "delete", path).status_code == 404
    content = api(vera, "get", path).json()
    assert content["inputs"] == GOOD and content["state"] == "queued" and content["asked_by"] == "alice" and content["task"] == model.task
    assert api(alice, "delete", path).status_code == 204
    content = api(vera, "get", path).json()
    assert content["state"] == "cancelled" and content["reason"] == "Stopped before the answer came."


def test_a_base_answers_nothing_yet_409(api, alice, model, listening):  # noqa: F811
    answer = ask(api, alice, model.parent)
    assert answer.status_code == 409 and "Fine-tune" in answer.json()["detail"]


def test_without_a_serve_worker_503_with_the_remedy(api, alice, model):  # noqa: F811
    answer = ask(api, alice, model)
    assert answer.status_code == 503 and "make up" in answer.json()["detail"]


def test_when_too_many_wait_429_says_when_to_come_back(api, alice, model, listening, settings):  # noqa: F811
    settings.ASK_LIMIT = 0
    answer = ask(api, alice, model)
    assert answer.status_code == 429 and int(answer["Retry-After"]) >= 1


@pytest.mark.django_db(transaction=True)
def test_what_nobody_answers_ends_with_504_and_a_closed_question(api, alice, model, listening, monkeypatch):  # noqa: F811
    real = Prediction.answered
    monkeypatch.setattr(Prediction, "answered", lambda self: real(self, 0.5))  # nobody waits a minute for a test
    monkeypatch.setattr(line, "join", lambda prediction: None)  # the message is lost
    answer = ask(api, alice, model)
    assert answer.status_code == 504 and "Ask again" in answer.json()["detail"]
    assert Prediction.objects.get().state == "failed"


def test_the_list_can_be_narrowed_to_what_can_be_trained_or_asked(api, alice, model):  # noqa: F811
    def names(query):
        return {item["name"] for item in api(alice, "get", f"/models?{query}").json()["items"]}

    assert names("") == {"reviews-1", "tiny base", "all-MiniLM-L6-v2"}
    assert names("trainable=true&task=classification") == names("")
    assert names("task=classification") == {"reviews-1"}
    page = api(alice, "get", "/models?limit=1").json()
    assert len(page["items"]) == 1 and len(api(alice, "get", f"/models?after={page['next']}").json()["items"]) == 2


def test_one_model_says_what_it_is(api, alice, model):  # noqa: F811
    content = api(alice, "get", f"/models/{model.pk}").json()
    assert content["task"] == "classification" and content["metrics"] == {"macro_f1": 0.75} and content["run"] is None
    assert (
        content["base"]["name"] == "tiny base" and content["labels"] == ["negative", "neutral", "positive"] and content["state"] == "ready"
    )


def test_a_model_of_the_hub_is_queued_for_a_data_worker(api, bob, vera, team):
    answer = api(bob, "post", "/models", {"hub": "google-bert/bert-base-uncased"})
    assert answer.status_code == 201 and answer.json()["state"] == "fetching"
    assert WorkItem.objects.get(kind="fetch_model").subject.hex == answer.json()["id"].replace("-", "")
    assert api(vera, "post", "/models", {"hub": "google-bert/bert-base-uncased"}).status_code == 403
    for body in ({"hub": "../x"}, {"folder": "/etc"}, {}, {"hub": "a/b", "folder": "/x"}, {"hub": "a/b", "team": "x"}):
        assert api(bob, "post", "/models", body).status_code == 422


def test_a_deleted_model_is_gone(api, bob, model):  # noqa: F811
    assert api(bob, "delete", f"/models/{model.pk}").status_code == 204
    assert api(bob, "get", f"/models/{model.pk}").status_code == 404
