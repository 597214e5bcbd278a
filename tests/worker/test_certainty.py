"""How sure a score is by so few rows: intervals that hold what they promise, kept with every run's evaluation."""

import numpy as np
import pytest

from worker.nlp import certainty, measures, overlap


def test_wilsons_interval_has_the_published_values():
    assert certainty.wilson(81, 263) == pytest.approx([0.2553, 0.3662], abs=1e-4)  # Newcombe 1998, table I
    assert certainty.wilson(0, 20) == pytest.approx([0.0, 0.1611], abs=1e-4)
    assert certainty.wilson(0, 0) == [0.0, 1.0]


def test_the_same_rows_give_the_same_interval_and_it_holds_the_score():
    scores = [{"f1": value} for value in np.random.default_rng(1).random(80)]
    found = certainty.of_means(scores)
    assert found == certainty.of_means(scores)
    low, high = found["f1"]
    assert low < overlap.mean_of(scores)["f1"] < high


def test_ninety_five_intervals_of_a_hundred_hold_the_true_mean():
    draw = np.random.default_rng(2)
    held = 0
    for _time in range(200):
        low, high = certainty.of_means([{"x": value} for value in draw.random(60)])["x"]
        held += low <= 0.5 <= high
    assert 180 <= held <= 199


def test_more_rows_are_surer():
    def width(rows: int) -> float:
        low, high = certainty.of_means([{"x": float(at % 2)} for at in range(rows)])["x"]
        return high - low

    assert width(400) < width(100) / 1.8


def test_thirty_one_of_thirty_one_right_is_not_certainty():
    true = np.arange(31) % 3
    found = measures.label_intervals(true, true, 3)
    assert found["macro_f1"] == found["accuracy"] == pytest.approx([0.8897, 1.0], abs=1e-4)


def test_a_classifiers_interval_is_of_the_numbers_that_it_stands_beside():
    draw = np.random.default_rng(3)
    true = draw.integers(0, 4, 120)
    predicted = np.where(draw.random(120) < 0.8, true, draw.integers(0, 4, 120))
    numbers, _each = measures.label_metrics(measures.confusion_matrix(true, predicted, 4))
    found = measures.label_intervals(predicted, true, 4)
    assert found.keys() == numbers.keys()
    assert all(low < numbers[name] < high for name, (low, high) in found.items())


def test_bleu_and_chrf_have_the_interval_of_sacrebleu():
    said = ["the cat sat on the mat", "a dog ran in the park today", "we went home early in the rain"] * 5
    right = ["the cat sat on a mat", "a dog ran in the park", "we walked home early in the rain"] * 5
    metrics, _signatures = overlap.translation_metrics(said, right, "en")
    found = overlap.translation_intervals(said, right, "en")
    assert all(low < metrics[name] < high for name, (low, high) in found.items())
    assert overlap.translation_intervals([], [], "en") == {}
