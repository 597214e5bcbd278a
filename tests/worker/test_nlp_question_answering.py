"""Answers are exact spans of the passage as it was sent, however long it is, and "no answer" is a real result."""

import json
from itertools import pairwise

import polars as pl
import pytest
import torch

from tests.worker import toys
from worker.nlp import TASKS, overlap
from worker.nlp import question_answering as qa
from worker.nlp.recipe import read_settings

TASK = TASKS["question_answering"]
SETTINGS = read_settings(TASK.settings, {"window": 32, "stride": 8}, "full")


@pytest.fixture(scope="module")
def opened(tmp_path_factory):
    base = toys.base_model(tmp_path_factory.mktemp("base"))
    model, tokenizer = TASK.load(str(base), (), SETTINGS, "full", {})
    model.config.tunebench = {"no_answer": True, "stride": 8}
    return model.eval(), tokenizer


def test_windows_of_a_long_passage_overlap_and_cover_every_character(opened):
    _model, tokenizer = opened
    context = " ".join(toys.WORDS * 6)
    windows = qa._windows(tokenizer, ["good film"], [context], 8)
    assert len(windows) > 3 and all(len(w["input_ids"]) <= 32 and w["row"] == 0 for w in windows)
    covered = {at for w in windows for _token, a, b in w["offsets"] for at in range(a, b)}
    assert covered == {at for at, c in enumerate(context) if c != " "}
    for before, after in pairwise(windows):
        assert before["offsets"][-8][1] == after["offsets"][0][1]


def test_every_answer_is_found_again_in_the_window_that_holds_it(opened):
    _model, tokenizer = opened
    context = "😀 " + " ".join(toys.WORDS * 6)
    start = context.index("again", 60)
    row = {"question": "it", "context": context, "answer": "again", "start": str(start), "answers": ""}
    model = opened[0]
    examples = TASK.encode(pl.DataFrame([row]), model, tokenizer, (), SETTINGS, learning=False)
    pointed = [e for e in examples if e["target"] != (0, 0)]
    assert pointed
    for example in pointed:
        offsets = {token: (a, b) for token, a, b in example["offsets"]}
        first, last = example["target"]
        assert context[offsets[first][0] : offsets[last][1]] == "again" and offsets[first][0] == start


@pytest.mark.parametrize(("start", "place"), [("", 4), ("0", 4), ("30", 30), ("nonsense", 4), ("28", 30)])
def test_a_missing_or_wrong_start_takes_the_place_nearest_to_it(start, place):
    context = "a b good film c d e f g h i j good soup"
    row = {"context": context, "answer": "good", "start": start}
    assert qa._place(row) == (place, place + 4)


def test_an_answer_that_does_not_stand_in_the_passage_is_a_problem_of_its_row():
    assert [r for r, _s in TASK.problems({"context": "The mill.", "question": "What?", "answer": "A house"})] == ["answer"]
    assert TASK.problems({"context": "The mill.", "question": "What?", "answer": ""}) == []
    assert [r for r, _s in TASK.problems({"context": "The mill.", "question": "What?", "answer": "mill", "start": "x"})] == ["start"]


def test_answers_are_exact_spans_with_scores_that_add_up(opened):
    model, tokenizer = opened
    context = "“Good 😀 film” was a very good soup. " * 12
    asked = [{"question": "was it good", "context": context}, {"question": "a", "context": "it"}]
    answers = TASK.answer(model, tokenizer, (), asked, TASK.read_parameters({"n_best": 5, "no_answer_threshold": 20}))
    for row, answer in zip(asked, answers, strict=True):
        for each in answer["n_best"]:
            assert row["context"][each["start"] : each["end"]] == each["answer"] != ""
        assert answer["n_best"] == sorted(answer["n_best"], key=lambda each: -each["score"])
        assert sum(each["score"] for each in answer["n_best"]) + answer["no_answer_score"] <= 1.001
        assert not answer["no_answer"] and answer["answer"] == answer["n_best"][0]["answer"]
    assert answers[0]["windows"] > 1
    careful = TASK.answer(model, tokenizer, (), asked[:1], TASK.read_parameters({"no_answer_threshold": -20}))[0]
    assert careful["no_answer"] and careful["answer"] == "" and careful["start"] == careful["end"] == 0


