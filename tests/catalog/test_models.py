"""Models arrive, are listed, leave and come back, each for its own team."""

import json

import pytest
from django.urls import reverse

from tests.worker.tiny import LABELS, tiny_base, tiny_classifier
from webapp.catalog.models import ModelVersion
from webapp.people.access import Denied, actor_of
from worker.spec import SpecError


@pytest.fixture
def starter(db):
    return ModelVersion.objects.get(kind="starter")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tiny_classifier(tmp_path_factory.mktemp("trained") / "model")


@pytest.fixture
def model(team, alice, starter, folder):
    return ModelVersion.trained(team, alice, "reviews-1", folder, "classification", LABELS, starter, {"macro_f1": 0.753}, 1000, "ab" * 32)


def test_the_starter_is_there_once_however_often_it_is_registered(starter):
    ModelVersion.register_starters()
    ModelVersion.register_starters()
    assert ModelVersion.objects.filter(kind="starter").count() == 1
    assert (starter.name, starter.licence, starter.family, starter.team) == ("all-MiniLM-L6-v2", "apache-2.0", "bert", None)
    assert (starter.shape, starter.task, starter.facts()["learns"][0]) == ("encoder", "", "classification")
    assert starter.parameters == 22_713_728 and starter.path.is_dir() and not starter.is_answering


def test_what_a_run_made_inherits_and_answers(model, starter, folder, team, alice):
    assert (model.parent, model.licence, model.family) == (starter, "apache-2.0", "bert")
    assert model.is_answering and [example["text"] for example in model.examples] == ["it works well", "never again"]
    again = ModelVersion.trained(team, alice, "reviews-1", folder, "classification", LABELS, starter, {}, 1000, "ab" * 32)
    assert again == model


def test_everybody_sees_the_starter_and_only_the_team_its_model(signed_in, vera, charlie, model, starter):
    page = signed_in(vera).get(reverse("catalog:list")).content.decode()
    assert model.name in page and starter.name in page and "75.3" in page
    page = signed_in(charlie).get(reverse("catalog:list")).content.decode()
    assert model.name not in page and starter.name in page
    assert signed_in(charlie).get(reverse("catalog:page", args=[model.pk])).status_code == 404


def test_the_list_is_of_the_team_that_one_works_in_and_a_page_of_any_of_ones_teams(signed_in, bob, model, starter):
    client = signed_in(bob)
    client.post("/teams/", {"name": "Bob's other team"})
    page = client.get(reverse("catalog:list")).content.decode()
    assert model.name not in page and starter.name in page
    assert client.get(reverse("catalog:page", args=[model.pk])).status_code == 200
    client.post("/teams/choice/", {"team": str(model.team_id)})
    assert model.name in client.get(reverse("catalog:list")).content.decode()


def test_the_page_of_a_shared_base_does_not_tell_what_others_made_of_it(signed_in, alice, charlie, model, starter):
    address = reverse("catalog:page", args=[starter.pk])
    assert model.name in signed_in(alice).get(address).content.decode()
    assert model.name not in signed_in(charlie).get(address).content.decode()


def test_the_page_shows_labels_lineage_and_card_as_text(signed_in, alice, team, starter, tmp_path):
    labels = ["<script>alert(1)</script>", "plain"]
    folder = tiny_classifier(tmp_path / "hostile", labels)
    (folder / "README.md").write_text("<img src=x onerror=alert(1)>")
    model = ModelVersion.trained(team, alice, "<b>bold</b>", folder, "classification", labels, starter, {}, 1, "")
    page = signed_in(alice).get(reverse("catalog:page", args=[model.pk])).content.decode()
    assert "&lt;script&gt;alert(1)" in page and "&lt;img src=x" in page and "&lt;b&gt;bold" in page
    assert "<script>alert" not in page and "<img src=x" not in page
    assert reverse("catalog:page", args=[starter.pk]) in page


