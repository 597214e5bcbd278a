"""A version: the right rows on the right side, the same bytes every time, nothing half right."""

import csv
import unicodedata
from pathlib import Path

import polars as pl
import pytest

from tests.datasets.files import codes, csv_text, publishing, reading, reviews
from webapp.datasets.reading import Limits, ReadingError
from webapp.datasets.reading.baselines import baselines
from webapp.datasets.reading.read import read as read_verb
from webapp.datasets.reading.split import alike, keyed
from worker.nlp import certainty


@pytest.fixture
def read(tmp_path):
    def read_rows(text, name="rows.csv", **options):
        (tmp_path / name).write_text(text)
        return reading(tmp_path / name, tmp_path / "out", **options)

    return read_rows


def test_the_file_of_a_version_is_laid_out_as_the_rooms_agreed(read, tmp_path):
    rows = "".join(f'{i},"{text}",{label}\n' for i, (text, label) in enumerate(reviews(12_000)))
    published = publishing(read("id,text,label\n" + rows), tmp_path / "out")
    path = published["path"]
    version = pl.read_parquet(path)
    assert version.columns == ["_row", "_split", "text", "label", "x_id"]
    assert version["_row"].dtype == pl.Int64
    order = {"train": 0, "validation": 1, "test": 2}
    places = [(order[split], row) for split, row in version.select("_split", "_row").iter_rows()]
    assert places == sorted(places)
    assert (version["_row"] - 2 == version["x_id"].cast(pl.Int64)).all()  # line of the file, the header being the first
    assert published["splits"] == dict(version["_split"].value_counts().iter_rows())
    from webapp.datasets.reading import ROW_GROUP
    from webapp.datasets.reading.parquet import Thrift

    data = Path(path).read_bytes()
    footer = Thrift(data[-8 - int.from_bytes(data[-8:-4], "little") : -8]).struct()
    assert [group[3] for group in footer[4]] == [ROW_GROUP, ROW_GROUP, 2_000]


def test_the_same_rows_and_seed_give_the_same_hash_and_another_seed_another(read, tmp_path):
    report = read(csv_text(reviews(300)))
    first, again, other = (publishing(report, tmp_path / "out", seed=seed)["sha256"] for seed in (13, 13, 14))
    assert first == again != other


def test_the_draw_is_stratified(read, tmp_path):
    version = pl.read_parquet(publishing(read(csv_text(reviews(300))), tmp_path / "out")["path"])
    counted = version.group_by("label", "_split").len()
    assert dict(zip(*counted.filter(pl.col("label") == "neutral").select("_split", "len").get_columns(), strict=True)) == {
        "train": 80,
        "validation": 10,
        "test": 10,
    }


def test_spellings_of_a_text_that_differ_in_capitals_blanks_or_unicode_form_stay_on_one_side(read, tmp_path):
    ways = (str.upper, lambda t: "  " + t.replace(" ", "   "), lambda t: t.replace("ß", "ss"), lambda t: unicodedata.normalize("NFD", t))
    texts = [(f"Die Straße in Café {i} ﬁnden", "good" if i % 2 else "bad") for i in range(100)]
    rows = [*texts, *((way(text), label) for text, label in texts for way in ways)]
    report = read(csv_text(rows))
    published = publishing(report, tmp_path / "out")
    version = pl.read_parquet(published["path"]).with_columns(pl.col("text").str.extract(r"(\d+)").alias("i"))
    assert version.height == 500 and version["text"].n_unique() == 500
    assert version.group_by("i").agg(pl.col("_split").n_unique())["_split"].max() == 1
    assert published["splits"] == {"train": 400, "validation": 50, "test": 50}
    assert publishing(report, tmp_path / "out")["sha256"] == published["sha256"]


def test_a_text_without_other_spellings_is_drawn_by_its_own_hash():
    rows = pl.DataFrame({"key": [7, 5, 9, 8], "alike": [alike("Good  day"), alike("bad"), alike("GOOD day "), alike("good")]})
    assert keyed(rows)["key"].to_list() == [7, 5, 7, 8]


