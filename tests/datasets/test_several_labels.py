"""Rows with several labels: never turned into classes that nobody means, in whatever notation they come."""

import io
import itertools
import json

import polars as pl
import pytest

from tests.datasets.cast import dropped, labour
from tests.datasets.files import codes, publishing, reading, reviews
from webapp.datasets.reading import ReadingError
from webapp.people.access import actor_of
from webapp.people.models import ApiToken

TEXTS = [text for text, _ in reviews(40)]
LABELS = [["positive", "delivery"] if i % 4 == 0 else ["negative"] if i % 2 else ["positive"] for i in range(40)]
EXPLODED = [(text, label) for text, labels in zip(TEXTS, LABELS, strict=True) for label in labels]
FIRST = [(text, labels[0]) for text, labels in zip(TEXTS, LABELS, strict=True)]
COUNTS = {"negative": 20, "positive": 20, "delivery": 10}


def joined(sign, quote='"'):
    rows = (f"{quote}{text.replace(',', '')}{quote},{quote}{sign.join(labels)}{quote}" for text, labels in zip(TEXTS, LABELS, strict=True))
    return ("text,label\n" + "\n".join(rows) + "\n").encode()


def cells(notation):
    quoted = (notation(labels).replace('"', '""') for labels in LABELS)
    return ("text,label\n" + "".join(f'"{text}","{cell}"\n' for text, cell in zip(TEXTS, quoted, strict=True))).encode()


def records(**more):
    return [{"text": text, "label": labels} for text, labels in zip(TEXTS, LABELS, strict=True)]


def parquet():
    data = io.BytesIO()
    pl.DataFrame(records()).write_parquet(data)
    return data.getvalue()


NOTATIONS = {
    "json lines": "\n".join(map(json.dumps, records())).encode(),
    "one json document": json.dumps(records()).encode(),
    "parquet": parquet(),
    "json in a cell": cells(lambda labels: json.dumps(labels) if len(labels) > 1 else labels[0]),
    "only json in cells": cells(json.dumps),
    "python in a cell": cells(str),
    "numpy in a cell": cells(lambda labels: str(labels).replace("', '", "' '")),
    "choices in a cell": cells(lambda labels: json.dumps({"choices": labels}) if len(labels) > 1 else labels[0]),
    "a comma between": joined(", "),
    "a semicolon between": joined(";"),
    "a bar between": joined("|"),
    "a hash between, as doccano has it": joined("#"),
    "fasttext": "".join(
        "".join(f"__label__{label} " for label in labels) + text + "\n" for text, labels in zip(TEXTS, LABELS, strict=True)
    ).encode(),
    "columns of 0 and 1": (
        "text,positive,negative,delivery\n"
        + "".join(
            f'"{text}",' + ",".join(str(int(name in labels)) for name in ("positive", "negative", "delivery")) + "\n"
            for text, labels in zip(TEXTS, LABELS, strict=True)
        )
    ).encode(),
}


@pytest.fixture
def read(tmp_path):
    def read_content(content, task="classification", **options):
        path = tmp_path / "rows"
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return reading(path, tmp_path / "out", task=task, **options)

    return read_content


def bare(text):
    return text.replace(",", "")


def published(report, out, **changes):
    made = publishing(report, out, **changes)
    frame = pl.read_parquet(made["path"]).sort("_row", maintain_order=True)
    return made, [(bare(text), label) for text, label in frame.select("text", "label").rows()]


