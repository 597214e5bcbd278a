"""Files of one dataset that do not look the same: other columns, another order, other sheets."""

import json

import polars as pl
import pytest

from tests.datasets.files import csv_text, publishing, reading, reviews, zip_with

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
