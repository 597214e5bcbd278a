"""A folder of weights is looked at before any library opens it."""

import contextlib
import json
import shutil

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.worker.tiny import tiny_classifier
from webapp.catalog.starters import packaged
from worker.weights import Unusable, look


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    return tiny_classifier(tmp_path_factory.mktemp("models") / "whole")


@pytest.fixture
def folder(whole, tmp_path):
    return shutil.copytree(whole, tmp_path / "model")


def configure(folder, **values):
    path = folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | values))


def test_the_starter_is_a_whole_bert_of_22_million_weights():
    weights = look(packaged().folder)
    assert (weights.family, weights.parameters, weights.bytes) == ("bert", 22_713_728, 90_856_960)


def test_a_torn_weights_file_is_called_damaged(folder):
    weights = folder / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-7])
    with pytest.raises(Unusable, match="damaged or incomplete"):
        look(folder)


def test_bytes_behind_the_weights_are_refused(folder):
    with (folder / "model.safetensors").open("ab") as file:
        file.write(b"PK\x03\x04 something else")
    with pytest.raises(Unusable, match="damaged"):
        look(folder)


def test_a_header_that_claims_a_terabyte_is_refused(folder):
    (folder / "model.safetensors").write_bytes((10**12).to_bytes(8, "little") + b"{}")
    with pytest.raises(Unusable, match="damaged"):
        look(folder)


def test_pickle_weights_alone_are_refused_and_never_opened(folder):
    (folder / "model.safetensors").unlink()
    (folder / "pytorch_model.bin").write_bytes(b"cos\nsystem\n(S'touch /tmp/canary'\ntR.")
    with pytest.raises(Unusable, match="safetensors format"):
        look(folder)


def test_a_pickle_that_calls_itself_safetensors_is_refused(folder):
    (folder / "model.safetensors").write_bytes(b"cos\nsystem\n(S'touch /tmp/canary'\ntR." * 10)
    with pytest.raises(Unusable, match="damaged"):
        look(folder)


def test_a_model_that_brings_its_own_code_is_refused(folder):
    configure(folder, auto_map={"AutoModel": "modeling_evil.Evil"})
    with pytest.raises(Unusable, match="program code"):
        look(folder)


@pytest.mark.parametrize(
    "size",
    [
        {"hidden_size": 10**9},
        {"vocab_size": 2**31},
        {"intermediate_size": 10**10},
        {"num_hidden_layers": 10**9},
        {"max_position_embeddings": 12_000_000},
        {"type_vocab_size": 12_000_000},
        {"num_labels": 10**9},
        {"num_attention_heads": 10**6, "head_dim": 10**6},
        {"text_config": {"hidden_size": 10**9}},
    ],
)
def test_a_configuration_larger_than_its_weights_is_refused(folder, size):
    configure(folder, **size)
    with pytest.raises(Unusable, match="larger model"):
        look(folder)


@pytest.mark.parametrize(
    ("size", "sentence"),
    [
        ({"max_position_embeddings": 65}, "names 65 positions and the weights hold 64"),
        ({"type_vocab_size": 3}, "names 3 token types and the weights hold 2"),
        ({"vocab_size": 30}, "names 30 words and the weights hold 24"),
        ({"num_hidden_layers": 2}, "names 2 layers and the weights hold 1"),
    ],
)
def test_rows_and_layers_that_a_configuration_names_must_be_there(folder, size, sentence):
    configure(folder, **size)
    with pytest.raises(Unusable, match=sentence):
        look(folder)


def test_a_size_that_is_no_number_is_refused(folder):
    configure(folder, hidden_size="many")
    with pytest.raises(Unusable, match="whole number"):
        look(folder)


def test_a_folder_without_a_tokenizer_says_so(folder):
    (folder / "tokenizer.json").unlink()
    with pytest.raises(Unusable, match=r"tokenizer\.json"):
        look(folder)


@given(data=st.data())
@settings(max_examples=150, deadline=1000, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_changed_header_is_either_refused_or_still_whole(whole, tmp_path, data):
    original = (whole / "model.safetensors").read_bytes()
    length = int.from_bytes(original[:8], "little")
    place = data.draw(st.integers(0, length + 7))
    changed = original[:place] + bytes([data.draw(st.integers(0, 255))]) + original[place + 1 :]
    folder = tmp_path / "mutant"
    if not folder.exists():
        shutil.copytree(whole, folder)
    (folder / "model.safetensors").write_bytes(changed)
    with contextlib.suppress(Unusable):
        assert look(folder).bytes == len(original) - 8 - length
