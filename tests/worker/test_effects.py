"""What would do nothing is refused, and refusals say the cause."""

import pytest

from worker.nlp import TASKS
from worker.spec import SpecError


@pytest.mark.parametrize(
    ("task", "shape", "given", "field", "why"),
    [
        ("generation", "decoder", {"temperature": 0, "top_p": 0.5}, "top_p", "no effect while temperature is 0"),
        ("generation", "decoder", {"temperature": 0, "top_k": 5}, "top_k", "no effect while temperature is 0"),
        ("generation", "decoder", {"temperature": 0, "seed": 7}, "seed", "Raise temperature, or leave seed out"),
        ("translation", "encoder-decoder", {"beams": 1, "length_penalty": 2}, "length_penalty", "no effect while beams is 1"),
        ("translation", "encoder-decoder", {"beams": 2, "n_best": 5}, "n_best", "cannot be more than beams (2)"),
        ("summarization", "encoder", {"beams": 2}, "beams", "needs a model of the kind"),
        ("summarization", "encoder-decoder", {"sentences": 2}, "sentences", "this is encoder-decoder"),
    ],
)
def test_a_parameter_without_effect_is_refused_by_name_and_why(task, shape, given, field, why):
    with pytest.raises(SpecError) as refusal:
        TASKS[task].check_effects(given, shape)
    assert refusal.value.field == field and why in str(refusal.value)


@pytest.mark.parametrize("task", TASKS.values(), ids=TASKS)
def test_all_the_defaults_together_are_no_wish_and_no_error(task):
    for shape in task.shapes:
        task.check_effects({each.name: each.default for each in task.parameters}, shape)
        task.check_effects({}, shape)


def test_with_an_effect_they_are_taken():
    TASKS["generation"].check_effects({"temperature": 0.7, "top_p": 0.5, "seed": 7}, "decoder")
    TASKS["translation"].check_effects({"beams": 4, "n_best": 4, "length_penalty": 2}, "encoder-decoder")


@pytest.mark.parametrize(("task", "key"), [("generation", "Prompt"), ("question_answering", "Passage"), ("classification", "Text")])
def test_where_all_rows_share_their_key_that_is_the_cause_which_is_told(task, key):
    (problem,) = TASKS[task].dataset_problems(60, {"a": 30, "b": 30}, {"train": 60, "validation": 0, "test": 0})
    assert problem["code"] == "no_held_out" and problem["message"].startswith(f"Every row has the same {key.lower()}")
