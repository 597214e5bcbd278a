"""What may be asked, by whom, and what is said when it may not."""

import pytest
import redis

from webapp.people.access import actor_of, find
from webapp.playground import line
from webapp.playground.models import Busy, NotAnswering, Prediction, Unserved
from worker.spec import SpecError

GOOD = {"text": "it works well"}


def test_a_question_stands_in_the_table_and_in_the_line(actor, model, listening):
    prediction = Prediction.ask(actor, model, GOOD)
    assert prediction.state == "queued" and prediction.team == model.team
    assert line.line().xrange(line.STREAM)[-1][1] == {"prediction": str(prediction.pk)}


def test_vera_may_ask_though_she_may_change_nothing(vera, model, listening):
    assert Prediction.ask(actor_of(vera), model, GOOD).created_by == vera


def test_charlie_cannot_find_alices_model(charlie, model):
    from django.http import Http404

    with pytest.raises(Http404):
        find(actor_of(charlie), type(model), model.pk)


@pytest.mark.parametrize(
    ("inputs", "field", "sentence"),
    [
        ({"text": "  "}, "inputs.text", "empty"),
        ({}, "inputs.text", "empty"),
        ({"text": 7}, "inputs.text", "empty"),
        ({"text": "x" * 20_001}, "inputs.text", "20,001 characters, at most 20,000"),
        ({"text": "x", "colour": "red"}, "inputs", "inputs of this task are: text"),
        ("it works", "inputs", "inputs of this task are: text"),
        ([], "inputs", "between 1 and 64"),
        ([GOOD] * 65, "inputs", "between 1 and 64"),
        ([GOOD, {"text": ""}], "inputs.1.text", "empty"),
        ({"text": "half a \ud83d smile"}, "inputs.text", "half a character"),
    ],
)
def test_inputs_beyond_the_limits_are_refused_with_field_and_limit(actor, model, listening, inputs, field, sentence):
    with pytest.raises(SpecError, match=sentence) as refusal:
        Prediction.ask(actor, model, inputs)
    assert refusal.value.field == field
    assert not Prediction.objects.exists() and not line.waiting()


@pytest.mark.parametrize("parameters", [{"deep": {"er": 1}}, {"long": "x" * 2000}, {str(n): n for n in range(40)}])
def test_parameters_are_few_and_plain(actor, model, listening, parameters):
    with pytest.raises(SpecError) as refusal:
        Prediction.ask(actor, model, GOOD, parameters)
    assert refusal.value.field == "parameters"


def test_a_base_model_answers_nothing_yet(actor, model, listening):
    with pytest.raises(NotAnswering, match="Fine-tune it first"):
        Prediction.ask(actor, model.parent, GOOD)


def test_a_deleted_model_is_not_asked(actor, model, listening):
    model.delete_softly()
    with pytest.raises(NotAnswering, match="deleted"):
        Prediction.ask(actor, model, GOOD)


def test_without_a_serve_worker_the_remedy_is_told(actor, model):
    with pytest.raises(Unserved, match="make up"):
        Prediction.ask(actor, model, GOOD)


def test_when_too_many_wait_the_next_is_told_to_come_back(actor, model, listening, settings):
    settings.ASK_LIMIT = 3
    for _ in range(3):
        Prediction.ask(actor, model, GOOD)
    with pytest.raises(Busy, match="few seconds"):
        Prediction.ask(actor, model, GOOD)
    assert Prediction.objects.count() == 3


def test_without_redis_the_question_is_refused_with_a_sentence(actor, model, listening, monkeypatch):
    away = redis.Redis(unix_socket_path="/nowhere/redis.sock")
    with monkeypatch.context() as patch:
        patch.setattr(line, "line", lambda: away)
        with pytest.raises(Unserved, match="Redis does not answer"):
            Prediction.ask(actor, model, GOOD)


def test_the_first_outcome_stands(actor, model, listening):
    prediction = Prediction.ask(actor, model, GOOD)
    assert prediction.finish({"label": "positive"}, 12)
    assert not prediction.fail("too late")
    prediction.refresh_from_db()
    assert (prediction.state, prediction.answer) == ("done", {"label": "positive"})


def test_history_is_ones_own(actor, model, vera, listening):
    mine, hers = Prediction.ask(actor, model, GOOD), Prediction.ask(actor_of(vera), model, GOOD)
    for each in (mine, hers):
        each.finish({"label": "positive", "scores": {"positive": 0.9}}, 10)
    assert list(Prediction.recent(actor, model)) == [mine]
