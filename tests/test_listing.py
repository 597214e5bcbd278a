"""Every list can be searched, narrowed, sorted and paged, and its address says all of it."""

import re
import time

import pytest

from tests.runs import made
from webapp.catalog.models import ModelVersion
from webapp.datasets.models import Dataset
from webapp.runs.models import Run

pytestmark = pytest.mark.django_db


def names(answer):
    """The things of a list in their order, whichever list it is."""
    listing = answer.context["listing"]
    return [thing.name for thing in listing.page]


@pytest.fixture
def runs(team, alice):
    version, base = made.version(team, "Tickets"), made.base()
    for name, score in (("beta", 0.5), ("alpha", 0.9), ("gamma", None)):
        time.sleep(0.002)  # an id counts milliseconds
        run = made.run(team, alice, name=name, version=version, base=base, state="succeeded" if score else "failed")
        Run.objects.filter(pk=run.pk).update(metrics={"macro_f1": score} if score else {})
    return version


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ("", ["gamma", "alpha", "beta"]),
        ("?sort=oldest", ["beta", "alpha", "gamma"]),
        ("?sort=name", ["alpha", "beta", "gamma"]),
        ("?task=classification&sort=best", ["alpha", "beta", "gamma"]),
        ("?q=ALPH", ["alpha"]),
        ("?q=tickets+bet", ["beta"]),
        ("?q=nothing", []),
        ("?state=failed", ["gamma"]),
        ("?state=nonsense&sort=nonsense&task=nonsense&page=nonsense", ["gamma", "alpha", "beta"]),
        ("?q=%00", ["gamma", "alpha", "beta"]),
        ("?page=99999999999999999999", ["gamma", "alpha", "beta"]),
    ],
)
def test_runs_are_searched_narrowed_and_sorted_by_address(signed_in, alice, runs, query, found):
    assert names(signed_in(alice).get(f"/runs/{query}")) == found


def test_scores_are_an_order_within_one_task_only(signed_in, alice, runs):
    assert "Best Macro-F1 first" not in signed_in(alice).get("/runs/").content.decode()
    assert "Best Macro-F1 first" in signed_in(alice).get("/runs/?task=classification").content.decode()


def test_datasets_are_searched_narrowed_and_sorted_by_address(signed_in, alice, team):
    made.version(team, "few", rows=10)
    time.sleep(0.002)
    made.version(team, "many", rows=90)
    time.sleep(0.002)
    Dataset.objects.create(team=team, name="asks", state="needs_mapping", task="translation")
    client = signed_in(alice)
    assert names(client.get("/datasets/")) == ["asks", "many", "few"]
    assert names(client.get("/datasets/?sort=rows")) == ["many", "few", "asks"]
    assert names(client.get("/datasets/?state=needs_mapping")) == names(client.get("/datasets/?task=translation")) == ["asks"]
    empty = client.get("/datasets/?q=zzz").content.decode()
    assert "No dataset matches" in empty and "Show all datasets" in empty and "What a file for each task looks like" not in empty


def test_models_of_all_kinds_are_searched_together_and_stand_in_their_sections(signed_in, alice, team):
    base = made.base(name="tiny-bert", kind="hub", team=team)
    made.base(name="mine-bert", kind="run", team=team, task="classification", parent=base, folder="runs/x")
    client = signed_in(alice)
    answer = client.get("/models/?q=bert")
    assert [(str(title), [m.name for m in models]) for title, _about, models in answer.context["sections"]] == [
        ("Trained here", ["mine-bert"]),
        ("Base models", ["tiny-bert"]),
    ]
    assert names(client.get("/models/?q=bert&kind=base")) == ["tiny-bert"]
    assert names(client.get("/models/?q=bert&task=classification")) == ["mine-bert"]
    ModelVersion.objects.bulk_create(ModelVersion(name=f"bert {n:03}", kind="hub", team=team, folder="/x") for n in range(60))
    first = client.get("/models/?q=bert&sort=name")
    second = client.get(f"/models/{first.context['listing'].after}")
    assert len({*names(first), *names(second)}) == 62, "paging goes on to the last, and keeps search and order"


def test_a_filter_can_be_taken_away_and_the_rest_stays(signed_in, alice, runs):
    page = signed_in(alice).get("/runs/?q=a&state=done&sort=name").content.decode()
    chips = re.findall(r'<a class="chip on" href="([^"]+)"', page)
    assert chips == ["?state=done&amp;sort=name", "?q=a&amp;sort=name"]


@pytest.mark.parametrize("address", ["/runs/", "/datasets/", "/models/"])
def test_a_search_is_text_and_never_markup(signed_in, alice, runs, address):
    page = signed_in(alice).get(f"{address}?q=<script>x</script>").content.decode()
    assert "<script>x" not in page and "&lt;script&gt;x" in page


def test_charlie_searches_his_own_lists_only(signed_in, charlie, runs):
    assert names(signed_in(charlie).get("/runs/?q=alpha")) == []
