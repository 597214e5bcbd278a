"""Every format that the drop area names, by content, packed or not."""

import gzip
import io
import json
import zipfile

import polars as pl
import pytest

from tests.datasets.files import codes, csv_text, publishing, reading, reviews, workbook_of, zip_link, zip_with
from webapp.datasets.reading import ReadingError

ROWS = reviews(40)


def assert_whole(report, rows=ROWS):
    staged = pl.read_parquet(report["files"][0]["staged"])
    text, label = report["mapping"]["text"], report["mapping"]["label"]
    assert list(staged.select(text, label).iter_rows()) == rows


def as_jsonl(rows):
    return "".join(json.dumps({"text": text, "label": label}) + "\n" for text, label in rows).encode()


def as_parquet(rows):
    data = io.BytesIO()
    pl.DataFrame(rows, schema=["text", "label"], orient="row").write_parquet(data)
    return data.getvalue()


CONTENTS = {
    "csv": csv_text(ROWS).encode(),
    "crlf": csv_text(ROWS).replace("\n", "\r\n").encode(),
    "cr": csv_text(ROWS).replace("\n", "\r").encode(),
    "no line end at the end": csv_text(ROWS).rstrip().encode(),
    "tsv": csv_text(ROWS).replace('",', '"\t').replace("text,", "text\t").encode(),
    "semicolons": csv_text(ROWS).replace('",', '";').replace("text,", "text;").encode(),
    "pipes": csv_text(ROWS).replace('",', '"|').replace("text,", "text|").encode(),
    "utf-16": csv_text(ROWS).encode("utf-16"),
    "utf-16 without a mark": csv_text(ROWS).encode("utf-16-le"),
    "utf-32": csv_text(ROWS).encode("utf-32"),
    "json lines": as_jsonl(ROWS),
    "json list": json.dumps([{"text": t, "label": n} for t, n in ROWS]).encode(),
    "json indented": json.dumps([{"text": t, "label": n} for t, n in ROWS], indent=1).encode(),
    "json below data": json.dumps({"version": 1, "data": [{"text": t, "label": n} for t, n in ROWS]}).encode(),
    "json pairs": json.dumps([list(row) for row in ROWS]).encode(),
    "json columns": json.dumps({"text": [t for t, _ in ROWS], "label": [n for _, n in ROWS]}).encode(),
    "json split": json.dumps({"columns": ["text", "label"], "data": [list(row) for row in ROWS]}).encode(),
    "json by key": json.dumps({f"r{i}": {"text": t, "label": n} for i, (t, n) in enumerate(ROWS)}).encode(),
    "parquet": as_parquet(ROWS),
}


@pytest.mark.parametrize("kind", CONTENTS)
def test_the_same_rows_come_out_of_every_format_whatever_its_name(tmp_path, kind):
    path = tmp_path / "rows.dat.csv"
    path.write_bytes(CONTENTS[kind])
    assert_whole(reading(path, tmp_path / "out"))


@pytest.mark.parametrize("kind", ["csv", "json lines", "json list", "parquet"])
def test_the_same_rows_come_out_of_gzip_and_zip(tmp_path, kind):
    packed, zipped = tmp_path / "rows.gz", tmp_path / "rows.zip"
    packed.write_bytes(gzip.compress(CONTENTS[kind][:100]) + gzip.compress(CONTENTS[kind][100:]))  # two members are one file
    report = reading(packed, tmp_path / "a")
    assert report["files"][0]["packed"] == "gzip"
    assert_whole(report)
    zip_with(zipped, {"folder/rows.csv": CONTENTS[kind], "__MACOSX/._rows.csv": b"junk", ".DS_Store": b"junk"})
    report = reading(zipped, tmp_path / "b")
    assert (report["files"][0]["packed"], report["files"][0]["member"]) == ("zip", "folder/rows.csv")
    assert_whole(report)


def test_one_file_of_several_in_a_zip_can_be_chosen(tmp_path):
    path = tmp_path / "rows.zip"
    zip_with(path, {"a.csv": csv_text(ROWS), "b.csv": csv_text(ROWS[:12]), "readme.md": "no rows"})
    report = reading(path, tmp_path / "out")
    assert report["files"][0]["members"] == ["a.csv", "b.csv"]
    assert "several_files" in codes(report) and not report["plain"]
    assert reading(path, tmp_path / "out", member="b.csv")["rows"] == 12


def test_packed_leftovers_do_not_stay_behind(tmp_path):
    path = tmp_path / "rows.csv.gz"
    path.write_bytes(gzip.compress(CONTENTS["csv"]))
    reading(path, tmp_path / "out")
    assert {p.name for p in (tmp_path / "out").iterdir()} == {"staged-file.parquet", "rejected-file.csv"}


def test_parts_below_keys_of_a_json_file_become_a_split(tmp_path):
    path = tmp_path / "rows.json"
    path.write_text(json.dumps({"train": [list(r) for r in ROWS[:30]], "test": [list(r) for r in ROWS[30:]]}))
    report = reading(path, tmp_path / "out")
    assert report["mapping"]["split"] == "split"


