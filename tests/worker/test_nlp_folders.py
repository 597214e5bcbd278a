"""Opening a model: what its files lack is never filled at random, and no configuration makes it take more than they hold."""

import json

import pytest
from safetensors.torch import load_file, save_file

from tests.worker import toys
from tests.worker.tiny import LABELS, tiny_base, tiny_classifier
from worker.nlp import TASKS, folders
from worker.nlp.recipe import read_settings
from worker.spec import Exit, Trouble

CLASSIFICATION, GENERATION = TASKS["classification"], TASKS["generation"]


@pytest.fixture
def folder(tmp_path):
    return tiny_classifier(tmp_path / "model")


def without(folder, ending):
    tensors = load_file(folder / "model.safetensors")
    kept = {name: values for name, values in tensors.items() if not name.endswith(ending)}
    assert len(kept) < len(tensors)
    save_file(kept, folder / "model.safetensors", metadata={"format": "pt"})


@pytest.mark.parametrize("name", ["classifier.weight", "intermediate.dense.weight", "LayerNorm.bias", "pooler.dense.weight"])
def test_weights_that_a_model_lacks_are_named_and_it_answers_nothing(folder, name):
    without(folder, name)
    with pytest.raises(Trouble, match=f"missing: .*{name}") as refused:
        CLASSIFICATION.open(str(folder))
    assert refused.value.status == Exit.USER_DATA


def test_weights_of_another_shape_are_named(folder):
    config = json.loads((folder / "config.json").read_text()) | {"intermediate_size": 60}
    (folder / "config.json").write_text(json.dumps(config))
    with pytest.raises(Trouble, match=r"another shape .*intermediate\.dense"):
        CLASSIFICATION.open(str(folder))


def load(base, task=CLASSIFICATION):
    settings = read_settings(task.settings, {"window": 32}, "full")
    return task.load(str(base), LABELS, settings, "full", {})


def test_a_base_gets_its_new_head_and_nothing_else(tmp_path):
    base = tiny_base(tmp_path / "base")
    load(base)
    without(base, "pooler.dense.weight")
    load(base)  # of a model that only filled gaps; the pooler is learnt with the head
    without(base, "value.weight")
    with pytest.raises(Trouble, match=r"missing: .*value\.weight"):
        load(base)


def test_a_base_that_had_other_labels_gets_a_new_head(tmp_path):
    load(tiny_classifier(tmp_path / "two", ["yes", "no"]))


@pytest.mark.parametrize("family", ["gpt2", "llama", "marian", "t5"])
def test_a_writer_that_is_whole_opens_and_one_without_its_words_does_not(tmp_path, family):
    base = toys.base_model(tmp_path / "base", family)
    GENERATION.open_base(str(base))
    tensors = load_file(base / "model.safetensors")
    words = next(name for name in tensors if name.endswith(("wte.weight", "embed_tokens.weight", "shared.weight")))
    save_file(
        {k: v for k, v in tensors.items() if k != words and "lm_head" not in k}, base / "model.safetensors", metadata={"format": "pt"}
    )
    with pytest.raises(Trouble, match="missing"):
        GENERATION.open_base(str(base))


@pytest.mark.parametrize("family", toys.CLASSIFIERS)
def test_every_family_is_a_base_and_opens_again_as_it_was_saved(tmp_path, family):
    model, tokenizer = load(toys.base_model(tmp_path / "base", family))
    model.save_pretrained(tmp_path / "made")
    tokenizer.save_pretrained(tmp_path / "made")
    CLASSIFICATION.open(str(tmp_path / "made"))


def test_what_a_configuration_promises_is_known_before_memory_is_taken(tmp_path):
    """Convolutions, relative positions: sizes that only the family itself knows."""
    base = toys.base_model(tmp_path / "base", "deberta-v2")
    config = json.loads((base / "config.json").read_text()) | {"max_relative_positions": 10**9, "position_buckets": -1}
    (base / "config.json").write_text(json.dumps(config))
    with pytest.raises(Trouble, match="much larger"):
        folders.open_model(base, "AutoModel")