@pytest.mark.parametrize("kind", NOTATIONS)
def test_several_labels_are_asked_about_and_become_what_was_chosen(read, tmp_path, kind):
    report = read(NOTATIONS[kind])
    asked = next(finding for finding in report["findings"] if finding["code"] == "several_labels")
    assert not report["plain"] and asked["asks"] == "several_labels" and asked["count"] == 10
    assert "several labels in a cell" in asked["message"]
    assert {label["name"]: label["rows"] for label in report["labels"]} == COUNTS  # the same names, however they were written
    assert report["several"]["gives"]["explode"] == {"rows": 50, "labels": 3}
    assert report["several"]["gives"]["first"] == {"rows": 40, "labels": 2}
    with pytest.raises(ReadingError, match="several labels in a cell"):
        publishing(report, tmp_path / "not decided")
    for how, rows in (("explode", EXPLODED), ("first", FIRST)):
        decided = read(NOTATIONS[kind], several_labels=how)
        assert not any(finding["asks"] == "several_labels" for finding in decided["findings"])
        assert "conflicting_labels" not in codes(decided)
        made, got = published(decided, tmp_path / how, several_labels=how)
        assert sorted(got) == sorted((bare(text), label) for text, label in rows) and made["rejected"] == 0


def test_the_order_of_a_version_of_exploded_rows_is_that_of_the_file(read, tmp_path):
    report = read(NOTATIONS["json lines"], several_labels="explode")
    made, got = published(report, tmp_path / "version", several_labels="explode")
    assert got == [(bare(text), label) for text, label in EXPLODED]
    assert made["sha256"] == publishing(report, tmp_path / "again", several_labels="explode")["sha256"]
    frame = pl.read_parquet(made["path"])
    assert frame.group_by("text").agg(pl.col("_split").n_unique())["_split"].max() == 1  # no text on both sides


def test_a_comma_in_a_name_does_not_make_several_labels(read):
    names = ["Sport, Games", "Politics/World", "Home & Garden", "C#", "[unclear]", "a|b"]
    report = read("text,label\n" + "".join(f'"{text}","{names[i % 6]}"\n' for i, text in enumerate(TEXTS)))
    assert report["plain"] and {label["name"] for label in report["labels"]} == set(names) and report["several"] == {}


@pytest.mark.parametrize("numbers", [("3,5", "4,0", "4,5"), ("-0,5", "+0,5", "1"), ("4,5", "5,4", "5", "4")])
def test_numbers_with_a_decimal_comma_are_one_label_each(read, numbers):
    report = read("text,label\n" + "".join(f'"{text}","{numbers[i % len(numbers)]}"\n' for i, text in enumerate(TEXTS)))
    assert {label["name"] for label in report["labels"]} == {*numbers} and report["several"] == {}


def test_numbers_as_labels_with_a_comma_between_are_several(read):
    numbers = ("1,2", "2", "1,2,3", "3,1")
    report = read("text,label\n" + "".join(f'"{text}","{numbers[i % 4]}"\n' for i, text in enumerate(TEXTS)))
    assert report["several"]["gives"]["explode"]["labels"] == 3


def test_thousands_of_different_sets_of_labels_are_several_labels_too(read):
    sets = list(itertools.islice(itertools.combinations([f"tag {n}" for n in range(40)], 3), 6_000))
    report = read("text,label\n" + "".join(f'"Text number {i} says this",{";".join(each)}\n' for i, each in enumerate(sets)))
    assert report["several"]["rows"] == 6_000 and report["several"]["gives"]["explode"]["rows"] == 18_000
    assert "several_labels" in codes(report)


def test_each_cell_can_be_one_name_where_a_sign_stands_between(read, tmp_path):
    report = read(NOTATIONS["a comma between"], several_labels="whole")
    assert {label["name"] for label in report["labels"]} == {"positive, delivery", "negative", "positive"}
    _, got = published(report, tmp_path / "version", several_labels="whole")
    assert ("positive, delivery") in {label for _, label in got}
    with pytest.raises(ReadingError, match="several labels"):  # a list is no name
        publishing(read(NOTATIONS["json lines"]), tmp_path / "version", several_labels="whole")


def test_waiting_holds_the_version_back(read, tmp_path):
    report = read(NOTATIONS["json lines"], several_labels="wait")
    assert next(f["level"] for f in report["findings"] if f["code"] == "several_labels") == "error"
    with pytest.raises(ReadingError, match="wait"):
        publishing(report, tmp_path / "version", several_labels="wait")


