"""The serving process from inside: small groups, warm models, and no failure that costs a neighbour."""

import json
import shutil
import threading
import time
from pathlib import Path

import pytest

from tests.worker.tiny import LABELS, tiny_base, tiny_classifier
from worker import machine
from worker.nlp import TASKS, language
from worker.serving import process
from worker.serving.desk import Desk
from worker.serving.pool import Pool
from worker.serving.questions import GROUP, Key


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    home = tmp_path_factory.mktemp("models")
    return {"one": tiny_classifier(home / "one"), "two": tiny_classifier(home / "two", ["yes", "no"]), "base": tiny_base(home / "base")}


@pytest.fixture
def said():
    return []


@pytest.fixture
def desk(said):
    pool = Pool(10**9)
    pool.imports()
    return Desk(pool, said.append)


def question(folder, identifier="1", text="the battery died", **more):
    return {"id": identifier, "model": str(folder), "task": "classification", "inputs": {"text": text}, "labels": LABELS} | more


def serve(desk, *questions):
    for each in questions:
        desk.hear(each)
    desk.close()
    desk.work()


def outcomes(said):
    return {message["id"]: message for message in said if message["type"] in ("answer", "failed")}


@pytest.fixture
def calls(monkeypatch):
    """How many texts each forward pass took."""
    sizes, answer = [], TASKS["classification"].answer

    def counted(model, tokenizer, labels, inputs, parameters):
        sizes.append(len(inputs))
        return answer(model, tokenizer, labels, inputs, parameters)

    monkeypatch.setattr(TASKS["classification"], "answer", counted)
    return sizes


def test_a_cold_model_says_how_long_it_loads_and_a_warm_one_answers_at_once(desk, said, models):
    desk.hear(question(models["one"]))
    assert said[0]["type"] == "loading" and said[0]["expected_s"] > 0
    desk.pool.get(Key(str(models["one"]), "classification", False))
    serve(desk, question(models["one"], "2"))
    assert [message["type"] for message in said if message["type"] != "busy"] == ["loading", "answer", "answer"]
    scores = outcomes(said)["1"]["answer"]["scores"]
    assert set(scores) == set(LABELS) and sum(scores.values()) == pytest.approx(1)


def test_32_questions_are_answered_in_a_few_passes_and_each_gets_its_own_answer(desk, said, models, calls):
    texts = ["good", "bad", "it works well", "never again"] * 8
    serve(desk, *(question(models["one"], str(number), text) for number, text in enumerate(texts)))
    assert sum(calls) == 32 and len(calls) <= 32 // GROUP + 2
    alone = {text: {} for text in texts}
    for number, text in enumerate(texts):
        alone[text][number] = outcomes(said)[str(number)]["answer"]["scores"]["negative"]
    for same in alone.values():
        assert max(same.values()) - min(same.values()) < 1e-5
    assert len({round(next(iter(same.values())), 5) for same in alone.values()}) == 4


def test_a_long_text_does_not_share_a_pass_with_short_ones(desk, models, calls):
    serve(desk, *(question(models["one"], str(number), "good") for number in range(7)), question(models["one"], "long", "good " * 2000))
    assert sorted(calls) == [1, 7]


def test_a_list_is_answered_in_its_order(desk, said, models):
    texts = [{"text": "good " * (20 - number)} for number in range(20)]
    serve(desk, question(models["one"], inputs=texts), question(models["one"], "single", texts[3]["text"]))
    answers = outcomes(said)["1"]["answer"]
    assert len(answers) == 20
    assert answers[3]["scores"]["negative"] == pytest.approx(outcomes(said)["single"]["answer"]["scores"]["negative"], abs=1e-5)


def test_a_newcomer_does_not_wait_for_a_whole_list(desk, said, models):
    serve(desk, question(models["one"], "list", inputs=[{"text": "good"}] * 64), question(models["one"], "single"))
    assert [message["id"] for message in said if message["type"] == "answer"] == ["single", "list"]


def test_the_base_answers_without_training(desk, said, models):
    serve(desk, question(models["base"], untuned=True))
    assert outcomes(said)["1"]["answer"]["label"] in LABELS


