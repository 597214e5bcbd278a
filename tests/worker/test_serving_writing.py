"""Answers that are written piece by piece: side by side, without holding up short questions, and dropped when nobody waits."""

import queue
import sys
import threading
import time
from itertools import pairwise

import pytest

from tests.worker.tiny import LABELS, tiny_classifier
from tests.worker.toy_task import PARROT
from worker.nlp import TASKS
from worker.serving import process
from worker.serving.desk import SIDE_BY_SIDE, Desk
from worker.serving.pool import Pool


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return str(tiny_classifier(tmp_path_factory.mktemp("models") / "one"))


@pytest.fixture
def parrot(monkeypatch):
    monkeypatch.setitem(TASKS, "parrot", PARROT)


@pytest.fixture
def desk(parrot):
    """A desk at work in a thread; `said` is what it said so far."""
    said = []
    pool = Pool(10**9)
    pool.imports()
    desk = Desk(pool, lambda message: said.append((time.monotonic(), message)))
    desk.said = said
    thread = threading.Thread(target=desk.work, daemon=True)
    thread.start()
    yield desk
    desk.waiting.clear()
    desk.close()
    thread.join(10)
    assert not thread.is_alive()


@pytest.fixture
def written(folder):
    def written(identifier="1", prompt="one two three", stream=True, **parameters):
        return {
            "id": identifier,
            "model": folder,
            "task": "parrot",
            "inputs": {"prompt": prompt},
            "parameters": parameters,
            "stream": stream,
        }

    return written


def short(folder, identifier):
    return {"id": identifier, "model": folder, "task": "classification", "inputs": {"text": "good"}, "labels": LABELS}


def messages(desk, identifier, kind=None):
    return [m for _at, m in list(desk.said) if m["id"] == identifier and kind in (None, m["type"])]


def until(true, seconds=20):
    deadline = time.monotonic() + seconds
    while not (found := true()):
        assert time.monotonic() < deadline, "it did not happen"
        time.sleep(0.01)
    return found


def test_the_pieces_make_up_the_answer(desk, written):
    desk.hear(written(words=7))
    answer = until(lambda: messages(desk, "1", "answer"))[0]
    pieces = messages(desk, "1", "piece")
    assert "".join(piece["text"] for piece in pieces) == answer["answer"]["text"] == "one two three one two three one"
    assert [token["text"] for piece in pieces for token in piece["tokens"]] == answer["answer"]["text"].split()
    assert [piece["seq"] for piece in pieces] == list(range(len(pieces)))
    assert answer["engine"] == "torch" and answer["ms"] > 0


def test_the_first_piece_comes_at_once_and_the_others_are_gathered(desk, written):
    desk.hear(written(words=100, pause_ms=2))
    until(lambda: messages(desk, "1", "answer"))
    pieces = messages(desk, "1", "piece")
    assert pieces[0]["text"] == "one" and len(pieces) <= 30
    at = [when for when, m in desk.said if m["type"] == "piece"]
    assert all(later - earlier > 0.02 for earlier, later in pairwise(at[:-1]))


def test_a_short_question_does_not_wait_for_a_long_answer(desk, written, folder):
    desk.hear(short(folder, "warm"))
    until(lambda: messages(desk, "warm", "answer"))
    desk.hear(written("long", words=100_000, pause_ms=2))
    until(lambda: messages(desk, "long", "piece"))
    asked = time.monotonic()
    desk.hear(short(folder, "short"))
    until(lambda: messages(desk, "short", "answer"))
    assert time.monotonic() - asked < 2 and not messages(desk, "long", "answer")


def test_several_answers_are_written_side_by_side_and_the_next_ones_wait_their_turn(desk, written):
    for number in range(SIDE_BY_SIDE + 2):
        desk.hear(written(str(number), words=40, pause_ms=1))
    until(lambda: all(messages(desk, str(number), "answer") for number in range(SIDE_BY_SIDE + 2)))
    order = [m["id"] for _at, m in desk.said if m["type"] in ("piece", "answer")]
    first_answer = next(
        n for n, (_at, m) in enumerate(e for e in desk.said if e[1]["type"] in ("piece", "answer")) if m["type"] == "answer"
    )
    assert set(order[:first_answer]) == {str(number) for number in range(SIDE_BY_SIDE)}


def test_a_cancelled_answer_is_given_up_at_once(desk, written):
    desk.hear(written(words=100_000, pause_ms=2))
    until(lambda: messages(desk, "1", "piece"))
    pieces = desk.writing[0].pieces
    desk.hear({"cancel": "1"})
    until(lambda: not desk.writing)
    assert pieces.gi_frame is None, "the generator goes on"
    said = len(desk.said)
    time.sleep(0.1)
    assert len(desk.said) == said and not messages(desk, "1", "answer")


