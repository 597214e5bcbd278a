"""What is found in rows leads somewhere: to the rows themselves, to spellings that belong together, to what is left after joining."""

import polars as pl
import pytest

from tests.datasets.cast import dropped, labour, version_of
from webapp.datasets import rows
from webapp.datasets.forms import Mapping
from webapp.datasets.reading.findings import joins_of
from webapp.datasets.rows import Wanted, page_of
from webapp.people.access import actor_of

pytestmark = pytest.mark.django_db

TEXTS = ["one", "two", "one", "three", "two", "two", "four"]
SAID = ["positive", "neutral", "negative", "neutral", "neutral", "neutral", "neutral"]


@pytest.mark.parametrize(
    ("labels", "joins"),
    [
        ({"Billing": 47, "Biling": 4, "Shipping": 53, "Shiping": 4}, {"Biling": "Billing", "Shiping": "Shipping"}),
        ({"Account access": 69, "Acount acess": 2}, {"Acount acess": "Account access"}),
        ({"Returns": 60, "Retrun": 2, "Retruns": 2}, {"Retruns": "Returns"}),
        ({"Bug": 75, "Bugs": 1}, {"Bugs": "Bug"}),  # what most rows say
        ({"Billing": 47, "biling": 3, "Biling": 2}, {"biling": "Billing", "Biling": "Billing"}),
        ({"Livré": 40, "Livre": 2}, {"Livre": "Livré"}),
        ({"pos": 30, "positive": 40, "neg": 50, "negative": 20}, {"pos": "positive", "negative": "neg"}),
        ({"Sci/Tech": 40, "sci-tech": 30, "sci tech": 2}, {"sci-tech": "Sci/Tech", "sci tech": "Sci/Tech"}),
    ],
)
def test_slips_of_the_hand_are_proposed_to_be_joined(labels, joins):
    assert joins_of(labels) == joins


@pytest.mark.parametrize(
    "labels",
    [
        {"hypertension": 50, "hypotension": 3},
        {"class 1": 50, "class 2": 3},
        {"moral": 50, "immoral": 2},
        {"Male": 90, "Female": 9},
        {"Grade A": 50, "Grade B": 2},
        {"Section": 50, "Suction": 40},  # as many rows as a label of its own has
        {"type-100x": 50, "type-200x": 2},
        {"Toys": 50, "Toys, Games": 30},
        {"sci": 20, "sci/tech": 50},
        {"hate": 40, "hate speech": 5},
        {"C": 40, "C++": 30, "C#": 20, "C# (.NET)": 20},
        {"A": 40, "A-": 30, "A+": 20},
        {"cat": 40, "cats": 30},
        {"art": 50, "artist": 2},
    ],
)
def test_labels_that_differ_for_a_reason_are_left_alone(labels):
    assert joins_of(labels) == {}


def test_rows_that_contradict_each_other_stand_next_to_each_other(alice):
    version = version_of(alice, 7, text=pl.Series(TEXTS), label=pl.Series(SAID))
    assert [row["at"] for row in page_of(version, Wanted(show="conflicts")).rows] == [0, 2]
    assert [row["at"] for row in page_of(version, Wanted(show="duplicates")).rows] == [1, 4, 5]
    assert [row["at"] for row in page_of(version, Wanted(show="conflicts", label="negative")).rows] == [2]


@pytest.mark.parametrize("limit", [1, 3, 100])
def test_pages_of_duplicates_follow_each_other_without_gap_or_double(alice, limit, monkeypatch):
    monkeypatch.setattr(rows, "AT_ONCE", 7)
    version = version_of(alice, 120, text=pl.Series([f"text {at % 50}" for at in range(120)]), label=pl.lit("neutral"))
    found, after = [], -1
    while True:
        page = page_of(version, Wanted(show="duplicates"), after, limit)
        found += [row["at"] for row in page.rows]
        if page.next is None:
            break
        after = page.next
    assert found == sorted(range(120), key=lambda at: (at % 50, at))


def test_the_page_leads_from_a_number_to_its_rows_and_downloads_them(signed_in, alice):
    version = version_of(alice, 7, text=pl.Series(TEXTS), label=pl.Series(SAID))
    version.statistics = {"conflicts": 1, "duplicates": 2, "near_duplicates": 0}
    version.save()
    client, address = signed_in(alice), f"/datasets/{version.dataset_id}/versions/1/"
    assert f'{address}?show=conflicts">1</a>' in client.get(address).content.decode()
    page = client.get(f"{address}?show=conflicts")
    assert [row["row"] for row in page.context["rows"]] == [2, 4] and "same text, different labels" in page.content.decode()
    lines = b"".join(client.get(f"{address}rows.jsonl?show=conflicts")).decode().splitlines()
    assert len(lines) == 2
    assert client.get(f"{address}?show=nonsense").context["rows"].__len__() == 7


def test_findings_are_looked_for_anew_once_labels_are_joined(signed_in, alice):
    lines = [f"The order number {at} came late,{'late' if at % 2 else 'early'}" for at in range(40)]
    lines += ["Where is it,late", "Where is it,Late!"]
    dataset = dropped(alice, "\n".join(["text,label", *lines, ""]).encode())
    labour()
    dataset.refresh_from_db()
    reading = dataset.latest_import
    codes = {finding["code"] for finding in Mapping.of(reading).findings}
    assert {"label_variants", "conflicting_labels"} <= codes
    reading.confirm(actor_of(alice), reading.mapping, labels=reading.report["joins"], accept_rejected=True)
    labour()
    left = {finding["code"] for finding in Mapping.of(dataset.latest_import).findings}
    assert not {"label_variants", "conflicting_labels"} & left
    page = signed_in(alice).get(f"/datasets/{dataset.pk}/")
    assert {finding["code"] for finding in page.context["findings"]} == {"duplicates"}
    assert "?show=duplicates#rows" in page.content.decode()


def test_a_version_tells_how_many_labels_it_has_and_not_how_many_the_file_had(signed_in, alice):
    lines = [f"The order number {at} came,{('late', 'early', 'Late', '')[at % 4]}" for at in range(40)]
    dataset = dropped(alice, "\n".join(["text,label", *lines, ""]).encode())
    labour()
    reading = dataset.latest_import
    reading.confirm(actor_of(alice), reading.mapping, labels={"Late": "late"}, accept_rejected=True)
    labour()
    label = next(column for column in signed_in(alice).get(f"/datasets/{dataset.pk}/").context["columns"] if column["title"] == "Label")
    assert (label["known"]["distinct"], label["known"]["missing"]) == (2, 0)