def test_a_question_that_is_too_long_is_cut_and_says_so(opened):
    model, tokenizer = opened
    asked = [{"question": question, "context": "good film. it was a soup."} for question in ("was it " * 40, "was it")]
    long, short = TASK.answer(model, tokenizer, (), asked, TASK.read_parameters({}))
    assert (long["cut"], short["cut"]) == (80 - 32 // 3, 0)


def test_no_answer_is_longer_than_asked_for_and_none_begins_behind_its_end():
    logits = torch.zeros(10, 2)
    logits[8, 0], logits[2, 1], logits[9, 1], logits[1, 0] = 9, 9, 5, 4
    window = {"offsets": [(token, 10 * token, 10 * token + 5) for token in range(1, 10)]}
    _nothing, pairs = qa._candidates(logits, window, 3)
    assert pairs[0] == (14.0, 80, 95)
    assert all(end > start and end - start <= 25 for _score, start, end in pairs)


def test_a_model_that_learnt_no_empty_answers_never_gives_one(opened):
    model, tokenizer = opened
    model.config.tunebench = {"no_answer": False, "stride": 8}
    try:
        asked = [{"question": "was it", "context": "good film. it was a soup."}]
        answer = TASK.answer(model, tokenizer, (), asked, TASK.read_parameters({"no_answer_threshold": -20}))[0]
    finally:
        model.config.tunebench = {"no_answer": True, "stride": 8}
    assert not answer["no_answer"] and answer["answer"] and answer["no_answer_score"] == 0


@pytest.mark.parametrize(
    ("said", "right", "match", "f1"),
    [
        ("the Mill", ["mill!"], 1, 1),
        ("in 1841", ["1841", "the year 1841"], 0, 2 / 3),
        ("", [], 1, 1),
        ("mill", [], 0, 0),
        ("", ["mill"], 0, 0),
        ("北京市", ["北京"], 0, 0.8),
        ("北京。", ["北京"], 1, 1),
        ("1998年iPhone", ["1998年"], 0, 0.8),
    ],
)
def test_exact_match_and_f1_count_as_squad_does_and_by_character_in_chinese(said, right, match, f1):
    assert overlap.span_scores(said, right) == {"exact_match": match, "f1": pytest.approx(f1)}


def test_all_gold_answers_of_a_row_count():
    row = {"answer": "1841", "answers": json.dumps(["1841", "in 1841"])}
    assert qa.right_answers(row) == ["1841", "in 1841"]
    assert qa.right_answers({"answer": "1841", "answers": "no json"}) == ["1841"]
    assert qa.right_answers({"answer": " "}) == []


def test_the_blank_that_a_tokenizer_counts_to_a_word_is_no_part_of_the_answer(opened):
    class Sentencepiece:
        """A tokenizer whose words begin with the blank before them."""

        def __init__(self, inner):
            self.inner = inner

        def __getattr__(self, name):
            return getattr(self.inner, name)

        def __call__(self, *texts, **options):
            found = self.inner(*texts, **options)
            if "offset_mapping" in found:
                found["offset_mapping"] = [[(max(a - 1, 0), b) for a, b in row] for row in found["offset_mapping"]]
            return found

    context = "it was a very good film"
    (window,) = qa._windows(Sentencepiece(opened[1]), ["was it"], [context], 8)
    assert [context[a:b] for _token, a, b in window["offsets"]] == context.split()


def test_a_model_is_scored_by_the_rule_that_it_answers_by(opened):
    model, tokenizer = opened
    rows = pl.DataFrame([{"question": "it", "context": "good film", "answer": "good", "start": "0", "answers": ""}])
    examples = TASK.encode(rows, model, tokenizer, (), SETTINGS, learning=False)
    nothing = torch.full((len(examples[0]["input_ids"]), 2), -5.0)
    nothing[0] = 5.0  # surest that there is no answer
    found = TASK.read([nothing], examples, None)
    assert TASK.score(found, examples, ())[0]["exact_match"] == 0
    always = [{**example, "may_be_none": False} for example in examples]
    assert not TASK.score(found, always, ())[1]["samples"][0]["no_answer"]


def test_a_base_that_answers_already_is_asked_with_what_it_has_learnt(opened, tmp_path):
    """A starter is a base too: "the base as it came" is its own answer, not the nearest sentence."""
    model, tokenizer = opened
    model.save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    asked = [{"question": "was it", "context": "good film. it was a soup."}]
    parameters = TASK.read_parameters({"no_answer_threshold": 20})
    base, its_tokenizer = TASK.open_base(str(tmp_path))
    its_tokenizer.model_max_length = tokenizer.model_max_length
    assert TASK.answer_untuned(base, its_tokenizer, (), asked, parameters) == TASK.answer(model, tokenizer, (), asked, parameters)
