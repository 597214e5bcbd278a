"""JSON as other programs write it, and as it should not be written: the same rows come out, or a sentence names what is wrong."""

import json

import polars as pl
import pytest

from tests.datasets.files import codes, reading, reviews
from webapp.datasets.reading import ReadingError

ROWS = reviews(40)
FRAME = pl.DataFrame(ROWS, schema=["text", "label"], orient="row")
RECORDS = [{"text": text, "label": label} for text, label in ROWS]
COLUMNS = {name: {str(i): cell for i, cell in enumerate(FRAME[name])} for name in FRAME.columns}
DATED = {name: {f"2031-02-03T{i:05}": cell for i, cell in enumerate(FRAME[name])} for name in FRAME.columns}
FIELDS = [{"name": "index", "type": "integer"}, {"name": "text", "type": "string"}, {"name": "label", "type": "string"}]
NAMED = {
    "orient columns": json.dumps(COLUMNS),
    "orient columns, rows by name": json.dumps(DATED),
    "orient columns below a key": json.dumps({"version": 1, "frame": COLUMNS}),
    "orient index": json.dumps({str(i): record for i, record in enumerate(RECORDS)}),
    "orient split": json.dumps({"columns": ["text", "label"], "index": list(range(40)), "data": ROWS}),
    "orient tight": json.dumps(
        {"index": list(range(40)), "columns": ["text", "label"], "data": ROWS, "index_names": [None], "column_names": [None]}
    ),
    "orient records": json.dumps(RECORDS),
    "orient table": json.dumps(
        {
            "schema": {"fields": FIELDS, "primaryKey": ["index"], "pandas_version": "1.4.0"},
            "data": [{"index": i, **record} for i, record in enumerate(RECORDS)],
        }
    ),
    "lists of cells": json.dumps({"text": FRAME["text"].to_list(), "label": FRAME["label"].to_list()}),
    "names above cells": json.dumps([["text", "label"], *map(list, ROWS)]),
    "a sheet's values": json.dumps({"range": "A1:B41", "majorDimension": "ROWS", "values": [["text", "label"], *map(list, ROWS)]}),
    "written down twice": json.dumps(json.dumps(RECORDS)),
    "one after the other": "\n".join(json.dumps(record, indent=2) for record in RECORDS),
    "one after the other in one line": "".join(map(json.dumps, RECORDS)),
    "one after the other with commas": ",\n".join(json.dumps(record, indent=2) for record in RECORDS),
    "a comma at each end": "".join(json.dumps(record) + ",\n" for record in RECORDS),
    "commas before brackets": json.dumps(RECORDS, indent=1).replace("\n }", ",\n }").removesuffix("\n]") + ",\n]",
    "commas before brackets, line by line": "".join(json.dumps(record).replace("}", ",}\n") for record in RECORDS),
    "a list a page": "".join(json.dumps(RECORDS[i : i + 7]) + "\n" for i in range(0, 40, 7)),
    "Python a line": "".join(f"{record}\n" for record in RECORDS),
    "Python in one list": str(RECORDS),
    "Python, printed": ",\n".join(map(str, RECORDS)),
    "a mark before each line": "".join("\ufeff" + json.dumps(record) + "\n" for record in RECORDS),
    "records with numpy": "".join(f"{{'text': array([{text!r}], dtype=object), 'label': {label!r}}}\n" for text, label in ROWS),
}


@pytest.fixture
def read(tmp_path):
    def read_content(content, name="rows.json", task="classification", **options):
        path = tmp_path / name
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return reading(path, tmp_path / "out", task=task, **options)

    return read_content


def cells(report, *names):
    return pl.read_parquet(report["files"][0]["staged"]).select(names).rows()


@pytest.mark.parametrize("kind", NAMED)
@pytest.mark.parametrize("name", ["rows.json", "rows.txt"])
def test_the_same_rows_come_out_however_json_was_written(read, kind, name):
    report = read(NAMED[kind], name)
    assert cells(report, "text", "label") == ROWS
    assert [column["name"] for column in report["columns"]] == ["text", "label"] and report["rows_rejected"] == 0
    assert report["plain"]