def test_a_list_of_one_label_is_that_label_and_an_empty_one_is_none(read, tmp_path):
    rows = [{"text": text, "label": [label]} for text, label in reviews(40)]
    report = read("\n".join(map(json.dumps, rows)))
    assert report["plain"] and {label["name"] for label in report["labels"]} == {"negative", "neutral", "positive"}
    rows[3]["label"] = []
    report = read("\n".join(map(json.dumps, rows)))
    assert {label["name"] for label in report["labels"]} == {"negative", "neutral", "positive", ""} and report["several"] == {}
    assert "missing_label" in codes(report) and not report["plain"]
    made, _ = published(report, tmp_path / "version")
    assert (made["rows"], made["rejected"]) == (39, 1)


def test_a_pair_of_labels_in_every_row_is_several_labels_too(read):
    rows = [{"text": text, "labels": ["warm", "cold"][:: 1 - 2 * (i % 2)]} for i, text in enumerate(TEXTS)]
    report = read("\n".join(map(json.dumps, rows)))
    assert report["mapping"]["label"] == "labels" and report["several"]["rows"] == 40


def test_records_are_no_labels(read, tmp_path):
    rows = [{"text": text, "note": "ab"[i % 2], "label": [{"name": "a", "by": i}]} for i, text in enumerate(TEXTS)]
    report = read("\n".join(map(json.dumps, rows)))
    with pytest.raises(ReadingError, match="records, not labels"):
        publishing(report, tmp_path / "version", mapping={"text": "text", "label": "label"}, several_labels="explode")


# --- Columns of 0 and 1 ---------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(("yes", "no"), [("1", "0"), ("1.0", "0.0"), ("True", "False"), ("x", "")])
def test_columns_of_which_one_is_1_become_one_column_of_labels(read, tmp_path, yes, no):
    rows = reviews(40)
    names = ["negative", "neutral", "positive"]
    lines = (f'"{text}",' + ",".join(yes if name == label else no for name in names) for text, label in rows)
    report = read("comment," + ",".join(names) + "\n" + "\n".join(lines) + "\n")
    if yes == "x":
        assert "classes_beside" not in codes(report)
        return
    assert report["mapping"] == {"text": "comment", "label": "label"} and report["plain"]
    assert "classes_beside" in codes(report)
    made, got = published(report, tmp_path / "version")
    assert got == [(bare(text), label) for text, label in rows]
    assert set(pl.read_parquet(made["path"]).columns) >= {f"x_{name}" for name in names}


@pytest.mark.parametrize(
    ("header", "beside"),
    [
        ("weekday,weekend,score", lambda i: i % 5 + 1),
        ("verified,unverified,price", lambda i: i * 1.5),
        ("a,b,c,score", lambda i: f"0,{i % 5}"),
    ],
)
def test_columns_of_0_and_1_beside_what_may_be_the_label_are_asked_about(read, header, beside):
    lines = (f'"{text}",{i % 2},{1 - i % 2},{beside(i)}\n' for i, text in enumerate(TEXTS))
    report = read((f"text,{header}\n" + "".join(lines)).encode())
    assert next(f["asks"] for f in report["findings"] if f["code"] == "classes_beside") == "mapping"


def test_columns_of_0_and_1_beside_a_label_stay_as_they_are(read):
    lines = (f'"{text}",{label},{i % 2},{1 - i % 2}' for i, (text, label) in enumerate(reviews(40)))
    report = read("text,label,seen,new\n" + "\n".join(lines) + "\n")
    assert report["mapping"]["label"] == "label" and "classes_beside" not in codes(report)


def test_a_second_file_gets_the_same_column_of_labels(tmp_path):
    for name in ("train", "test"):
        rows = (f'"{name} {text}",{i % 2},{1 - i % 2}\n' for i, (text, _) in enumerate(reviews(30)))
        (tmp_path / f"{name}.csv").write_text("text,ham,spam\n" + "".join(rows))
    report = reading({name: tmp_path / f"{name}.csv" for name in ("train", "test")}, tmp_path / "out")
    made, got = published(report, tmp_path / "version")
    assert {label["name"]: label["rows"] for label in made["labels"]} == {"ham": 30, "spam": 30} and len(got) == 60


