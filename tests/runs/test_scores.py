"""What a run's score is told with: its rows, how sure they make it, and a verdict that follows from what is shown."""

import pytest

from tests.runs import made
from tests.runs.test_pages import page_of, said
from webapp.runs.scores import Standing

pytestmark = pytest.mark.django_db


def stood(team, score, rival, **evaluation):
    version = made.version(team, baselines={"split": "test", "rows": 31, "scores": {"tfidf_word": {"macro_f1": rival}}})
    run = made.done(team, version=version)
    run.metrics = {"macro_f1": score, "rows": 31}
    run.evaluation = {**made.EVALUATION, **evaluation}
    run.save()
    return run


@pytest.mark.parametrize(
    ("score", "rival", "verdict"),
    [
        (0.8914, 0.9216, "3.1 below"),  # 89.1 against 92.2: the difference of the two whole numbers is 3.0
        (0.9216, 0.8914, "3.1 above"),
        (1.0, 1.0, "level with"),
        (0.89141, 0.89139, "level with"),
        (0.8916, 0.8904, "0.2 above"),
    ],
)
def test_the_verdict_is_the_difference_of_what_stands_there(team, score, rival, verdict):
    run = stood(team, score, rival)
    assert Standing(run).verdict == verdict


@pytest.mark.parametrize(
    ("score", "verdict"),
    [(45.2, "over 99 % lower than"), (11_280.0, "50 % lower than"), (22_500.0, "less than 1 % lower than"), (90_000.0, "4.0 times")],
)
def test_a_perplexity_is_compared_as_people_would(team, score, verdict):
    run = stood(team, 0.5, 0.5)
    run.task = "generation"
    run.metrics = {"perplexity": score, "rows": 31}
    run.evaluation = {"split": "test", "untuned": {"perplexity": 22_567.3}}
    assert Standing(run).verdict == verdict


def test_a_score_says_which_rows_it_is_of_and_how_sure_they_make_it(signed_in, alice, team):
    run = stood(team, 0.8914, 0.9216, intervals={"macro_f1": [0.7621, 0.9702]})
    page = said(signed_in(alice).get(page_of(run)))
    for words in ("on 31 test rows", "95 % interval 76.2 to 97.0", "cannot tell the two apart"):
        assert words in page, words
    for address in ("/runs/", "/"):
        assert "31 test rows" in said(signed_in(alice).get(address))
    model = said(signed_in(alice).get(f"/models/{run.result_id}/"))
    assert "on 31 test rows" not in model, "this model has no metrics"


def test_a_score_on_the_rows_that_chose_the_best_state_says_so(signed_in, alice, team):
    run = stood(team, 0.9, 0.8, split="validation")
    page = said(signed_in(alice).get(page_of(run)))
    assert "on 31 validation rows" in page and "a little flattering" in page


def test_a_lead_outside_the_interval_is_not_doubted(signed_in, alice, team):
    run = stood(team, 0.9, 0.5, intervals={"macro_f1": [0.8, 0.95]})
    assert "cannot tell" not in said(signed_in(alice).get(page_of(run)))


def test_two_perfect_scores_are_not_told_to_work_on_their_data(signed_in, alice, team):
    page = said(signed_in(alice).get(page_of(stood(team, 1.0, 1.0, intervals={"macro_f1": [0.89, 1.0]}))))
    assert "level with" in page and "nothing left to gain" in page
    assert "+0.0" not in page and "look at the labels" not in page


def test_the_scores_of_the_curve_name_the_validation_rows(signed_in, alice, team):
    assert "on 100 validation rows" in said(signed_in(alice).get(page_of(stood(team, 0.9, 0.5))))


def test_a_models_page_tells_rows_and_interval_and_draws_no_error_as_a_good_score(signed_in, alice, team):
    run = stood(team, 0.8914, 0.9216, intervals={"macro_f1": [0.7621, 0.9702]})
    model = run.result
    model.metrics = {"macro_f1": 0.8914, "calibration_error": 0.9, "rows": 31}
    model.save()
    page = said(signed_in(alice).get(f"/models/{model.pk}/"))
    assert "on 31 test rows" in page and "76.2 to 97.0" in page
    assert "--w:89.1%" in page and "--w:90.0%" not in page
    assert "31 test rows" in said(signed_in(alice).get("/models/"))
