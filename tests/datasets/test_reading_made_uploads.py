"""Each of the made uploads leads to what its expected.json asks for."""

import json

import polars as pl
import pytest

from tests.conftest import DATA
from tests.datasets.files import codes, publishing, reading
from webapp.datasets.reading import ReadingError

MADE = DATA / "messy" / "made_uploads"
EXPECTED = {entry["file"]: entry for entry in json.loads((MADE / "expected.json").read_text())} if MADE.is_dir() else {}
REFUSED = {  # file: (code, words of the message)
    "empty.csv": ("empty", "0 bytes"),
    "header_only.csv": ("no_rows", "no rows"),
}
OTHERS = {  # file: (the task that it is rather for, code of what is wrong with it as a classification, if anything)
    "parallel_200.en": ("generation", "one_column"),
    "parallel_198.zh": ("generation", "one_column"),
    "swapped_languages.tsv": ("translation", "no_role"),
    "squad_wrong_offsets.json": ("question_answering", ""),
}
DELIMITERS = {"tab": "\t", ",": ",", ";": ";"}
ENCODINGS = {
    "GB18030": "GB18030",
    "UTF-8 with BOM": "UTF-8",
    "UTF-16 LE with BOM": "UTF-16",
    "ISO-8859-1": "Windows-1252",  # the same letters, and more
    "Windows-1252": "Windows-1252",
    "UTF-8": "UTF-8",
    "UTF-8, from line 52 on Windows-1252": "UTF-8",
    "UTF-8 with NUL bytes": "UTF-8",
}


@pytest.fixture
def made(shared_data, tmp_path):
    """A function that reads one of the files."""
    return lambda name, **options: reading(MADE / "files" / name, tmp_path, **options)


def test_there_are_35_made_uploads_and_none_is_left_out(shared_data):
    assert len(EXPECTED) == 35
    assert set(EXPECTED) == {path.name for path in (MADE / "files").iterdir()}


@pytest.mark.parametrize("name", sorted(set(EXPECTED) - set(REFUSED)))
def test_layout_columns_and_records_are_found(made, name):
    report, entry = made(name), EXPECTED[name]
    file = report["files"][0]
    if entry["encoding"] in ENCODINGS:
        assert file["encoding"] == ENCODINGS[entry["encoding"]]
    if entry["delimiter"] in DELIMITERS:
        assert file["delimiter"] == DELIMITERS[entry["delimiter"]]
    if file["format"] not in {"json", "jsonl"}:
        assert bool(file["header_row"]) == entry["header"]
    if entry["columns"]:
        assert [c["original"] for c in report["columns"]] == entry["columns"]
    if entry["records"] is not None:
        totals = report["counts"].get("total_line", 0)
        assert file["rows_in"] == entry["records"] + totals + file["rows_blank"]
    read = pl.read_parquet(file["staged"]).height
    assert file["rows_read"] == read and file["rows_in"] == read + file["rows_rejected"] + file["rows_blank"]


@pytest.mark.parametrize("name", sorted(REFUSED))
def test_what_cannot_be_used_is_refused_with_a_clear_word(made, name):
    code, words = REFUSED[name]
    with pytest.raises(ReadingError) as refused:
        made(name)
    assert refused.value.code == code
    assert words in str(refused.value)


@pytest.mark.parametrize("name", sorted(OTHERS))
def test_what_is_for_another_task_is_read_and_the_other_task_named(made, name):
    task, code = OTHERS[name]
    report = made(name)
    assert (report["task"], report["fits_better"], report["plain"]) == ("classification", task, False)
    assert {"other_task", code or "other_task"} <= codes(report)


def test_chinese_text_in_gb18030_is_shown_rightly(made):
    preview = made("zh_topics_gbk.csv")["preview"]
    assert preview[0]["学科"] in {"工学", "医学", "农学", "理学", "法学", "经济学", "文学", "教育学", "管理学"}


def test_a_byte_order_mark_is_no_part_of_the_first_name(made):
    assert made("zh_topics_utf8_bom.csv")["columns"][0]["name"] == "标题"