def test_a_class_of_one_row_is_named_because_it_cannot_be_on_both_sides(read, tmp_path):
    published = publishing(read(csv_text([*reviews(60), ("once and never again in all these rows", "odd")])), tmp_path / "out")
    finding = next(f for f in published["findings"] if f["code"] == "one_sided_class")
    assert "“odd”" in finding["message"]


def test_a_split_that_the_file_brings_is_kept(read, tmp_path):
    parts = ["train", "Dev", "oos_test"]
    text = "text,label,split\n" + "".join(f'"{t}",{n},{parts[i % 3]}\n' for i, (t, n) in enumerate(reviews(90, ("a", "b"))))
    report = read(text)
    assert report["mapping"]["split"] == "split"
    published = publishing(report, tmp_path / "out")
    assert published["splits"] == {"train": 30, "validation": 30, "test": 30}
    version = pl.read_parquet(published["path"])
    assert (version.filter(pl.col("_split") == "validation")["_row"] % 3 == 0).all()


def test_validation_rows_are_taken_from_training_when_the_files_bring_none(tmp_path):
    train, test = tmp_path / "train.csv", tmp_path / "test.csv"
    train.write_text(csv_text(reviews(90)))
    test.write_text(csv_text([(f"unseen {text}", label) for text, label in reviews(30)]))
    report = reading({"train": train, "test": test}, tmp_path / "out")
    published = publishing(report, tmp_path / "out")
    assert published["splits"]["test"] == 30
    assert published["splits"]["validation"] == 9
    assert "validation_drawn" in {f["code"] for f in published["findings"]}


def test_held_out_texts_that_were_also_taught_are_counted(tmp_path):
    train, test = tmp_path / "train.csv", tmp_path / "test.csv"
    train.write_text(csv_text(reviews(90)))
    test.write_text(csv_text(reviews(30)))
    published = publishing(reading({"train": train, "test": test}, tmp_path / "out"), tmp_path / "out")
    leak = next(f for f in published["findings"] if f["code"] == "leak")
    assert leak["count"] == 30


def test_joined_labels_become_one_and_a_dropped_label_leaves_with_its_rows(read, tmp_path):
    report = read(csv_text(reviews(90, ("good", "Good", "bad", "unsure"))))
    assert report["joins"] == {"Good": "good"} or report["joins"] == {"good": "Good"}
    published = publishing(report, tmp_path / "out", labels={"Good": "good", "unsure": ""})
    assert [label["name"] for label in published["labels"]] == ["bad", "good"]
    assert published["rejected"] == 22


def test_rows_without_a_text_or_a_label_are_not_called_usable_by_the_reading_either(read, tmp_path):
    report = read(csv_text([*reviews(11, ("good", "bad")), (" ", "odd"), ("", "good"), ("", ""), ("no label here at all", "")]))
    assert not {"too_few_rows", "rare_class"} & codes(read(csv_text([*reviews(11, ("good", "bad")), ("", "odd")])))
    assert "too_few_rows" not in codes(report)
    assert publishing(report, tmp_path / "out")["rows"] == 11
    few = read(csv_text([*reviews(9, ("good", "bad")), *[("", "good")] * 20, ("", ""), ("no label here at all", "")]))
    finding = next(f for f in few["findings"] if f["code"] == "too_few_rows")
    assert "only 9 usable rows" in finding["message"]
    with pytest.raises(ReadingError, match="only 9 usable rows"):
        publishing(few, tmp_path / "out")
    one = read(csv_text([*reviews(20, ("good",)), *[("", "bad")] * 20]))
    assert "one_class" in codes(one)


