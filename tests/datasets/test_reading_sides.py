"""Files of one dataset that do not look the same: other columns, another order, other sheets."""

import json

import polars as pl
import pytest

from tests.datasets.files import book_of, csv_text, publishing, reading, reviews, zip_with

ROWS = reviews(90)


def turned(rows):
    return "label,text\n" + "".join(f'{label},"{text}"\n' for text, label in rows)


def with_note(rows):
    return "text,label,note\n" + "".join(f'"{text}",{label},seen\n' for text, label in rows)


def json_lines(rows, *keys):
    return "".join(json.dumps({key: {"text": text, "label": label}[key] for key in keys}) + "\n" for text, label in rows)


OTHER_SIDES = {
    "the columns turned round": (csv_text(ROWS[:60]), turned(ROWS[60:])),
    "one column more": (csv_text(ROWS[:60]), with_note(ROWS[60:])),
    "keys in another order": (json_lines(ROWS[:60], "text", "label"), json_lines(ROWS[60:], "label", "text")),
}


@pytest.mark.parametrize("case", OTHER_SIDES)
@pytest.mark.parametrize("packed", [False, True])
def test_sides_whose_columns_stand_in_another_order_are_published(tmp_path, case, packed):
    train, test = OTHER_SIDES[case]
    ending = "jsonl" if case.startswith("keys") else "csv"
    if packed:
        path = tmp_path / "both.zip"
        zip_with(path, {f"train.{ending}": train, f"test.{ending}": test})
    else:
        path = {"train": tmp_path / f"train.{ending}", "test": tmp_path / f"test.{ending}"}
        path["train"].write_text(train)
        path["test"].write_text(test)
    report = reading(path, tmp_path / "out")
    published = publishing(report, tmp_path / "version")
    assert published["splits"]["test"] == 30
    rows = pl.read_parquet(published["path"]).select("text", "label").rows()
    assert sorted(rows) == sorted(ROWS)


# --- Texts that stand in two places ---------------------------------------------------------------------------------------
def asked(report):
    return {finding["code"]: finding["asks"] for finding in report["findings"] if finding["asks"]}


def test_sheets_that_share_their_texts_are_asked_about(tmp_path):
    clean = [(text, "positive") for text, _ in ROWS[:40]]
    book_of(tmp_path / "two.xlsx", {"Raw": [("text", "label"), *ROWS[:40]], "Clean": [("text", "label"), *clean]})
    found = asked(reading(tmp_path / "two.xlsx", tmp_path / "out"))
    assert found["several_sheets"] == "sheet" and found["conflicting_labels"] == "confirmation"
    book_of(tmp_path / "two.xlsx", {"May": [("text", "label"), *ROWS[:40]], "June": [("text", "label"), *ROWS[40:]]})
    assert not asked(reading(tmp_path / "two.xlsx", tmp_path / "out"))


@pytest.mark.parametrize(("twice", "asks"), [(6, ""), (15, "confirmation")])
def test_many_texts_with_two_labels_are_asked_about(tmp_path, twice, asks):
    path = tmp_path / "rows.csv"
    path.write_text(csv_text(ROWS + [(text, "neutral" if label != "neutral" else "positive") for text, label in ROWS[:twice]]))
    report = reading(path, tmp_path / "out")
    assert [f["asks"] for f in report["findings"] if f["code"] == "conflicting_labels"] == [asks]
    published = publishing(report, tmp_path / "version")
    assert "conflicting_labels" in {f["code"] for f in published["findings"]}


def test_two_spellings_of_a_label_are_no_two_labels(tmp_path):
    path = tmp_path / "rows.csv"
    path.write_text(csv_text(ROWS + [(text, label.title()) for text, label in ROWS[:30]]))
    assert set(asked(reading(path, tmp_path / "out"))) == {"label_variants"}


@pytest.mark.parametrize("by_column", [False, True])
@pytest.mark.parametrize(("taught", "asks"), [(2, {}), (10, {"leak": "confirmation"})])
def test_many_held_out_rows_that_are_taught_too_are_asked_about(tmp_path, by_column, taught, asks):
    train, test = ROWS[:60], ROWS[60:] + [(f" {text.upper()}", label) for text, label in ROWS[:taught]]
    if by_column:
        path = tmp_path / "rows.csv"
        sides = [(text, f"{label},{side}") for side, rows in (("train", train), ("test", test)) for text, label in rows]
        path.write_text(csv_text(sides, "text,label,split"))
    else:
        path = {"train": tmp_path / "train.csv", "test": tmp_path / "test.csv"}
        path["train"].write_text(csv_text(train))
        path["test"].write_text(csv_text(test))
    assert asked(reading(path, tmp_path / "out")) == asks


# --- Columns that not all files have --------------------------------------------------------------------------------------
def test_a_file_beside_a_workbook_needs_no_column_of_sheets(tmp_path):
    parts = {"train": tmp_path / "t.xlsx", "test": tmp_path / "t.csv"}
    book_of(parts["train"], {"May": [("text", "label"), *ROWS[:30]], "June": [("text", "label"), *ROWS[30:60]]})
    parts["test"].write_text(csv_text(ROWS[60:]))
    report = reading(parts, tmp_path / "out")
    published = publishing(report, tmp_path / "version")
    assert published["splits"]["test"] == 30
    rows = pl.read_parquet(published["path"])
    assert dict(rows.group_by("x_sheet").len().iter_rows()) == {"May": 30, "June": 30, "": 30}


def test_a_member_with_a_column_more_may_stand_first(tmp_path):
    zip_with(tmp_path / "both.zip", {"a.csv": with_note(ROWS[:30]), "b.csv": csv_text(ROWS[30:])})
    report = reading(tmp_path / "both.zip", tmp_path / "out")
    assert [column["name"] for column in report["columns"]] == ["text", "label", "file"]
    published = publishing(report, tmp_path / "version")
    assert sorted(pl.read_parquet(published["path"]).select("text", "label").rows()) == sorted(ROWS)
