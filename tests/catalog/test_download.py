"""The download is a whole zip that no browser will run, made while it is sent."""

import io
import os
import zipfile

import pytest
from django.urls import reverse

from tests.worker.tiny import LABELS, tiny_classifier
from webapp.catalog.models import ModelVersion
from webapp.catalog.packing import PIECE, zipped
from worker.weights import look


@pytest.fixture
def model(team, alice, tmp_path):
    folder = tiny_classifier(tmp_path / "model")
    (folder / "optimizer.pt").write_bytes(b"not for others")
    secret = tmp_path / "secret.json"
    secret.write_text("{}")
    (folder / "link.json").symlink_to(secret)
    starter = ModelVersion.objects.get(kind="starter")
    name = 'Reviews "1"\r\nX-Evil: yes'
    return ModelVersion.trained(team, alice, name, folder, "classification", LABELS, starter, {}, 1000, "")


@pytest.mark.filterwarnings("ignore:StreamingHttpResponse must consume")
def test_the_zip_holds_weights_tokenizer_configuration_and_card(signed_in, vera, model, tmp_path):
    answer = signed_in(vera).get(reverse("catalog:download", args=[model.pk]))
    pack = zipfile.ZipFile(io.BytesIO(b"".join(answer)))
    assert pack.testzip() is None
    names = {"README.md", "config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json", "tunebench.json"}
    assert {name.split("/", 1)[1] for name in pack.namelist()} == names
    assert {entry.compress_type for entry in pack.infolist()} == {zipfile.ZIP_STORED}
    pack.extractall(tmp_path / "out")
    (top,) = (tmp_path / "out").iterdir()
    assert look(top).family == "bert"


def test_the_headers_forbid_a_browser_to_open_it(signed_in, vera, model):
    answer = signed_in(vera).get(reverse("catalog:download", args=[model.pk]))
    assert answer["Content-Disposition"] == 'attachment; filename="reviews-1-x-evil-yes.zip"'
    assert answer["X-Content-Type-Options"] == "nosniff" and answer["Content-Security-Policy"].startswith("sandbox")


def test_charlie_downloads_nothing(signed_in, charlie, model):
    assert signed_in(charlie).get(reverse("catalog:download", args=[model.pk])).status_code == 404


def test_a_large_file_is_never_held_whole(tmp_path):
    folder = tmp_path / "large"
    folder.mkdir()
    with (folder / "model.safetensors").open("wb") as file:
        file.truncate(40 * PIECE)
    pieces = [len(piece) for piece in zipped(folder, "large")]
    assert sum(pieces) > 40 * PIECE and max(pieces) < 2 * PIECE
    assert not [name for name in os.listdir(tmp_path) if name != "large"]
