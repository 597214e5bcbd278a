"""Starters: small models of our own that come with the product, whole or as a difference to the base encoder."""

import json
import shutil

import pytest

from tests.worker.tiny import LABELS, tiny_base, tiny_classifier
from webapp.catalog import starters
from webapp.catalog.models import ModelVersion
from webapp.catalog.starters import Starter
from webapp.catalog.unpacking import DELTA, unpack
from webapp.people.access import actor_of
from webapp.runs.forms import bases_for
from webapp.runs.models import Run
from worker.weights import look

CARD = "# A tiny starter\n"


def made(folder, base, names=lambda name: name):
    """A starter in `folder`: a classifier as its difference to `base`. Gives the classifier whole, for comparison."""
    from safetensors.numpy import load_file, save_file

    whole = tiny_classifier(folder.parent.parent / "whole")
    tensors, before = load_file(whole / "model.safetensors"), load_file(base / "model.safetensors")
    delta = {}
    for name, tensor in tensors.items():
        inner = name.removeprefix("bert.")
        if inner not in before or tensor.ndim != 2:
            delta[names(name)] = tensor
        else:  # of full rank, so that nothing is lost
            import numpy as np

            u, s, v = np.linalg.svd((tensor - before[inner]).astype(np.float64), full_matrices=False)
            delta[f"{names(name)}.up"] = np.ascontiguousarray((u * s).astype(np.float32))
            delta[f"{names(name)}.down"] = np.ascontiguousarray(v.astype(np.float32))
    folder.mkdir(parents=True)
    save_file(delta, folder / DELTA)
    shutil.copy(whole / "config.json", folder)
    about = {"task": "classification", "labels": LABELS, "metrics": {"macro_f1": 0.8}, "examples": [{"text": "it works well"}]}
    about |= {"title": "Tiny sentiment", "licence": "cc-by-sa-4.0", "languages": ["en", "zh"]}
    (folder / "tunebench.json").write_text(json.dumps(about))
    (folder / "window.json").write_text('{"model_max_length": 48}')
    (folder / "README.md").write_text(CARD)
    return whole


def logits(folder):
    import torch
    from transformers import AutoTokenizer, BertForSequenceClassification

    model = BertForSequenceClassification.from_pretrained(folder, dtype=torch.float32).eval()
    with torch.inference_mode():
        return model(**AutoTokenizer.from_pretrained(folder)("the battery died after a week", return_tensors="pt")).logits


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    return tiny_base(tmp_path_factory.mktemp("base") / "model")


@pytest.fixture
def shipped(base, settings, tmp_path, monkeypatch):
    """A product that carries one base and one starter; gives the starter's folder."""
    settings.FILES, settings.STARTERS = tmp_path / "files", tmp_path / "starters"
    monkeypatch.setattr(starters, "packaged", lambda: Starter("tiny", "tiny/base", base, "apache-2.0", ("en",)))
    made(settings.STARTERS / "sentiment", base)
    return settings.STARTERS / "sentiment"


@pytest.mark.parametrize("names", [lambda name: name, lambda name: name.removeprefix("bert.")], ids=["of the model", "of the base"])
def test_a_difference_becomes_the_model_that_it_was_taken_from(base, tmp_path, names):
    import torch

    whole = made(tmp_path / "starters" / "sentiment", base, names)
    unpack(tmp_path / "starters" / "sentiment", base, tmp_path / "files" / "sentiment-1")
    found = tmp_path / "files" / "sentiment-1"
    assert torch.allclose(logits(found), logits(whole), atol=0.02)
    assert look(found).bytes <= look(whole).bytes // 2 + 1000, "half precision"
    assert json.loads((found / "tokenizer_config.json").read_text())["model_max_length"] == 48
    assert not list(found.parent.glob(".tmp*")) and not (found / DELTA).exists()


@pytest.mark.django_db
def test_a_starter_is_a_model_like_any_other_with_its_base_as_parent(shipped, alice):
    ModelVersion.register_starters()
    model = ModelVersion.objects.get(source="starters/sentiment")
    assert (model.task, model.labels, model.metrics, model.shape) == ("classification", LABELS, {"macro_f1": 0.8}, "encoder")
    assert model.name == "Tiny sentiment"
    assert (model.licence, model.languages, model.parent.source, model.team) == ("cc-by-sa-4.0", ["en", "zh"], "tiny/base", None)
    assert model.is_answering and model.is_trainable and model.examples == [{"text": "it works well"}]
    assert model.folder.startswith("starters/sentiment-") and (model.path / "tokenizer.json").is_file()
    assert model in bases_for(actor_of(alice), "classification")


@pytest.mark.django_db
def test_it_is_unpacked_once_and_anew_when_it_changed(shipped):
    ModelVersion.register_starters()
    first = ModelVersion.objects.get(source="starters/sentiment").path
    stamp = (first / "model.safetensors").stat().st_mtime_ns
    ModelVersion.register_starters()
    assert (first / "model.safetensors").stat().st_mtime_ns == stamp
    (shipped / "README.md").write_text(CARD + "Better now.\n")
    ModelVersion.register_starters()
    second = ModelVersion.objects.get(source="starters/sentiment")
    assert second.path != first and not first.exists() and "Better now" in second.card


@pytest.mark.django_db
def test_a_whole_starter_stays_where_it_is_and_a_torn_one_is_left_out(shipped, settings):
    shutil.copytree(tiny_classifier(settings.FILES / "made"), settings.STARTERS / "whole")
    (settings.STARTERS / "torn").mkdir()
    (settings.STARTERS / "torn" / "tunebench.json").write_text("{")
    (shipped / DELTA).write_bytes(b"torn")
    ModelVersion.register_starters()
    assert ModelVersion.objects.get(source="starters/whole").path == settings.STARTERS / "whole"
    assert not ModelVersion.objects.filter(source__in=["starters/torn", "starters/sentiment"]).exists()


@pytest.mark.django_db
def test_a_starter_that_the_product_no_longer_carries_leaves_the_lists(shipped):
    ModelVersion.register_starters()
    shutil.rmtree(shipped)
    ModelVersion.register_starters()
    assert not ModelVersion.objects.present().filter(source="starters/sentiment").exists()
    assert ModelVersion.objects.present().filter(source="tiny/base").exists()


@pytest.mark.django_db
def test_a_run_goes_on_from_a_starter(shipped, alice, team):
    from tests.runs import made as rows

    ModelVersion.register_starters()
    run = Run.submit(actor_of(alice), rows.version(team), ModelVersion.objects.get(source="starters/sentiment"), "quick", {})
    assert run.base.source == "starters/sentiment"