def test_the_least_recently_used_model_goes_when_the_budget_is_full(desk, models):
    desk.pool.budget = 120_000  # two of the three
    for name, untuned in (("one", False), ("two", False), ("one", False), ("base", True)):
        desk.pool.get(Key(str(models[name]), "classification", untuned))
    assert [key.folder for key in desk.pool.warm] == [str(models["one"]), str(models["base"])]


def test_a_model_beyond_the_budget_is_told_with_the_remedy(desk, said, models):
    desk.pool.budget = 1000
    serve(desk, question(models["one"]))
    assert "SERVE_MEMORY" in outcomes(said)["1"]["reason"]


def test_torn_weights_fail_their_own_question_only(desk, said, models, tmp_path):
    torn = shutil.copytree(models["one"], tmp_path / "torn")
    (torn / "model.safetensors").write_bytes((torn / "model.safetensors").read_bytes()[:-100])
    serve(desk, question(torn, "torn"), question(models["one"], "whole"))
    assert "damaged" in outcomes(said)["torn"]["reason"]
    assert outcomes(said)["whole"]["type"] == "answer"


def test_a_tokenizer_that_makes_no_sense_is_a_plain_answer(desk, said, models, tmp_path):
    odd = shutil.copytree(models["one"], tmp_path / "odd")
    (odd / "tokenizer.json").write_text('{"version": "1.0", "model": {"type": "Unheard"}}')
    serve(desk, question(odd, "odd"), question(models["one"], "whole"))
    assert "tokenizer.json of this model cannot be read" in outcomes(said)["odd"]["reason"]
    assert outcomes(said)["whole"]["type"] == "answer"


def test_a_tokenizer_that_panics_over_a_text_costs_that_text_only(desk, said, models, tmp_path):
    odd = shutil.copytree(models["one"], tmp_path / "odd")
    tokenizer = json.loads((odd / "tokenizer.json").read_text())
    tokenizer["pre_tokenizer"] = {
        "type": "Split",
        "pattern": {"Regex": r"^(\w+\s?)*$"},
        "behavior": "Isolated",
        "invert": False,
    }
    (odd / "tokenizer.json").write_text(json.dumps(tokenizer))
    serve(desk, question(odd, "poison", "a" * 40 + "!"), question(odd, "good", "good"), question(models["one"], "whole"))
    assert "could not read this text" in outcomes(said)["poison"]["reason"]
    assert outcomes(said)["good"]["type"] == outcomes(said)["whole"]["type"] == "answer"


@pytest.mark.parametrize(
    "text", ["👩‍👩‍👧‍👦🏳️‍🌈" * 500, "\u202e\u0000\x1b[31m" * 500, "ﷺ" * 20_000, "很好" * 5000, "a" * 20_000, "\n" * 20_000]
)
def test_odd_texts_get_an_answer(desk, said, models, text):
    serve(desk, question(models["one"], text=text))
    assert outcomes(said)["1"]["type"] == "answer"


def test_a_text_that_breaks_the_pass_costs_its_neighbours_nothing(desk, said, models, monkeypatch):
    answer = TASKS["classification"].answer

    def fragile(model, tokenizer, labels, inputs, parameters):
        if any("poison" in row["text"] for row in inputs):
            raise BaseException("a panic in Rust is no Exception")
        return answer(model, tokenizer, labels, inputs, parameters)

    monkeypatch.setattr(TASKS["classification"], "answer", fragile)
    serve(desk, *(question(models["one"], text, text) for text in ("good", "poison", "bad")))
    assert outcomes(said)["poison"]["reason"].startswith("The model could not read this text")
    assert outcomes(said)["good"]["type"] == outcomes(said)["bad"]["type"] == "answer"


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"inputs": {"text": "x" * 20_001}}, "at most 20,000 characters"),
        ({"inputs": []}, "no text"),
        ({"inputs": [3]}, "not arrive in one piece"),
        ({"task": "juggling"}, "does not know the task"),
        ({"model": "/nowhere"}, "folder is gone"),
    ],
)
def test_what_cannot_be_answered_gets_a_reason(desk, said, models, change, reason):
    serve(desk, question(models["one"]) | change, question(models["one"], "after"))
    assert reason in outcomes(said)["1"]["reason"]
    assert outcomes(said)["after"]["type"] == "answer"


