"""Arabic, Hebrew and Urdu texts read from right to left, wherever a page shows or takes them."""

import re
from html.parser import HTMLParser
from pathlib import Path

import pytest
from django.urls import reverse

from tests.datasets.cast import dropped, labour
from tests.runs import made
from webapp.catalog.models import ModelVersion
from webapp.datasets.models import Dataset
from webapp.people.access import actor_of
from webapp.playground.models import Prediction
from webapp.work.models import Worker

ROOT = Path(__file__).resolve().parent.parent
RIGHT_TO_LEFT = re.compile("[\u0590-\u08ff]")
VOID = {"area", "base", "br", "col", "embed", "hr", "img", "input", "link", "meta", "source", "track", "wbr"}
URDU, ARABIC, HEBREW = "یہ کتاب بہت اچھی ہے۔", "هذا كتاب جيد جدا.", "ספר טוב מאוד"
pytestmark = pytest.mark.django_db


class Directions(HTMLParser):
    """Finds the words of a page that no element around them lets run in their own direction."""

    def __init__(self):
        super().__init__()
        self.around, self.wrong, self.right = [], [], 0

    def handle_starttag(self, tag, attrs):
        values = dict(attrs)
        is_free = values.get("dir") == "auto" or tag == "bdi"
        written = values.get("value", "") if tag == "input" and values.get("type") != "hidden" else ""
        self.look(written or "", is_free)
        if tag not in VOID:
            self.around.append((tag, is_free or bool(self.around and self.around[-1][1])))

    def handle_endtag(self, tag):
        while self.around and self.around.pop()[0] != tag:
            pass

    def handle_data(self, data):
        if not {tag for tag, _is_free in self.around} & {"title", "script"}:
            self.look(data, bool(self.around and self.around[-1][1]))

    def look(self, words, is_free):
        if RIGHT_TO_LEFT.search(words):
            self.right += is_free
            if not is_free:
                self.wrong.append((words.strip(), [tag for tag, _is_free in self.around[-3:]]))


def assert_directions(client, address):
    answer = client.get(address)
    assert answer.status_code == 200
    page = Directions()
    page.feed(answer.content.decode())
    assert page.right and not page.wrong, (address, page.wrong)


@pytest.fixture
def read(bob):
    """A dataset of which everything is written from right to left: file, columns, texts, labels and name."""
    lines = [f"{URDU} {number},{ARABIC if number % 2 else HEBREW}" for number in range(60)]
    dataset = dropped(bob, "\n".join(["نص,تصنيف", *lines]).encode(), "ملف.csv")
    labour()
    dataset.refresh_from_db()
    Dataset.objects.filter(pk=dataset.pk).update(name=URDU)
    return dataset


def test_on_the_way_from_a_file_to_its_rows(signed_in, bob, read):
    client = signed_in(bob)
    assert_directions(client, "/datasets/")
    assert_directions(client, reverse("datasets:mapping", args=[read.pk]))
    client.post(
        reverse("datasets:versions", args=[read.pk]), {"task": "classification", "role-0": "text", "role-1": "label", "message": HEBREW}
    )
    labour()
    assert read.versions.get(number=2).message == HEBREW
    assert_directions(client, reverse("datasets:version", args=[read.pk, 2]))
    assert_directions(client, reverse("datasets:version", args=[read.pk, 2]) + f"?q={URDU[:4]}&label={ARABIC}")
    assert_directions(client, reverse("datasets:row", args=[read.pk, 2, 0]))


def test_in_runs_and_their_evaluations(signed_in, bob, team):
    made.worker()
    labels = [{"name": ARABIC, "rows": 500}, {"name": HEBREW, "rows": 500}]
    version = made.version(team, name=URDU, labels=labels)
    found = {**made.EVALUATION, "labels": [ARABIC, HEBREW], "per_class": [{**made.EVALUATION["per_class"][0], "label": ARABIC}]}
    base = made.base()
    classified = made.done(team, bob, name=URDU, version=version, base=base)
    sample = {"reference": HEBREW, "answer": ARABIC, "scores": {"chrf": 0.3}}
    samples = [{**sample, "inputs": {"source": source}} for source in (URDU, URDU * 30)]
    fields = {"name": URDU, "task": "translation", "base": base, "version": made.version(team, URDU, task="translation", labels=[])}
    written = made.run(team, bob, state="succeeded", metrics={"chrf": 0.3, "bleu": 0.1, "rows": 2}, **fields)
    type(classified).objects.filter(pk=classified.pk).update(evaluation=found)
    type(written).objects.filter(pk=written.pk).update(evaluation={"split": "test", "examples": [], "samples": samples})
    client = signed_in(bob)
    for address in ("/", "/runs/", f"/runs/new/?version={version.pk}", f"/runs/{classified.pk}/", f"/runs/{written.pk}/"):
        assert_directions(client, address)


def test_in_models_and_what_they_were_asked(signed_in, bob, team):
    Worker.register("serve", ["asked"])
    made_of = {"team": team, "folder": "/nowhere", "task": "classification", "labels": [ARABIC, HEBREW], "parent": made.base()}
    model = ModelVersion.objects.create(name=URDU, kind="run", **made_of)
    prediction = Prediction.ask(actor_of(bob), model, {"text": URDU})
    prediction.finish({"label": ARABIC, "scores": {ARABIC: 0.9, HEBREW: 0.1}, "cut": 0}, 3)
    client = signed_in(bob)
    for address in ("/models/", f"/models/{model.pk}/", f"/playground/?model={model.pk}", reverse("playground:history", args=[model.pk])):
        assert_directions(client, address)
    assert 'dir="auto"' in client.get(reverse("playground:prediction", args=[prediction.pk])).content.decode()


def test_every_place_where_people_write_or_read_a_text_takes_its_direction():
    pages = {path: path.read_text() for path in (ROOT / "templates").rglob("*.html")}
    places = r'<textarea\b[^>]*>|<[^>]*class="[^"]*\b(?:cell|said|written|passage|marks|readme)\b[^>]*>'
    found = [
        (path.name, place)
        for path, page in pages.items()
        if "allauth" not in path.parts
        for place in re.findall(places, re.sub(r"{%.*?%}|{{.*?}}", "", page))
    ]
    assert len(found) > 10 and not [each for each in found if 'dir="auto"' not in each[1]]
