"""What is read in another way through the API was seen by nobody yet: it is asked about as a new file is."""

import pytest

from tests.datasets.cast import dropped, labour, reviews
from tests.datasets.files import book_of, csv_text
from tests.datasets.files import reviews as rows_of
from webapp.datasets.models import Dataset
from webapp.people.access import actor_of

SHEETS = {"January": [("text", "label"), *rows_of(60)], "Notes": [("n", "to do", "who"), *((str(i), f"call {i}", "me") for i in range(9))]}


def again(alice, dataset, mapping=None, **options):
    dataset.latest_import.confirm(actor_of(alice), mapping, **options)
    labour()
    return Dataset.objects.get(pk=dataset.pk)


def dataset_of(alice, content, name="reviews.csv", **options):
    made = dropped(alice, content, name, **options)
    labour()
    return Dataset.objects.get(pk=made.pk)


@pytest.mark.django_db
def test_another_sheet_is_shown_before_it_becomes_a_version(alice, tmp_path):
    book_of(tmp_path / "two.xlsx", {**SHEETS, "Other": [("title", "body"), *((f"t{i % 3}", f"a body of {i}") for i in range(20))]})
    dataset = dataset_of(alice, (tmp_path / "two.xlsx").read_bytes(), "two.xlsx")
    assert dataset.state == "needs_mapping"
    dataset = again(alice, dataset, sheet="Other")
    assert dataset.latest_import.report["files"][0]["sheet"] == "Other"
    assert dataset.state == "needs_mapping" and not dataset.versions.exists()


@pytest.mark.django_db
def test_the_line_of_names_is_read_and_the_old_mapping_forgotten(alice):
    dataset = dataset_of(alice, reviews(), header_row=0)
    assert dataset.latest_import.mapping["text"] == "column_1"
    dataset = again(alice, dataset, header_row=1)
    assert (dataset.state, dataset.latest_import.mapping) == ("ready", {"text": "text", "label": "label"})


@pytest.mark.django_db
def test_a_mapping_sent_with_it_answers_for_columns_but_not_for_rows(alice):
    content = csv_text(rows_of(60)) + '"{""a"": 1}",positive\n'
    dataset = dataset_of(alice, content.replace(",", ";").encode(), delimiter=",")
    dataset = again(alice, dataset, {"text": "text", "label": "label"}, delimiter=";")
    assert {f["code"] for f in dataset.latest_import.questions} == {"records_as_text"}
    assert dataset.state == "needs_mapping" and not dataset.versions.exists()
    assert again(alice, dataset, delimiter=";").state == "ready"