def test_a_cancelled_question_is_not_answered(desk, said, models):
    serve(desk, question(models["one"], "wanted"), question(models["one"], "unwanted"), {"cancel": "unwanted"})
    assert set(outcomes(said)) == {"wanted"}


def test_whoever_computes_for_long_says_that_it_is_alive_and_what_is_loaded(desk, models, said, monkeypatch):
    monkeypatch.setattr("worker.serving.desk.ALIVE_S", 0.05)
    answer = TASKS["classification"].answer
    monkeypatch.setattr(TASKS["classification"], "answer", lambda *asked: time.sleep(0.4) or answer(*asked))
    serve(desk, question(models["one"]), question(models["base"], "2", untuned=True))
    kinds = [message["type"] for message in said if message.get("id") == "1"]
    assert kinds.count("alive") >= 2 and kinds[-1] == "answer"
    loaded = [message["folders"] for message in said if message["type"] == "warm"]
    assert loaded[-1] == [str(models["one"])]


def test_whose_model_is_busy_is_said_before_it_computes_and_when_nothing_is_left(desk, models, said):
    serve(desk, question(models["one"]), question(models["two"], "2", labels=["yes", "no"]))
    busy = [message["model"] for message in said if message["type"] == "busy"]
    assert sorted(busy[:-1]) == [str(models["one"]), str(models["two"])] and busy[-1] == ""
    kinds = [message["type"] for message in said if message["type"] != "warm"]
    assert kinds == ["loading", "loading", "busy", "answer", "busy", "answer", "busy"]


def test_a_base_is_asked_with_what_the_tuned_model_knows(desk, models, said):
    facts = {"inputs": ["text", "pair"]}
    serve(desk, question(models["base"], untuned=True, facts=facts))
    assert outcomes(said)["1"]["type"] == "answer"
    assert desk.pool.warm[Key(str(models["base"]), "classification", True)].model.config.tunebench == facts


def test_long_texts_are_answered_a_few_at_a_time(desk, models, calls):
    serve(desk, question(models["one"], inputs=[{"text": "the battery died " * 1_000}] * 5))
    assert max(calls) <= 2 and sum(calls) == 5


def at_work(desk, folder, names):
    """(semaphore that counts answers, thread) of a desk that has answered the questions called `names` together and goes on."""
    answered = threading.Semaphore(0)
    desk.say = lambda message: answered.release() if message["type"] == "answer" else None
    for name in names:
        desk.hear(question(folder, name))
    work = threading.Thread(target=desk.work)
    work.start()
    for _name in names:
        assert answered.acquire(timeout=30)
    return answered, work


def test_who_were_answered_together_are_waited_for_a_moment(desk, models, calls, monkeypatch):
    """One after the other they ask again; the first of them does not get a pass of its own."""
    monkeypatch.setattr("worker.serving.desk.GATHER_S", 30.0)
    _answered, work = at_work(desk, models["one"], "abcd")
    for name in "efgh":
        desk.hear(question(models["one"], name))
        time.sleep(0.05)
    desk.close()
    work.join(30)
    assert calls == [4, 4]


def test_one_who_leaves_while_others_are_waited_for_ends_nothing(desk, models, monkeypatch):
    monkeypatch.setattr("worker.serving.desk.GATHER_S", 0.5)
    answered, work = at_work(desk, models["one"], "ab")
    desk.hear(question(models["one"], "c"))
    time.sleep(0.1)
    desk.hear({"cancel": "c"})
    time.sleep(0.8)
    desk.hear(question(models["one"], "d"))
    assert answered.acquire(timeout=10) and work.is_alive()
    desk.close()
    work.join(10)
    assert not work.is_alive()


def slow(words):
    """An answer that is written in one go, word by word."""

    def answer(model, tokenizer, labels, inputs, parameters):
        for _word in range(200):
            words.append(1)
            time.sleep(0.01)
            language.pause.get()()
        return [{"text": "done"}] * len(inputs)

    return answer


