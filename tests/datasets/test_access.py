"""Every page and every act of data, for everybody of the cast."""

import pytest
from django.urls import reverse

from tests.datasets.cast import dropped, labour, reviews, version_of
from webapp.datasets.models import Dataset

PAGES = ["show", "state"]
VERSION_PAGES = [("version", []), ("download", ["csv"]), ("download", ["jsonl"]), ("row", [0])]
ACTS = ["name", "files", "readings", "versions", "deletion"]


@pytest.fixture
def dataset(alice):
    dataset = version_of(alice, 30).dataset
    dataset.rename("Secret numbers")
    return dataset


def everywhere(dataset):
    yield from (("get", reverse(f"datasets:{name}", args=[dataset.pk])) for name in PAGES)
    yield from (("get", reverse(f"datasets:{name}", args=[dataset.pk, 1, *more])) for name, more in VERSION_PAGES)
    yield from (("post", reverse(f"datasets:{name}", args=[dataset.pk])) for name in ACTS)


def test_charlie_finds_nothing_of_alices_data(signed_in, charlie, dataset):
    client = signed_in(charlie)
    for method, url in everywhere(dataset):
        assert getattr(client, method)(url).status_code == 404, url
    assert client.post(reverse("datasets:restoration", args=[dataset.pk])).status_code == 404
    assert dataset.name not in client.get("/datasets/").content.decode()
    dataset.delete()
    assert dataset.name not in client.get(f"/datasets/?deleted={dataset.pk}").content.decode()


def test_nobody_sees_anything_without_signing_in(client, dataset):
    for method, url in [*everywhere(dataset), ("get", "/datasets/"), ("post", "/datasets/sample/")]:
        assert getattr(client, method)(url).status_code == 302, url


def test_vera_looks_but_changes_nothing(signed_in, vera, dataset):
    client = signed_in(vera)
    for method, url in everywhere(dataset):
        assert getattr(client, method)(url).status_code == (200 if method == "get" else 403), url
    assert client.post("/datasets/sample/").status_code == 403
    assert "owner" in client.post(reverse("datasets:deletion", args=[dataset.pk])).content.decode()
    page = client.get(f"/datasets/{dataset.pk}/").content.decode()
    assert "Fine-tune" not in page and "Rename" not in page
    assert "data-input" not in client.get("/datasets/").content.decode()
    dataset.refresh_from_db()
    assert dataset.deleted_at is None


def test_bob_renames_deletes_and_takes_it_back(signed_in, bob, dataset):
    client = signed_in(bob)
    client.post(reverse("datasets:name", args=[dataset.pk]), {"name": "  Better  "})
    assert Dataset.objects.get(pk=dataset.pk).name == "Better"
    client.post(reverse("datasets:name", args=[dataset.pk]), {"name": " "})
    assert Dataset.objects.get(pk=dataset.pk).name == "Better"
    gone = client.post(reverse("datasets:deletion", args=[dataset.pk]), follow=True)
    assert "Undo" in gone.content.decode()
    assert client.get(f"/datasets/{dataset.pk}/").status_code == 404
    client.post(reverse("datasets:restoration", args=[dataset.pk]))
    assert client.get(f"/datasets/{dataset.pk}/").status_code == 200


def test_the_sample_is_one_click(signed_in, bob):
    page = signed_in(bob).post("/datasets/sample/", follow=True)
    assert "Reading your file" in page.content.decode()
    labour()
    dataset = Dataset.objects.get()
    assert (dataset.state, dataset.latest_version.rows) == ("ready", 630)


def test_the_mapping_page_says_what_was_found_and_takes_answers(signed_in, bob):
    dataset = dropped(bob, reviews() + b",positive\n")
    labour()
    client = signed_in(bob)
    page = client.get(f"/datasets/{dataset.pk}/").content.decode()
    assert "Create version 1 (60 rows)" in page
    assert '<option value="label" selected>' in page
    wrong = client.post(reverse("datasets:versions", args=[dataset.pk]), {"role-0": "text"})
    assert wrong.status_code == 422 and "Choose the column" in wrong.content.decode()
    right = {"role-0": "text", "role-1": "label", "message": "the first", "accept_rejected": "on"}
    assert client.post(reverse("datasets:versions", args=[dataset.pk]), right).status_code == 302
    labour()
    dataset.refresh_from_db()
    assert (dataset.state, dataset.latest_version.message) == ("ready", "the first")
    again = client.get(reverse("datasets:mapping", args=[dataset.pk])).content.decode()
    assert "Create version 2" in again


def test_the_numbers_on_the_mapping_page_add_up_with_blank_rows_too(signed_in, bob):
    dataset = dropped(bob, reviews() + b",\n,\n,positive\n")
    labour()
    page = " ".join(signed_in(bob).get(f"/datasets/{dataset.pk}/").content.decode().split())
    for number, of in ((63, "rows in the file"), (60, "can be used"), (3, "cannot")):
        assert f'<b class="num">{number}</b> {of}' in page
    assert "Rows with nothing in any cell, left out: 2." in page and "Create version 1 (60 rows)" in page


def test_vera_sees_the_mapping_but_no_button(signed_in, vera, bob):
    dataset = dropped(bob, reviews() + b",positive\n")
    labour()
    page = signed_in(vera).get(f"/datasets/{dataset.pk}/").content.decode()
    assert "Create version" not in page


def test_a_failure_has_a_cause_and_offers_another_file(signed_in, bob):
    dataset = dropped(bob, b"")
    labour()
    page = signed_in(bob).get(f"/datasets/{dataset.pk}/").content.decode()
    dataset.refresh_from_db()
    assert dataset.reason and dataset.reason.split(".")[0].replace("'", "&#x27;") in page
    assert "Try another file" in page


@pytest.mark.parametrize("value", ["x", "", "00000000-0000-0000-0000-000000000000"])
def test_an_upload_that_is_none_makes_no_dataset(signed_in, bob, value):
    assert signed_in(bob).post("/datasets/", {"file": value}).status_code in (302, 404)
    assert not Dataset.objects.exists()