def test_umlauts_and_typographic_apostrophes_come_out_right(made):
    assert "weiß" in made("de_en_semicolon_latin1.csv")["preview"][0]["Deutsch"]
    assert "l’air" in made("fr_en_cp1252_tab.tsv")["preview"][1]["français"]


def test_missing_labels_and_stand_ins_are_counted_and_never_become_a_class(made, tmp_path):
    report = made("labels_missing.csv")
    assert sum(label["rows"] for label in report["labels"] if label["missing"]) == 73
    assert not report["plain"]
    published = publishing(report, tmp_path)
    assert {label["name"] for label in published["labels"]} == {"negative", "neutral", "positive"}
    assert (published["rows"], published["rejected"]) == (427, 73)
    with pytest.raises(ReadingError, match="73 rows cannot be used"):
        publishing(report, tmp_path, accept_rejected=False)


def test_duplicates_contradictions_and_near_duplicates_are_told_apart(made, tmp_path):
    report = made("duplicates_conflicts.csv")
    statistics = report["statistics"]
    assert (statistics["duplicates"], statistics["conflicts"], statistics["near_duplicates"]) == (60, 20, 10)
    assert {"duplicates", "conflicting_labels", "near_duplicates"} <= codes(report)
    version = pl.read_parquet(publishing(report, tmp_path)["path"])
    sides = version.group_by("text").agg(pl.col("_split").n_unique())
    assert sides["_split"].max() == 1  # copies never stand on both sides


def test_eighteen_spellings_of_three_classes_can_be_joined(made, tmp_path):
    report = made("label_variants.csv")
    assert len(report["columns"][1]["histogram"]) == 18
    published = publishing(report, tmp_path, labels=report["joins"])
    assert [label["name"].lower() for label in published["labels"]] == ["negative", "neutral", "positive"]
    assert published["rows"] == 400


def test_ragged_rows_are_named_and_never_shifted(made, tmp_path):
    report = made("ragged_rows.csv")
    assert report["counts"] == {"ragged": 12}
    assert [p["row"] for p in report["problems"]][:3] == [2, 19, 36]
    assert {h["name"] for h in report["columns"][1]["histogram"]} == {"negative", "neutral", "positive"}
    rejected = (tmp_path / "rejected.csv").read_text().splitlines()
    assert len(rejected) == 13
    assert rejected[1].startswith(
        "2,ragged_rows.csv,Line 2 has 4 cells where 2 are expected.,T-shirt and basketball shorts,neutral,extra,more"
    )


def test_an_unclosed_quote_costs_no_more_than_its_line(made):
    report = made("unbalanced_quote.csv")
    lines = (MADE / "files" / "unbalanced_quote.csv").read_text().splitlines()
    assert [p["row"] for p in report["problems"]] == [52]
    assert "quotation mark" in report["problems"][0]["message"]
    assert report["rows"] == len(lines) - 1


def test_line_breaks_inside_cells_make_no_new_records(made):
    report = made("embedded_newlines.csv")
    assert report["plain"]
    staged = pl.read_parquet(report["files"][0]["staged"])
    assert staged["text"].str.contains("\n").sum() > 10
    assert staged["_row"][1] == 3 and staged["_row"][2] == 5  # the record in line 3 goes on in line 4


def test_a_file_without_a_header_keeps_its_first_row(made):
    report = made("no_header.tsv")
    assert report["rows_read"] == 200
    assert [c["name"] for c in report["columns"]] == ["column_1", "column_2"]
    assert "no_header" in codes(report) and not report["plain"]


def test_columns_of_the_same_name_are_kept_apart(made):
    report = made("double_column_names.csv")
    assert [c["name"] for c in report["columns"]] == ["text", "text_2", "label", "column_4"]
    assert "double_names" in codes(report) and not report["plain"]