def test_an_answer_that_is_written_for_too_long_is_ended_and_costs_nobody_else_anything(desk, said, models, monkeypatch):
    monkeypatch.setattr("worker.serving.desk.WRITTEN_S", 0.1)
    monkeypatch.setattr(TASKS["summarization"], "open", TASKS["classification"].open)
    monkeypatch.setattr(TASKS["summarization"], "answer", slow(words := []))
    serve(desk, question(models["one"], "short"), question(models["one"], "long", task="summarization", inputs={"document": "it"}))
    assert outcomes(said)["short"]["type"] == "answer"
    assert "fewer beams" in outcomes(said)["long"]["reason"] and len(words) < 100


def test_what_took_too_long_together_is_answered_one_by_one(desk, said, models, monkeypatch):
    monkeypatch.setattr("worker.serving.desk.WRITTEN_S", 0.1)
    quick = lambda *asked: [{"text": "done"}]  # noqa: E731
    monkeypatch.setattr(TASKS["summarization"], "open", TASKS["classification"].open)
    monkeypatch.setattr(TASKS["summarization"], "answer", lambda *asked: quick(*asked) if len(asked[3]) == 1 else slow([])(*asked))
    serve(desk, *(question(models["one"], name, task="summarization", inputs={"document": "it"}) for name in "abc"))
    assert [outcomes(said)[name]["type"] for name in "abc"] == ["answer"] * 3


def test_an_answer_that_nobody_waits_for_is_not_written_to_its_end(desk, said, models, monkeypatch):
    monkeypatch.setattr(TASKS["summarization"], "open", TASKS["classification"].open)
    monkeypatch.setattr(TASKS["summarization"], "answer", slow(words := []))
    work = threading.Thread(target=serve, args=[desk, question(models["one"], "1", task="summarization", inputs={"document": "it"})])
    work.start()
    while len(words) < 3:
        time.sleep(0.01)
    desk.hear({"cancel": "1"})
    work.join(20)
    assert len(words) < 100 and not any(message["type"] == "answer" for message in said)


def test_the_character_nul_reaches_no_database(desk, said, models, monkeypatch):
    answer = {"text": "a\0b", "tokens": [{"text": "\0", "top": [["\0", 0.5]]}]}
    monkeypatch.setattr(TASKS["classification"], "answer", lambda *asked: [answer])
    serve(desk, question(models["one"]))
    assert outcomes(said)["1"]["answer"] == {"text": "a\ufffdb", "tokens": [{"text": "\ufffd", "top": [["\ufffd", 0.5]]}], "unknown": 0.0}


def test_one_who_asks_alone_does_not_wait_for_others(desk, models, calls, monkeypatch):
    monkeypatch.setattr("worker.serving.desk.GATHER_S", 30.0)
    serve(desk, question(models["one"], "a"))
    assert calls == [1]
    desk.is_closed = False
    began = time.monotonic()
    serve(desk, question(models["one"], "b"))
    assert time.monotonic() - began < 10


@pytest.mark.parametrize("problem", [MemoryError(), RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 GB")])
def test_a_text_for_which_memory_does_not_suffice_says_so(desk, said, models, monkeypatch, problem):
    def answer(*_):
        raise problem

    monkeypatch.setattr(TASKS["classification"], "answer", answer)
    serve(desk, question(models["one"]))
    assert outcomes(said)["1"]["reason"].startswith("Ran out of memory")


def test_the_serving_process_cannot_take_the_whole_memory():
    serving = process.Serving(lambda _message: None, 2**30, "cpu")
    limits = Path(f"/proc/{serving.process.pid}/limits")
    try:
        deadline = time.monotonic() + 30
        while "unlimited" in (line := next(line for line in limits.read_text().splitlines() if "data size" in line)):
            assert time.monotonic() < deadline
            time.sleep(0.05)
        assert int(line.split()[3]) == machine.serving_memory(2**30) <= machine.memory() * 3 // 4
    finally:
        serving.kill()