def test_a_deleted_model_can_be_brought_back(signed_in, bob, model):
    client = signed_in(bob)
    answer = client.post(reverse("catalog:deletion", args=[model.pk]), follow=True)
    assert "Undo" in answer.content.decode() and not ModelVersion.objects.present().filter(pk=model.pk).exists()
    assert client.post(reverse("catalog:deletion", args=[model.pk])).status_code == 404
    client.post(reverse("catalog:restoration", args=[model.pk]))
    assert ModelVersion.objects.present().filter(pk=model.pk).exists()


def test_vera_may_not_delete_and_nobody_the_starter(signed_in, vera, alice, model, starter):
    assert signed_in(vera).post(reverse("catalog:deletion", args=[model.pk])).status_code == 403
    assert signed_in(alice).post(reverse("catalog:deletion", args=[starter.pk])).status_code == 403
    assert ModelVersion.objects.present().count() == 2


def test_a_folder_is_added_only_where_an_administrator_allows_it(alice, settings, tmp_path):
    allowed, outside = tmp_path / "allowed", tmp_path / "allowed-not"
    inside = tiny_base(allowed / "base")
    tiny_base(outside / "base")
    settings.MODEL_DIRS = [allowed]
    actor = actor_of(alice)
    model = ModelVersion.add_folder(actor, str(inside))
    assert (model.name, model.family, model.team_id) == ("base", "bert", actor.team_id)
    assert ModelVersion.add_folder(actor, f"{allowed}/../allowed/base") == model
    (allowed / "link").symlink_to(outside / "base")
    (allowed / "files").mkdir()
    (allowed / "files" / "config.json").symlink_to(outside / "base" / "config.json")
    for path in (
        outside / "base",
        f"{allowed}/../allowed-not/base",
        allowed / "link",
        allowed / "files",
        "/etc",
        "",
        "a\0b",
        allowed / "none",
    ):
        with pytest.raises(SpecError, match="administrator"):
            ModelVersion.add_folder(actor, str(path))


@pytest.mark.parametrize("name", ["x" * 300, "x" * 5_000, "/".join(["deep"] * 200), "a\0b", "circle", "\udcff", "~", "."])
def test_no_name_of_a_folder_breaks_the_page(alice, signed_in, settings, tmp_path, name):
    allowed = tmp_path / "allowed"
    allowed.mkdir()
    (allowed / "circle").symlink_to(allowed / "circle")
    settings.MODEL_DIRS = [allowed]
    path = f"{allowed}/{name}"
    with pytest.raises(SpecError):
        ModelVersion.add_folder(actor_of(alice), path)
    if "\udcff" not in name:
        client = signed_in(alice)
        assert client.post("/models/", {"folder": path}).status_code < 500
        assert client.post("/api/v1/models", {"folder": path}, content_type="application/json").status_code == 422


def test_a_folder_that_is_no_model_is_refused_with_the_reason(alice, settings, tmp_path):
    settings.MODEL_DIRS = [tmp_path]
    base = tiny_base(tmp_path / "base")
    (base / "config.json").write_text(json.dumps({"model_type": "bert", "auto_map": {"AutoModel": "x.X"}}))
    with pytest.raises(SpecError, match="program code"):
        ModelVersion.add_folder(actor_of(alice), str(base))


def test_vera_may_add_nothing(vera):
    for add, name in ((ModelVersion.add_hub, "google-bert/bert-base-uncased"), (ModelVersion.add_folder, "/tmp")):
        with pytest.raises(Denied):
            add(actor_of(vera), name)


def test_a_wrong_hub_name_is_told_on_the_form(signed_in, alice):
    answer = signed_in(alice).post(reverse("catalog:list"), {"hub": "../../etc/passwd"})
    assert answer.status_code == 422 and "organisation/name" in answer.content.decode()


def test_the_empty_list_says_what_to_do(signed_in, charlie):
    page = signed_in(charlie).get(reverse("catalog:list")).content.decode()
    assert "No model of your own yet" in page and "/runs/new/" in page