def test_the_header_below_title_lines_is_found_and_may_be_chosen(made):
    report = made("title_lines_and_total.csv")
    assert report["files"][0]["header_row"] == 4
    assert report["rows_read"] == 120 and report["counts"] == {"total_line": 1}
    chosen = made("title_lines_and_total.csv", header_row=0)
    assert [c["name"] for c in chosen["columns"]] == ["column_1", "column_2", "column_3"]


def test_lines_in_a_second_encoding_are_named_and_read(made):
    report = made("mixed_encodings.csv")
    assert report["counts"] == {"spoilt_encoding": 50}
    assert report["problems"][0]["row"] == 52
    assert report["rows_read"] == 100


def test_nul_bytes_are_removed_and_reported(made):
    report = made("nul_bytes.csv")
    assert report["counts"]["nul"] == 1
    assert not pl.read_parquet(report["files"][0]["staged"])["text"].str.contains("\0", literal=True).any()


def test_a_cell_of_190_000_characters_is_kept_whole(made):
    assert made("very_long_cell.csv")["statistics"]["chars"]["max"] > 180_000


def test_formulas_and_markup_stay_as_they_are_in_the_rows(made):
    assert made("formulas.csv")["preview"][0]["text"] == "=1+1"
    assert made("html_and_script.csv")["preview"][0]["text"] == "<script>alert(1)</script> good"


def test_a_single_class_is_found_before_anything_is_trained(made, tmp_path):
    report = made("one_class_only.csv")
    assert "one_class" in codes(report)
    with pytest.raises(ReadingError, match="positive"):
        publishing(report, tmp_path)


def test_a_rare_class_stands_on_both_sides(made, tmp_path):
    report = made("imbalance_99_to_1.csv")
    assert "imbalance" in codes(report)
    version = pl.read_parquet(publishing(report, tmp_path)["path"])
    assert set(version.filter(pl.col("label") == "negative")["_split"]) == {"train", "validation", "test"}


def test_a_label_column_that_is_an_id_is_noticed(made, tmp_path):
    report = made("every_label_different.csv")
    assert "label_is_id" in codes(report)
    with pytest.raises(ReadingError, match="id, not a label"):
        publishing(report, tmp_path)


def test_three_rows_are_too_few(made, tmp_path):
    report = made("three_rows.csv")
    assert "too_few_rows" in codes(report)
    with pytest.raises(ReadingError, match="at least 10"):
        publishing(report, tmp_path)


def test_broken_lines_of_json_are_named_and_the_others_read(made):
    report = made("broken_lines.jsonl")
    assert [p["row"] for p in report["problems"] if p["code"] == "not_json"] == [11, 21, 51]
    assert [p["row"] for p in report["problems"] if p["code"] == "unknown_key"] == [41]
    assert "missing_text" in codes(report)


def test_nested_records_are_found_and_flattened(made):
    report = made("nested.json")
    assert report["mapping"] == {"text": "data.text", "label": "data.tags.0"}
    assert not report["plain"]


def test_a_workbook_offers_its_sheets_and_header_rows_and_writes_dates_as_dates(made):
    report = made("voices.xlsx")
    file = report["files"][0]
    assert (file["sheet"], file["sheets"], file["header_row"]) == ("data", ["Notes", "data"], 3)
    assert report["preview"][0]["date"] == "2024-01-09"
    assert report["preview"][0]["_row"] == 4
    assert {"missing_label", "missing_text"} <= codes(report)
    assert [(p["row"], p["column"]) for p in report["problems"] if p["code"] == "error_cell"] == [(12, "B")]
    assert made("voices.xlsx", sheet="data", header_row=0)["columns"][0]["name"] == "column_1"


def test_the_content_counts_and_not_the_name(made):
    assert made("really_a_csv.xlsx")["files"][0]["format"] == "csv"
    assert made("really_an_excel.csv")["files"][0]["format"] == "workbook"


def test_the_name_is_kept_for_people(made):
    report = made("评论 数据 (最终版) v2.csv")
    assert report["files"][0]["name"] == "评论 数据 (最终版) v2.csv"
    assert report["plain"]