def test_two_files_are_read_as_parts_of_one_dataset(tmp_path):
    train, test = tmp_path / "train.csv", tmp_path / "test.csv"
    train.write_text(csv_text(ROWS))
    test.write_text(csv_text(reviews(60)[40:]))
    report = reading({"train": train, "test": test}, tmp_path / "out")
    assert [f["rows_read"] for f in report["files"]] == [40, 20]
    assert report["plain"] and report["rows"] == 60


def zipped(tmp_path, files):
    with zipfile.ZipFile(tmp_path / "data.zip", "w") as archive:
        for path in files.values():
            archive.write(path, path.name)
    return tmp_path / "data.zip"


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("header", ["text", "text,verdict", "id,text"])
def test_test_rows_without_the_label_are_left_out_and_asked_about(tmp_path, packed, header):
    files = {part: tmp_path / f"{part}.csv" for part in ("train", "test")}
    files["train"].write_text(csv_text(ROWS))
    rows = [
        f'{n if header == "id,text" else ""},"{text}"'.lstrip(",") + ",?" * (header == "text,verdict") for n, (text, _) in enumerate(ROWS)
    ]
    files["test"].write_text(header + "\n" + "\n".join(rows) + "\n")
    report = reading(zipped(tmp_path, files) if packed else files, tmp_path / "out")
    asked = [finding for finding in report["findings"] if finding["asks"]]
    assert [finding["code"] for finding in asked] == ["other_files"] and asked[0]["asks"] == ("member" if packed else "confirmation")
    assert "test.csv has no column “label”, which" in asked[0]["message"]
    assert report["rows"] == len(ROWS) and report["mapping"] == {"text": "text", "label": "label"}
    published = publishing(report, tmp_path / "version")
    assert published["rows"] == len(ROWS) and min(published["splits"].values()) > 0


@pytest.mark.parametrize("packed", [False, True])
def test_a_column_that_only_the_training_rows_have_stays_empty_elsewhere(tmp_path, packed):
    files = {part: tmp_path / f"{part}.csv" for part in ("train", "test")}
    files["train"].write_text("shop,text,label\n" + "".join(f'a,"{text}",{label}\n' for text, label in ROWS))
    files["test"].write_text(csv_text([(f"{text} again", label) for text, label in ROWS]))
    report = reading(zipped(tmp_path, files) if packed else files, tmp_path / "out")
    assert [finding["code"] for finding in report["findings"] if finding["asks"]] == ["other_columns"]
    rows = pl.read_parquet(publishing(report, tmp_path / "version")["path"])
    assert rows.group_by("x_shop").len().sort("x_shop").rows() == [("", len(ROWS)), ("a", len(ROWS))]
    assert set(rows.filter(pl.col("x_shop") == "")["_split"]) == {"test"}


def test_a_file_that_is_about_something_else_is_left_out_by_name(tmp_path):
    train, test = tmp_path / "train.csv", tmp_path / "test.csv"
    train.write_text(csv_text(ROWS))
    test.write_text("price,shop\n" + "".join(f"{n},s{n}\n" for n in range(20)))
    report = reading({"train": train, "test": test}, tmp_path / "out")
    assert not report["plain"] and report["rows"] == len(ROWS)


def test_numbers_and_nested_values_of_parquet_become_text(tmp_path):
    path = tmp_path / "rows.parquet"
    frame = pl.DataFrame(
        {
            "text": [t for t, _ in ROWS],
            "meta": [{"stars": i % 5, "tags": ["a", "b"]} for i in range(40)],
            "label": [i % 2 for i in range(40)],
        }
    )
    frame.write_parquet(path)
    report = reading(path, tmp_path / "out")
    assert [c["name"] for c in report["columns"]] == ["text", "meta.stars", "meta.tags.0", "meta.tags.1", "label"]
    assert list(report["preview"][1].values()) == [2, "file", ROWS[1][0], "1", "a", "b", "1"]
    as_json = tmp_path / "rows.json"
    as_json.write_text(json.dumps(frame.to_dicts()))
    assert reading(as_json, tmp_path / "json")["preview"] == report["preview"]  # as in any other file


def test_encoding_delimiter_and_header_can_be_overruled(tmp_path):
    path = tmp_path / "rows.csv"
    path.write_bytes("naïve;x,y\n".encode("mac_roman") * 30)
    report = reading(path, tmp_path / "out", encoding="mac_roman", delimiter=",", header_row=0)
    assert report["preview"][0]["column_1"] == "naïve;x"
    assert report["preview"][0]["column_2"] == "y"


def test_an_unknown_encoding_is_refused_by_name(tmp_path):
    path = tmp_path / "rows.csv"
    path.write_bytes(CONTENTS["csv"])
    with pytest.raises(ReadingError, match="no encoding called klingon"):
        reading(path, tmp_path / "out", encoding="klingon")