def test_one_row_is_spoken_of_as_one(read, tmp_path):
    with pytest.raises(ReadingError, match=r"^1 row cannot be used and would be left out\."):
        publishing(read(csv_text([*reviews(30), ("no label here at all", "")])), tmp_path / "out", accept_rejected=False)
    with pytest.raises(ReadingError, match=r"^2 rows cannot be used"):
        publishing(read(csv_text([*reviews(30), ("no label", ""), ("none here", "")])), tmp_path / "out", accept_rejected=False)
    parts = ["train", "validation", "test"]
    lines = [f'"{text}",{label},{parts[i % 3]}' for i, (text, label) in enumerate(reviews(90, ("a", "b")))]
    lines += [lines[0].replace("train", "test"), "whose part nobody knows,a,"]
    mapping = {"text": "text", "label": "label", "split": "split"}
    findings = publishing(read("\n".join(["text,label,split", *lines, ""])), tmp_path / "out", mapping=mapping)["findings"]
    said = {finding["code"]: finding["message"] for finding in findings}
    assert said["leak"].startswith("1 held-out row has a text") and "Scores on it say little" in said["leak"]
    assert said["split_unknown"] == "1 row does not say which part it belongs to; it is used for training."


def test_numbers_as_labels_are_ordered_as_numbers(read, tmp_path):
    published = publishing(read(csv_text(reviews(120, ("10", "9", "-1", "2")))), tmp_path / "out")
    assert [label["name"] for label in published["labels"]] == ["-1", "2", "9", "10"]


def test_blanks_around_a_column_name_are_not_taken_for_a_second_column_of_that_name(read):
    report = read(csv_text(reviews(30), header=" text ,the  label"))
    assert [c["name"] for c in report["columns"]] == ["text", "the label"]
    assert "double_names" not in codes(report)


def test_rejected_rows_can_be_downloaded_with_line_reason_and_defused_cells(read, tmp_path):
    rows = csv_text([*reviews(30), ("=HYPERLINK(1)", ""), ("@fine", "?"), ("one cell too many", "x,y")])
    published = publishing(read(rows), tmp_path / "out")
    rejected = list(csv.reader(Path(published["rejected_path"]).read_text().splitlines()))
    assert rejected[0] == ["row", "file", "reason", "text", "label"]
    assert {int(row[0]): row[3] for row in rejected[1:]} == {34: "one cell too many", 32: "'=HYPERLINK(1)", 33: "'@fine"}
    assert published["rejected"] == 3
    assert {p["row"] for p in published["problems"]} == {32, 33, 34}


def test_the_name_of_a_file_is_no_formula_either(tmp_path):
    """In what the reading rejects, and in what the version rejects."""
    path = tmp_path / "=cmd|'calc'!A1.csv"
    path.write_text(csv_text([*reviews(30), ("one cell too many", "x,y"), ("no label", "")]))
    report = reading(path, tmp_path)
    published = publishing(report, tmp_path / "out")
    for left in (tmp_path / "rejected.csv", Path(published["rejected_path"])):
        cells = [cell for row in csv.reader(left.read_text().splitlines()) for cell in row]
        assert not [cell for cell in cells if cell.startswith(("=", "+", "-", "@"))]
    assert "'=cmd" in (tmp_path / "rejected.csv").read_text()


@pytest.mark.parametrize(
    ("mapping", "code", "words"),
    [
        ({"text": "text"}, "missing_column", "Label"),
        ({"text": "text", "label": "verdict"}, "missing_column", "no column called verdict"),
        ({"text": "text", "label": "text"}, "column_twice", "two roles"),
        ({"text": "text", "label": "label", "colour": "text"}, "no_such_role", "colour"),
    ],
)
def test_a_mapping_that_does_not_fit_is_refused_by_name(read, tmp_path, mapping, code, words):
    with pytest.raises(ReadingError) as refused:
        publishing(read(csv_text(reviews(30))), tmp_path / "out", mapping=mapping)
    assert refused.value.code == code and words in refused.value.message


def test_ten_thousand_labels_are_refused_before_a_version_is_made(read, tmp_path):
    report = read(csv_text([(f"text number {i}", f"label {i % 10_000}") for i in range(13_000)]))
    with pytest.raises(ReadingError, match="10,000 different labels"):
        publishing(report, tmp_path / "out", mapping={"text": "text", "label": "label"})
    assert not (tmp_path / "out" / "version.parquet").exists()


