"""The fast engine takes over only what it answers alike, and is told apart in the answer."""

import shutil
import threading
import time

import pytest
import torch
import transformers

from tests.worker.tiny import LABELS, tiny_classifier
from tests.worker.toys import classifier, config
from worker.nlp import TASKS
from worker.serving import engine
from worker.serving.pool import Pool
from worker.serving.questions import Key

IDS = torch.tensor([[2, 5, 6, 7, 8, 3], [2, 9, 3, 0, 0, 0]])
MASK = torch.tensor([[1, 1, 1, 1, 1, 1], [1, 1, 1, 0, 0, 0]])


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return str(tiny_classifier(tmp_path_factory.mktemp("models") / "one"))


@pytest.fixture
def logged(caplog):
    caplog.set_level("INFO")
    return lambda: caplog.text


@pytest.fixture
def opened():
    """opened(folder, wish): the pool and a key, once the engine of the model is settled; its thread is waited for."""

    def opened(folder, wish):
        pool = Pool(10**9, engine=wish)
        pool.imports()
        key = Key(folder, "classification", False)
        first = pool.get(key)
        assert first.engine == "torch", "the first answer does not wait"
        pool.get(key)
        deadline = time.monotonic() + 60
        while any(thread.name == f"hasten {folder}" for thread in threading.enumerate()):
            assert time.monotonic() < deadline
            time.sleep(0.02)
        return pool, pool.get(key)

    return opened


def asked(warm, texts):
    return warm.answer([{"text": text} for text in texts], LABELS, {}, False)


@torch.no_grad()
@pytest.mark.parametrize("family", sorted(engine.CONVERTERS))
def test_every_family_answers_as_before(family):
    model = classifier(family)
    fast = engine.with_encoder(model, engine.Encoder(model.base_model, "fp32", 1))
    before = model(input_ids=IDS, attention_mask=MASK).logits
    assert torch.allclose(fast(input_ids=IDS, attention_mask=MASK).logits, before, atol=1e-4)
    assert torch.equal(model(input_ids=IDS, attention_mask=MASK).logits, before), "the model itself stays what it was"
    assert fast.device.type == "cpu" and fast.config is model.config


@torch.no_grad()
def test_an_engine_that_leaves_padding_out_takes_mixed_lengths_together(folder, opened, monkeypatch):
    rows = [{"text": "good " * length} for length in (4, 5, 6, 7)]
    sizes = {}
    for wish in ("torch", "fp32"):
        _pool, warm = opened(folder, wish)
        calls, encoder = [], warm.model.base_model
        monkeypatch.setattr(
            encoder, "forward", lambda *a, _f=encoder.forward, _c=calls, **k: _c.append(len(a[0] if a else k["input_ids"])) or _f(*a, **k)
        )
        warm.answer(rows, LABELS, {}, False)
        sizes[wish] = calls
    assert sizes["fp32"] == [4] and len(sizes["torch"]) > 1 and sum(sizes["torch"]) == 4


@torch.no_grad()
def test_a_head_without_a_pooler_and_two_texts_work_too():
    torch.manual_seed(2)
    model = transformers.AutoModelForQuestionAnswering.from_config(config("bert")).eval()
    fast = engine.with_encoder(model, engine.Encoder(model.base_model, "fp32", 1))
    row = {"input_ids": IDS[:1], "attention_mask": MASK[:1], "token_type_ids": torch.tensor([[0, 0, 0, 1, 1, 1]])}
    assert torch.allclose(fast(**row).start_logits, model(**row).start_logits, atol=1e-4)


@pytest.mark.parametrize(
    ("wish", "names"), [("fp32", {"ctranslate2"}), ("int8", {"ctranslate2 int8", "ctranslate2"}), ("torch", {"torch"})]
)
def test_a_model_that_is_asked_twice_moves_to_the_engine_that_was_wished_for(opened, folder, wish, names, logged):
    texts = ["it works well", "never again " * 20, "good"]
    _pool, warm = opened(folder, wish)
    assert warm.engine in names
    slow = Pool(10**9, engine="torch").get(Key(folder, "classification", False))
    for one, other in zip(asked(warm, texts), asked(slow, texts), strict=True):
        assert one["label"] == other["label"]
        assert one["scores"] == pytest.approx(other["scores"], abs=0.1 if "int8" in warm.engine else 1e-4)
    assert "same answers on 50 of 50 checks" in logged() or wish == "torch"


def test_an_engine_that_answers_otherwise_is_not_taken(opened, folder, monkeypatch, logged):
    forward = engine.Encoder.forward

    def odd(self, *ids, **row):
        found = forward(self, *ids, **row)
        found.pooler_output = -found.pooler_output
        return found

    monkeypatch.setattr(engine.Encoder, "forward", odd)
    _, warm = opened(folder, "auto")
    assert warm.engine == "torch" and "not good enough" in logged()


def test_an_engine_that_breaks_costs_nothing(opened, folder, monkeypatch):
    monkeypatch.setattr(engine, "convert", lambda *_: 1 / 0)
    _, warm = opened(folder, "auto")
    assert warm.engine == "torch" and asked(warm, ["good"])


def test_checks_are_made_of_the_models_own_examples_and_of_many_lengths(folder, tmp_path):
    task = TASKS["classification"]
    rows = engine.checks(task, folder)
    assert len(rows) == engine.CHECKS and rows[0] == {"text": "it works well"}
    assert {len(row["text"].split()) for row in rows} >= {1, 2, 3, 55, 89}
    bare = shutil.copytree(folder, tmp_path / "bare")
    (bare / "tunebench.json").write_text("[]")
    assert len(engine.checks(task, str(bare))) == engine.CHECKS


def test_what_is_written_without_spaces_is_cut_between_its_signs():
    assert engine.pieces("今天天气很好我们出去走走吧") == list("今天天气很好我们出去走走吧")
    assert engine.pieces("it works well") == ["it", "works", "well"]
