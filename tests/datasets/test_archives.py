"""An archive or workbook on its way to a version, as people at a browser see it."""

import io

import polars as pl

from tests.datasets.cast import dropped, labour, reviews
from tests.datasets.files import as_tar, book_of, zip_with


def zipped(members):
    data = io.BytesIO()
    zip_with(data, members)
    return data.getvalue()


def test_an_archive_of_parts_becomes_a_version_with_its_parts(alice):
    sides = {"train.csv": (60, b"wanted"), "dev.csv": (20, b"expected"), "test.csv": (30, b"hoped")}
    parts = {name: reviews(rows).replace(b"expected", word) for name, (rows, word) in sides.items()}
    dataset = dropped(alice, as_tar(parts), "reviews.tar")
    labour()
    version = dataset.latest_version
    assert version.splits == {"train": 60, "validation": 20, "test": 30} and version.rejected == 0
    rows = pl.read_parquet(version.path)
    assert rows.filter(pl.col("_split") == "validation")["text"][1] == "The screen number 1 is what I expected"


def test_a_folder_for_each_class_becomes_a_version(alice):
    texts = {f"{label}/{n}.txt": f"text number {n} of {label}" for n in range(30) for label in ("good", "bad")}
    dataset = dropped(alice, zipped(texts), "texts.zip")
    labour()
    assert dataset.latest_version.labels == [{"name": "bad", "rows": 30}, {"name": "good", "rows": 30}]


def test_a_person_is_asked_about_a_file_that_was_not_read_and_may_choose_it(alice, signed_in):
    dataset, client = (
        dropped(alice, zipped({"train.csv": reviews(60), "test.csv": reviews(20), "old.csv": reviews(40, "body,tone")}), "r.zip"),
        signed_in(alice),
    )
    labour()
    dataset.refresh_from_db()
    assert dataset.state == "needs_mapping" and "old.csv" in dataset.reason
    page = client.get(f"/datasets/{dataset.pk}/mapping/").content.decode()
    assert "r.zip: train.csv" in page and " selected" not in page.split('id="member"')[1].split("</select>")[0]
    assert client.post(f"/datasets/{dataset.pk}/readings/", {"member": "train.csv"}).status_code == 302
    labour()
    assert dataset.latest_version.rows == 60  # the part that was read as the first of several can be chosen alone
    page = client.get(f"/datasets/{dataset.pk}/mapping/").content.decode()
    assert "selected>train.csv</option>" in page


def test_sheets_that_were_joined_can_be_read_one_by_one(alice, signed_in, tmp_path):
    rows = [(f"text number {n} of the book", ("good", "bad")[n % 2]) for n in range(60)]
    book_of(tmp_path / "b.xlsx", {"May": [("text", "label"), *rows[:30]], "June": [("text", "label"), *rows[30:]]})
    dataset, client = dropped(alice, (tmp_path / "b.xlsx").read_bytes(), "b.xlsx"), signed_in(alice)
    labour()
    assert dataset.latest_version.rows == 60
    client.post(f"/datasets/{dataset.pk}/readings/", {"sheet": "June"})
    labour()
    assert dataset.latest_version.rows == 30
    client.post(f"/datasets/{dataset.pk}/readings/", {"sheet": "June", "encoding": ""})
    labour()
    assert dataset.imports.order_by("-pk").first().report["rows"] == 30  # what was chosen stays chosen
    client.post(f"/datasets/{dataset.pk}/readings/", {"sheet": ""})
    labour()
    assert dataset.imports.order_by("-pk").first().report["rows"] == 60