def test_rows_by_key_keep_the_key(read):
    report = read(json.dumps({f"review {i}": record for i, record in enumerate(RECORDS)}))
    assert cells(report, "key", "text", "label")[39] == ("review 39", *ROWS[39])
    report = read(json.dumps(dict(ROWS)))
    assert cells(report, "key", "value") == list(dict(ROWS).items())


def test_values_without_names_are_columns_without_names(read):
    assert cells(read(json.dumps(ROWS)), "column_1", "column_2") == ROWS


def test_cells_that_are_lists_do_not_turn_columns_into_records(read):
    report = read(
        json.dumps({"text": FRAME["text"].to_list(), "tags": [["a", "b"]] * 20 + [["c"]] * 20, "label": FRAME["label"].to_list()})
    )
    assert cells(report, "text", "label", "tags")[0] == (*ROWS[0], '["a","b"]')


def test_a_table_by_pandas_is_called_so(read):
    report = read(NAMED["orient columns"])
    assert [f["message"] for f in report["findings"] if f["code"] == "layout"] == [
        "rows.json was read as a table by pandas (orient columns)."
    ]


@pytest.mark.parametrize("nothing", ["NaN", "Infinity", "-Infinity", "null"])
def test_nan_in_a_column_leaves_the_cell_empty_and_keeps_the_row(read, nothing):
    lines = [json.dumps(record)[:-1] + f', "score": {nothing if i % 3 else 0.5}}}' for i, record in enumerate(RECORDS)]
    for content in ("\n".join(lines), f"[{','.join(lines)}]"):
        report = read(content)
        assert cells(report, "text", "label", "score")[:2] == [(*ROWS[0], "0.5"), (*ROWS[1], "")]
        assert report["rows_rejected"] == 0 and report["plain"]


def test_nan_in_place_of_a_label_is_a_missing_label(read):
    lines = [json.dumps(record) for record in RECORDS]
    lines[4] = '{"text": "No label here", "label": NaN}'
    report = read("\n".join(lines))
    assert "missing_label" in codes(report) and not report["plain"] and len(report["labels"]) == 4


def test_a_line_unlike_the_others_is_named_and_not_guessed(read):
    lines = [json.dumps(record) for record in RECORDS]
    lines[3], lines[9], lines[20] = str(RECORDS[3]), lines[9] + ",", '// {"text": "a"}'
    report = read("\n".join(lines))
    assert [p["row"] for p in report["problems"] if p["code"] == "not_json"] == [4, 10, 21]
    assert "comment" in next(p["message"] for p in report["problems"] if p["row"] == 21)
    assert report["rows_read"] == 37 and not report["plain"]


@pytest.mark.parametrize("comment", ["// made by hand\n", "# made by hand\n", "/* made\nby hand */\n"])
def test_comments_are_refused_by_name(read, comment):
    for content in (comment + json.dumps(RECORDS, indent=1), json.dumps(RECORDS, indent=1).replace("},", f"}}, {comment}", 1)):
        with pytest.raises(ReadingError, match="comment in line") as refused:
            read(content)
        assert refused.value.code == "not_json"


@pytest.mark.parametrize(
    "line",
    [
        "{'text': __import__('os').system('true'), 'label': 'a'}",
        "{'text': 'a' * 1000000000, 'label': 'a'}",
        "{'text': open('/etc/passwd'), 'label': 'a'}",
        "{'text': [x for x in (1, 2)], 'label': 'a'}",
        "{'text': " + "(" * 5_000 + ")" * 5_000 + ", 'label': 'a'}",
        "{'text': " + "-" * 50_000 + "1, 'label': 'a'}",
        "{'text': " + "9" * 50_000 + ", 'label': 'a'}",
    ],
    ids=range(7),
)
def test_pythons_notation_is_read_and_never_run(read, line):
    report = read("".join(f"{record}\n" for record in RECORDS) + line + "\n")
    assert [p["row"] for p in report["problems"] if p["code"] == "not_json"] == [41] and report["rows_read"] == 40


def test_a_chat_without_a_name_is_one_cell(read):
    chats = [[{"role": "user", "content": f"Hello {i}"}, {"role": "assistant", "content": f"Good day {i}"}] for i in range(20)]
    for content in ("\n".join(map(json.dumps, chats)), json.dumps(chats)):
        report = read(content, task="generation")
        assert [json.loads(cell) for (cell,) in cells(report, "messages")] == chats
        assert report["mapping"] == {"text": "messages"}
