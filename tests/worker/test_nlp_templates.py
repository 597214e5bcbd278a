"""A chat template is a stranger's program: it lays out a chat within bounds of time and memory, or is refused by name."""

import json
import resource
import time

import polars as pl
import pytest

from tests.worker import toys
from tests.worker.test_serving_desk import outcomes, question, serve
from tests.worker.tiny import tiny_classifier
from worker.nlp import TASKS, templates
from worker.nlp.recipe import read_settings
from worker.serving.desk import Desk
from worker.serving.pool import Pool
from worker.spec import Exit, Trouble

GENERATION = TASKS["generation"]
LAID = "{{ bos_token }}{% for m in messages %}{{ m.role }} {{ m.content }} {% endfor %}{% if add_generation_prompt %}they {% endif %}"
HOSTILE = {
    "loops": "{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}",
    "writes gigabytes": "{% set ns = namespace(t='good ' * 1000) %}{% for a in range(30) %}{% set ns.t = ns.t ~ ns.t %}{% endfor %}{{ ns.t }}",
    "multiplies": "{{ 'a' * 2000000000 }}",
    "counts": "{{ 9 ** (9 ** 9) }}",
    "hoards": "{% set ns = namespace(t=[]) %}{% for a in range(99999) %}{% set ns.t = ns.t + ['a' * 1000000] %}{% endfor %}",
}


@pytest.fixture(scope="module")
def decoder(tmp_path_factory):
    settings = read_settings(GENERATION.settings, {"window": 32}, "full")
    model, tokenizer = GENERATION.load(str(toys.base_model(tmp_path_factory.mktemp("base"), "llama")), (), settings, "full", {})
    model.config.tunebench = {"instruct": True}
    yield model.eval(), tokenizer, settings
    templates._renderer.close()


@pytest.fixture
def tokenizer(decoder):
    yield decoder[1]
    decoder[1].chat_template = None


CHAT = [{"role": "user", "content": "was it good"}, {"role": "assistant", "content": "very"}, {"role": "user", "content": "again"}]


@pytest.mark.parametrize("asks", [True, False])
def test_a_chat_is_laid_out_as_transformers_does(tokenizer, asks):
    tokenizer.chat_template = LAID
    as_ever = tokenizer.apply_chat_template(CHAT, tokenize=True, return_dict=False, add_generation_prompt=asks)
    assert templates.ids(tokenizer, CHAT, asks) == as_ever and len(as_ever) >= 8


@pytest.mark.parametrize("name", HOSTILE)
def test_a_template_that_breaks_its_bounds_is_refused_in_seconds_and_then_at_once(tokenizer, name):
    tokenizer.chat_template = LAID
    templates.ids(tokenizer, CHAT, True)
    before, began = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.monotonic()
    tokenizer.chat_template = HOSTILE[name]
    with pytest.raises(Trouble, match="chat template") as refused:
        templates.ids(tokenizer, CHAT, True)
    assert refused.value.status == Exit.USER_DATA and "another model" in refused.value.remedy
    assert time.monotonic() - began < templates.WALL_S + 2
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 100_000  # kilobytes, of ours
    began = time.monotonic()
    with pytest.raises(Trouble):
        templates.ids(tokenizer, CHAT, True)
    assert time.monotonic() - began < 0.1
    tokenizer.chat_template = LAID
    assert templates.ids(tokenizer, CHAT, True)


def test_a_template_reaches_nothing_outside(tokenizer):
    from jinja2 import TemplateError

    tokenizer.chat_template = "{{ ''.__class__.__mro__[1].__subclasses__() }}"
    with pytest.raises(TemplateError, match="Security"):
        templates.ids(tokenizer, CHAT, True)


def test_a_run_with_such_a_base_ends_with_the_cause_and_is_not_tried_again(decoder, tokenizer):
    tokenizer.chat_template = HOSTILE["loops"] + " "
    model, _tokenizer, settings = decoder
    with pytest.raises(Trouble, match="does not come to an end") as refused:
        GENERATION.encode(pl.DataFrame({"text": [json.dumps(CHAT)]}), model, tokenizer, (), settings)
    assert refused.value.status == Exit.USER_DATA


def test_a_neighbour_is_answered_within_seconds_while_a_template_loops(tmp_path):
    base = toys.base_model(tmp_path / "loops", "llama")
    (base / "chat_template.jinja").write_text(HOSTILE["loops"] + "{# mine #}")
    one, said = tiny_classifier(tmp_path / "one"), []
    pool = Pool(10**9)
    pool.imports()
    desk = Desk(pool, lambda message: said.append(message | {"at": time.monotonic()}))
    began = time.monotonic()
    asked = {"model": str(base), "task": "generation", "inputs": {"prompt": "good"}}
    serve(desk, *({"id": f"loop {number}", **asked} for number in range(5)), question(one, "neighbour"))
    ends = outcomes(said)
    assert ends["neighbour"]["type"] == "answer" and ends["neighbour"]["at"] - began < 12
    for number in range(5):
        assert ends[f"loop {number}"]["type"] == "failed" and "chat template" in ends[f"loop {number}"]["reason"]
    assert max(end["at"] for end in ends.values()) - began < 15