# --- Verbs, page and API --------------------------------------------------------------------------------------------------
def asked_about(user, **options):
    dataset = dropped(user, NOTATIONS["json lines"], "tagged.jsonl", **options)
    labour()
    dataset.refresh_from_db()
    return dataset


def test_the_upload_may_bring_the_answer(alice):
    dataset = asked_about(alice, several_labels="first")
    assert (dataset.state, dataset.latest_version.rows) == ("ready", 40)
    dataset = asked_about(alice, several_labels="wait")
    assert dataset.state == "needs_mapping" and "wait" in dataset.reason


def test_confirming_without_an_answer_makes_no_version(alice):
    dataset = asked_about(alice)
    assert dataset.state == "needs_mapping" and "several labels" in dataset.reason
    reading = dataset.latest_import
    reading.confirm(actor_of(alice), reading.mapping, accept_rejected=True)
    labour()
    dataset.refresh_from_db()
    assert dataset.state == "needs_mapping" and "several labels" in dataset.reason and not dataset.versions.exists()


def test_the_page_tells_what_each_choice_gives_and_takes_one(alice, signed_in):
    dataset, browser = asked_about(alice), signed_in(alice)
    page = browser.get(f"/datasets/{dataset.pk}/").content.decode()
    assert "Several labels in a row" in page and "50 rows, 3 classes" in page and "40 rows, 2 classes" in page
    assert 'value="explode" required' in page and 'value="whole"' not in page
    roles = {f"role-{i}": role for i, role in enumerate(("text", "label"))}
    answer = browser.post(f"/datasets/{dataset.pk}/versions/", {**roles, "several_labels": "explode"})
    assert answer.status_code == 302
    labour()
    dataset.refresh_from_db()
    assert dataset.state == "ready"
    assert {label["name"]: label["rows"] for label in dataset.latest_version.labels} == COUNTS


def test_the_page_offers_to_wait_and_a_choice_ends_the_waiting(alice, signed_in):
    dataset, browser = asked_about(alice), signed_in(alice)
    page = browser.get(f"/datasets/{dataset.pk}/").content.decode()
    assert 'name="several_labels" value="wait"' in page and "user:" not in page  # a list of labels is no dialogue
    roles = {f"role-{i}": role for i, role in enumerate(("text", "label"))}
    browser.post(f"/datasets/{dataset.pk}/versions/", {**roles, "several_labels": "wait"})
    labour()
    dataset.refresh_from_db()
    assert dataset.state == "needs_mapping" and not dataset.versions.exists()
    page = browser.get(f"/datasets/{dataset.pk}/").content.decode()
    assert "Waiting" in page and 'value="wait"' not in page
    browser.post(f"/datasets/{dataset.pk}/versions/", {**roles, "several_labels": "first"})
    labour()
    dataset.refresh_from_db()
    assert (dataset.state, dataset.latest_version.rows) == ("ready", 40)


def test_the_api_tells_and_takes_the_answer(alice, client):
    dataset, address = asked_about(alice), "/api/v1/datasets"
    given = {"headers": {"Authorization": f"Bearer {ApiToken.make(alice, 'test', ['read', 'write'])[1]}"}}
    facts = client.get(f"{address}/{dataset.pk}", **given).json()
    assert facts["several_labels"]["gives"]["first"] == {"rows": 40, "labels": 2}
    wrong = client.post(f"{address}/{dataset.pk}/versions", {"several_labels": "all"}, content_type="application/json", **given)
    assert wrong.status_code == 422 and wrong.json()["errors"][0]["field"] == "several_labels"
    done = client.post(f"{address}/{dataset.pk}/versions", {"several_labels": "first"}, content_type="application/json", **given)
    assert done.status_code == 202
    labour()
    dataset.refresh_from_db()
    assert (dataset.state, dataset.latest_version.rows) == ("ready", 40)