def test_who_asks_for_the_whole_gets_it_and_the_relay_hears_that_it_goes_on(desk, written, monkeypatch):
    monkeypatch.setattr("worker.serving.writing.ALIVE_S", 0.1)
    desk.hear(written(words=60, pause_ms=5, stream=False))
    answer = until(lambda: messages(desk, "1", "answer"))[0]
    assert answer["answer"]["text"].count("one") == 20
    assert 2 <= len(messages(desk, "1", "alive")) <= 10 and not messages(desk, "1", "piece")


def test_an_answer_without_a_character_to_show_yet_tells_that_it_goes_on(desk, written, monkeypatch):
    monkeypatch.setattr("worker.serving.writing.ALIVE_S", 0.1)
    desk.hear(written(prompt="hum", words=60, pause_ms=5))
    until(lambda: messages(desk, "1", "answer"))
    assert len(messages(desk, "1", "alive")) >= 2 and not messages(desk, "1", "piece")


def answered(*questions):
    """All that a desk says about `questions`, which come at once."""
    said, pool = [], Pool(10**9)
    pool.imports()
    desk = Desk(pool, said.append)
    for question in questions:
        desk.hear(question)
    desk.close()
    desk.work()
    return said


def test_a_long_way_to_the_first_word_is_told_too(written, parrot, monkeypatch):
    monkeypatch.setattr("worker.serving.desk.ALIVE_S", 0.05)
    said = [message["type"] for message in answered(written(words=1, pause_ms=600)) if message["id"] == "1"]
    assert said.count("alive") >= 2 and said[-1] == "answer"


def test_a_base_that_two_are_asking_knows_for_each_what_it_must(written, parrot):
    """Both begin in one round; what is known for the first one is read in its own first step."""
    asked = [written(name, prompt="tell facts", words=2) | {"untuned": True, "facts": {"said": name}} for name in ("en", "fr")]
    said = answered(*asked, written("none", prompt="tell facts", words=2) | {"untuned": True})
    answers = {message["id"]: message["answer"]["text"] for message in said if message["type"] == "answer"}
    assert answers == {"en": "tell en", "fr": "tell fr", "none": "tell None"}


def test_a_list_is_written_a_few_at_a_time_and_answered_in_its_order(desk, written):
    rows = [{"prompt": f"number {n}"} for n in range(20)]
    desk.hear(written("list", words=4, pause_ms=5) | {"inputs": rows})
    desk.hear(written("single", words=4, pause_ms=5))
    until(lambda: messages(desk, "list", "answer"))
    assert [m["id"] for _at, m in desk.said if m["type"] == "answer"] == ["single", "list"]
    assert [answer["text"] for answer in messages(desk, "list", "answer")[0]["answer"]] == [f"number {n} number {n}" for n in range(20)]
    assert not messages(desk, "list", "piece")


def test_an_answer_that_breaks_off_costs_its_neighbours_nothing(desk, written, folder):
    desk.hear(written("good", words=50, pause_ms=1))
    desk.hear(written("bad", prompt="well well stumble"))
    desk.hear(short(folder, "short"))
    until(lambda: messages(desk, "good", "answer") and messages(desk, "short", "answer"))
    assert "could not read this text" in messages(desk, "bad", "failed")[0]["reason"]


def test_parameters_beyond_their_bounds_are_refused_here_too(desk, written):
    desk.hear(written(words=10**9))
    assert "between 1 and 100,000" in messages(desk, "1", "failed")[0]["reason"]


def test_a_model_that_is_answering_keeps_its_place(desk, written, tmp_path):
    desk.hear(written(words=100_000, pause_ms=2))
    until(lambda: messages(desk, "1", "piece"))
    desk.pool.budget = desk.pool.used + 1000
    other = str(tiny_classifier(tmp_path / "other"))
    desk.hear(short(other, "other"))
    assert "leave no room" in until(lambda: messages(desk, "other", "failed"))[0]["reason"]
    desk.hear({"cancel": "1"})
    until(lambda: not desk.writing)
    desk.hear(short(other, "again"))
    assert until(lambda: messages(desk, "again", "answer"))


def test_the_real_process_writes_and_stops_when_told(written, monkeypatch):
    monkeypatch.setattr(process, "COMMAND", [sys.executable, "-m", "tests.worker.toy_task"])
    said = queue.Queue()
    serving = process.Serving(said.put, 10**9, "cpu", "torch")
    try:
        serving.tell(written("long", words=100_000, pause_ms=5))
        serving.tell(written("whole", words=6, stream=False))
        heard = []
        while not any(m["type"] == "answer" for m in heard):
            heard.append(said.get(timeout=60))
        assert heard[-1]["id"] == "whole" and heard[-1]["answer"]["text"] == "one two three one two three"
        serving.tell({"cancel": "long"})
        time.sleep(0.5)
        while not said.empty():
            said.get()
        time.sleep(0.3)
        assert said.empty()
    finally:
        serving.end(5)
    assert serving.is_gone
