"""What a person comes back to: the model that was asked last, and every question by its words."""

import time

import pytest

from tests.runs import made
from webapp.playground.models import Prediction

pytestmark = pytest.mark.django_db


@pytest.fixture
def models(team):
    base = made.base()
    found = {}
    for name, score in (("good", 0.9), ("bad", 0.1)):  # the bad one is the newest
        found[name] = made.base(
            name=name, kind="run", team=team, task="classification", parent=base, folder=f"runs/{name}", metrics={"macro_f1": score}
        )
    return found


def asked(by, model, text, label, **fields):
    time.sleep(0.002)  # an id counts milliseconds
    inputs, answer = {"text": text}, {"label": label, "scores": {label: 0.9}, "cut": 0}
    return Prediction.objects.create(team=model.team, created_by=by, model=model, inputs=inputs, answer=answer, state="done", **fields)


def test_the_playground_opens_with_the_best_model_and_not_with_the_newest(signed_in, alice, models):
    assert signed_in(alice).get("/playground/?task=classification").context["model"] == models["good"]


def test_the_playground_opens_with_the_model_that_was_asked_last(signed_in, alice, bob, models):
    asked(alice, models["bad"], "where is it", "late")
    assert signed_in(alice).get("/playground/?task=classification").context["model"] == models["bad"]
    assert signed_in(bob).get("/playground/?task=classification").context["model"] == models["good"], "others' questions do not count"


def test_questions_are_found_by_their_words_in_any_script(signed_in, alice, bob, models):
    asked(alice, models["good"], "Where is my Parcel", "late")
    asked(alice, models["good"], "电池很好", "positive")
    asked(bob, models["good"], "a secret of Bob", "late")
    client = signed_in(alice)

    def found(query):
        return [each.inputs["text"] for each in client.get(f"/playground/predictions/{query}").context["listing"].page]

    assert found("") == ["电池很好", "Where is my Parcel"]
    assert found("?q=parcel") == found("?q=LATE") == ["Where is my Parcel"]
    assert found("?q=电池") == ["电池很好"]
    assert found(f"?model={models['bad'].pk}") == [] and len(found(f"?model={models['good'].pk}")) == 2
    assert found("?state=failed") == []


def test_a_newcomers_list_of_questions_leads_to_the_playground(signed_in, vera):
    assert "You have not asked anything yet" in signed_in(vera).get("/playground/predictions/").content.decode()


def test_a_chat_is_not_shown_as_its_json(signed_in, alice, models):
    from webapp.playground.views import example_of

    row = {"prompt": '[{"role": "user", "content": "Hello"}]'}
    assert example_of(["prompt"], row)["says"] == "user: Hello"
