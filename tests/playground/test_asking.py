"""What may be asked, by whom, and what is said when it may not."""

import pytest
import redis

from tests.worker.toy_task import PARROT
from webapp.people.access import actor_of, find
from webapp.playground import line
from webapp.playground.models import Busy, NotAnswering, Prediction, Unserved
from worker.nlp import TASKS
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
        ({"text": 7}, "inputs.text", "must be a string"),
        ({"text": "x" * 20_001}, "inputs.text", "20,001 characters, at most 20,000"),
        ({"text": "x" * 1_000_000}, "inputs.text", "1,000,000 characters, at most 20,000"),
        ({"text": "x", "pair": 7}, "inputs.pair", "must be a string"),
        ({"text": "x", "colour": "red"}, "inputs", "inputs of this task are: text, pair"),
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


def test_an_optional_field_may_be_empty_or_missing(actor, model, listening):
    assert Prediction.ask(actor, model, {"text": "x", "pair": " "}).inputs == {"text": "x"}
    assert Prediction.ask(actor, model, {"text": "x", "pair": None}).inputs == {"text": "x"}
    assert Prediction.ask(actor, model, {"text": "x", "pair": "y"}).inputs == {"text": "x", "pair": "y"}


def test_control_characters_become_spaces_so_that_places_stay(actor, model, listening):
    asked = Prediction.ask(actor, model, {"text": "it\x00 works\x1b well\x85\n\tyes 👩‍👩‍👧 \u200f"})
    assert asked.inputs["text"] == "it  works  well \n\tyes 👩‍👩‍👧 \u200f"


@pytest.fixture
def parrot(monkeypatch, model):
    """The model, of a task that writes, has parameters and must have one text, called prompt."""
    monkeypatch.setitem(TASKS, "parrot", PARROT)
    model.task = "parrot"
    model.save()
    return model


@pytest.mark.parametrize("text", ["\x01", " \x00\t\n", "\u3000"])
def test_a_text_of_nothing_that_can_be_read_is_empty(actor, model, listening, text):
    with pytest.raises(SpecError, match="is empty"):
        Prediction.ask(actor, model, {"text": text})


def test_what_was_asked_comes_in_the_order_of_the_task_whatever_the_database_keeps(actor, model, listening):
    asked = Prediction.ask(actor, model, {"text": "first", "pair": "second"})
    asked.inputs = {"pair": "second", "text": "first"}
    assert asked.texts == ["first", "second"]


def test_the_one_text_that_is_needed_may_be_called_text(actor, parrot, listening):
    assert Prediction.ask(actor, parrot, {"text": "x"}).inputs == Prediction.ask(actor, parrot, {"prompt": "x"}).inputs == {"prompt": "x"}
    with pytest.raises(SpecError, match="empty") as refusal:
        Prediction.ask(actor, parrot, {"text": " "})
    assert refusal.value.field == "inputs.text"


def test_parameters_are_kept_whole_with_their_defaults(actor, parrot, listening):
    assert Prediction.ask(actor, parrot, {"text": "x"}, {"words": "7"}).parameters == {"words": 7, "pause_ms": 0.0}


@pytest.mark.parametrize(
    ("parameters", "field", "sentence"),
    [
        ({"words": 0}, "parameters.words", "between 1 and 100,000"),
        ({"words": 1e30}, "parameters.words", "whole number"),
        ({"words": "many"}, "parameters.words", "whole number"),
        ({"words": {"deep": [1]}}, "parameters.words", "whole number"),
        ({"pause_ms": float("nan")}, "parameters.pause_ms", "between 0 and 1,000"),
        ({"pause_ms": -1e308}, "parameters.pause_ms", "between 0 and 1,000"),
        ({"colour": 1}, "parameters.colour", "There are: words, pause_ms"),
        ({"x" * 2000: 1}, "parameters", "names with a number"),
        ([1], "parameters", "names with a number"),
    ],
)
def test_parameters_beyond_their_bounds_are_refused_with_field_and_bounds(actor, parrot, listening, parameters, field, sentence):
    with pytest.raises(SpecError, match=sentence) as refusal:
        Prediction.ask(actor, parrot, {"text": "x"}, parameters)
    assert refusal.value.field == field
    assert not Prediction.objects.exists() and not line.waiting()


def test_pieces_are_wanted_where_the_task_streams_and_one_row_is_asked(actor, parrot, listening):
    row = {"prompt": "x"}
    assert Prediction.ask(actor, parrot, row, stream=True).question()["stream"]
    assert not Prediction.ask(actor, parrot, row).question()["stream"]
    assert not Prediction.ask(actor, parrot, [row], stream=True).question()["stream"]


def test_a_base_model_answers_nothing_yet(actor, model, listening):
    with pytest.raises(NotAnswering, match="Fine-tune it before"):
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


def test_a_question_can_be_taken_back_once(actor, model, listening):
    prediction = Prediction.ask(actor, model, GOOD)
    assert prediction.cancel() and not prediction.cancel() and not prediction.finish({"label": "positive"}, 12)
    assert prediction.said() == [{"type": "failed", "reason": "Stopped before the answer came."}]
    assert line.line().xrevrange(line.CANCELLED, count=1)[0][1] == {"prediction": str(prediction.pk)}


@pytest.mark.parametrize(
    ("answer", "told"),
    [
        ({"label": "positive", "scores": {"positive": 0.9}}, "positive"),
        ({"text": "Ein\nHaus " * 100, "n_best": []}, "Ein Haus Ein Haus"),
        ({"text": "Short.", "sentences": [{"start": 0, "end": 6, "score": 1.0}], "ratio": 0.1}, "Short."),
        ({"answer": "Paris", "start": 3, "end": 8, "score": 0.7, "no_answer": False}, "Paris"),
        ({"answer": "", "start": 0, "end": 0, "score": 0.7, "no_answer": True}, "No answer in the text"),
        ({"text": "", "tokens": [], "finish": "end"}, ""),
        ([{"label": "positive"}, {"label": "negative"}], "2 answers"),
        ({}, ""),
    ],
)
def test_every_shape_of_answer_fits_in_a_line(answer, told):
    line = Prediction(answer=answer).outcome_line
    assert line.startswith(told) and len(line) <= 160 and bool(line) == bool(told)


def test_history_is_ones_own(actor, model, vera, listening):
    mine, hers = Prediction.ask(actor, model, GOOD), Prediction.ask(actor_of(vera), model, GOOD)
    for each in (mine, hers):
        each.finish({"label": "positive", "scores": {"positive": 0.9}}, 10)
    for of in (model, "classification", None):
        assert list(Prediction.recent(actor, of)) == [mine]
    assert not Prediction.recent(actor, "translation")
    assert find(actor_of(vera), Prediction, mine.pk) == mine, "a link is for the whole team"


def test_what_would_do_nothing_is_refused_by_its_field(signed_in, alice, actor, parrot, listening, monkeypatch):
    monkeypatch.setattr(type(parrot), "known", {}, raising=False)
    parrot.task = "translation"
    parrot.save()
    with pytest.raises(SpecError, match="one direction only") as refusal:
        Prediction.ask(actor, parrot, {"text": "x"}, {"direction": "back"})
    assert refusal.value.field == "parameters.direction"
    with pytest.raises(SpecError, match="no effect") as refusal:
        Prediction.ask(actor, parrot, {"text": "x"}, {"beams": 1, "length_penalty": 2})
    assert refusal.value.field == "parameters.length_penalty" and not Prediction.objects.exists()