def test_empty_texts_are_left_out_and_named(read, tmp_path):
    report = read(csv_text([*reviews(30), ("   ", "neutral")]))
    assert next(f for f in report["findings"] if f["code"] == "missing_text")["count"] == 1
    assert publishing(report, tmp_path / "out")["problems"][0]["row"] == 32


def test_baselines_are_measured_on_the_held_out_rows(read, tmp_path):
    published = publishing(read(csv_text([(f"{text} {label}", label) for text, label in reviews(300)])), tmp_path / "out")
    measured = baselines({"path": published["path"], "task": "classification"}, Limits(), lambda *_: None)
    assert (measured["split"], measured["rows"]) == ("test", 30)
    assert measured["scores"]["majority"]["macro_f1"] < 0.3 < measured["scores"]["tfidf_word"]["macro_f1"]
    low, high = measured["intervals"]["tfidf_word"]["accuracy"]
    assert [low, high] == certainty.wilson(30 * measured["scores"]["tfidf_word"]["accuracy"], 30)


def test_rows_without_a_text_or_label_are_listed_before_anything_is_accepted(read):
    rows = csv_text(reviews(30)) + ",positive\n  ,neutral\nno label here,NA\n"
    report = read(rows)
    told = [(p["row"], p["column"], p["code"]) for p in report["problems"]]
    assert told == [(32, "text", "bad_text"), (33, "text", "bad_text"), (34, "label", "bad_label")]
    assert report["problems"][-1]["message"] == "Row 34: The label is a placeholder for a missing value."
    assert {f["code"]: f["column"] for f in report["findings"]}.items() >= {"missing_text": "text", "missing_label": "label"}.items()


def test_listed_rows_are_left_out_once(read, tmp_path):
    published = publishing(read(csv_text(reviews(30)) + ",positive\n"), tmp_path / "out")
    assert (published["rows"], published["rejected"], [p["row"] for p in published["problems"]]) == (30, 1, [32])


def test_ten_thousand_labels_are_counted_and_their_column_named(read):
    report = read(csv_text([(f"{text} {i}", f"label {i % 10_000}") for i, (text, _) in enumerate(reviews(20_000))]))
    (finding,) = [f for f in report["findings"] if f["level"] == "error"]
    assert (finding["code"], finding["column"]) == ("too_many_classes", "label")
    assert "10,000 different labels" in finding["message"]


TINY = [(f"a text number {i}", ("negative", "neutral", "positive")[i % 3]) for i in range(900)]


def test_a_report_stays_small_however_wide_and_long_the_table_is(tmp_path):
    names = [f"c{i}" for i in range(150)]
    rows = "".join(f"{text},{label}," + ",".join(f"{i % 900}.{c}" for c in range(150)) + "\n" for i, (text, label) in enumerate(TINY))
    path = tmp_path / "rows.csv"
    path.write_text("text,label," + ",".join(names) + "\n" + rows + "b" * 500_000 + ",positive" + ",0" * 150 + "\n")
    report = reading(path, tmp_path / "out")
    assert sum(len(column["histogram"]) for column in report["columns"]) <= 50_000
    assert [h["name"] for h in next(c for c in report["columns"] if c["name"] == "label")["histogram"]]
    path.write_text("text,label\n" + "b" * 500_000 + ",positive\n" + csv_text(reviews(20)).split("\n", 1)[1])
    assert len(str(reading(path, tmp_path / "out"))) < 50_000


def test_a_finding_about_labels_does_not_quote_whole_texts(tmp_path):
    (tmp_path / "rows.csv").write_text(csv_text([(f"{'x' * 300} {i}", "ab"[i % 2]) for i in range(30)]))
    job = {"files": [{"name": "rows.csv", "path": str(tmp_path / "rows.csv")}], "task": "classification", "out": str(tmp_path / "out")}
    report = read_verb(job | {"mapping": {"text": "label", "label": "text"}}, Limits(), lambda *_: None)
    (finding,) = [f for f in report["findings"] if f["code"] == "missing_label"]
    assert (finding["count"], finding["column"], len(finding["message"]) < 100) == (30, "text", True)