def test_quotes_in_a_table_without_quoting_are_letters(tmp_path):
    path = tmp_path / "rows.tsv"
    path.write_text("text\tlabel\n" + "".join(f'"so {i}" they said\tgood\nit was 5" wide {i}\tbad\n' for i in range(20)))
    report = reading(path, tmp_path / "out")
    assert report["rows_read"] == 40 and not report["counts"]
    assert report["preview"][0]["text"] == '"so 0" they said'


@pytest.mark.parametrize("folder", ["csv_spectrum", "csv_parser_cases", "csvkit_examples", "frictionless_cases", "real_tables"])
def test_files_that_broke_other_readers_end_in_rows_or_a_sentence(shared_data, tmp_path, folder):
    for path in sorted((shared_data / "messy" / folder).rglob("*.*")):
        if path.name in {"SOURCE.md", "expected.json"}:
            continue
        try:
            report = reading(path, tmp_path)
            assert report["rows"] == report["rows_read"] + report["rows_rejected"] + report["rows_blank"], path
        except ReadingError as error:
            assert error.message.endswith((".", "?")) and error.file == path.name, path  # noqa: PT017


@pytest.mark.parametrize(
    "name", ["comma_in_quotes", "escaped_quotes", "newlines", "newlines_crlf", "quotes_and_newlines", "simple", "utf8", "json"]
)
def test_the_csv_spectrum_has_the_values_that_its_answers_give(shared_data, tmp_path, name):
    spectrum = shared_data / "messy" / "csv_spectrum"
    report = reading(spectrum / "csvs" / f"{name}.csv", tmp_path, header_row=1)
    staged = pl.read_parquet(report["files"][0]["staged"]).drop("_row")
    answers = [
        {key: value.replace("\r\n", "\n") for key, value in row.items()}
        for row in json.loads((spectrum / "json" / f"{name}.json").read_text())
    ]
    assert staged.to_dicts() == answers


def assert_blank_rows_are_counted(report, blank, rejected=0):
    file = report["files"][0]
    assert (report["rows_read"], report["rows_rejected"], report["rows_blank"]) == (40, rejected, blank)
    assert file["rows_in"] == report["rows"] == 40 + rejected + blank
    finding = next(f for f in report["findings"] if f["code"] == "blank_rows")
    assert (finding["level"], finding["count"]) == ("info", blank) and f": {blank}." in finding["message"]


@pytest.mark.parametrize("way", ["quick", "slow"])
def test_rows_of_empty_cells_are_left_out_and_counted_but_empty_lines_are_no_rows(tmp_path, way):
    lines = csv_text(ROWS).splitlines()
    lines[5:5] = [",", '"",""', " , ", "", "   "]
    lines += [",", "", ""]
    if way == "slow":  # a quotation mark out of place has the whole block read record by record
        lines.append('one "cell" only"')
    (tmp_path / "rows.csv").write_text("\n".join(lines) + "\n")
    report = reading(tmp_path / "rows.csv", tmp_path / "out", header_row=1, delimiter=",")
    assert_blank_rows_are_counted(report, 4, rejected=way == "slow")
    assert report["plain"] == (way == "quick")  # nobody is asked about nothing


def test_blank_rows_of_a_workbook_are_left_out_and_counted(tmp_path):
    rows = [(1, ("text", "label")), *((n, row) for n, row in enumerate(ROWS[:20], 2)), (22, ("", " ")), (23, ())]
    workbook_of(tmp_path / "rows.xlsx", [*rows, *((n, row) for n, row in enumerate(ROWS[20:], 25)), (60, ("", ""))])
    report = reading(tmp_path / "rows.xlsx", tmp_path / "out")
    assert_blank_rows_are_counted(report, 3)
    assert_whole(report)


def test_links_in_an_archive_are_never_followed(tmp_path):
    zip_link(tmp_path / "link.zip")
    with pytest.raises(ReadingError) as refused:
        reading(tmp_path / "link.zip", tmp_path / "out")
    assert refused.value.code == "nothing_inside"


@pytest.mark.parametrize(
    ("header", "label"),
    [
        ("product,Review,Stars", "Stars"),
        ("rating,text,label", "label"),
        ("brand,title,polarity", "polarity"),
        ("colour,text,size", "colour"),
    ],
)
def test_the_label_is_the_column_that_is_called_most_like_one(tmp_path, header, label):
    path = tmp_path / "rows.csv"
    path.write_text(header + "\n" + "".join(f'{"ab"[i % 2]},"{text}",{"xyz"[i % 3]}\n' for i, (text, _) in enumerate(ROWS)))
    assert reading(path, tmp_path / "out")["mapping"]["label"] == label


def test_a_column_called_text_is_not_the_label_of_a_small_file(tmp_path):
    path = tmp_path / "rows.csv"
    path.write_text(csv_text([(f"Short {i}", "ab"[i % 2]) for i in range(10)], "text,verdict"))
    assert reading(path, tmp_path / "out")["mapping"] == {"text": "text", "label": "verdict"}
