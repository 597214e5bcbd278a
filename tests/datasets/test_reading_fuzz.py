"""Whatever arrives: rows that add up, or a sentence. Never a crash."""

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.datasets.files import reading
from tests.datasets.test_reading_formats import CONTENTS
from webapp.datasets.reading import MIB, Limits, ReadingError
from webapp.datasets.reading.limited import ROOT

QUICK = settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck), derandomize=True, database=None)
PIECES = [
    b'"',
    b'""',
    b",",
    b"\n",
    b"\r\n",
    b"\r",
    b"\0",
    b"\xff",
    b"\xc3",
    b"\xef\xbb\xbf",
    b"\t",
    b";",
    b"{",
    b"[",
    b"]",
    b"\\",
    b"\x1f\x8b",
    b"a" * 300,
]


def holds_together(data):
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "rows.csv"
        path.write_bytes(data)
        try:
            report = reading(path, Path(folder) / "out")
        except ReadingError as error:
            assert error.message  # noqa: PT017
            return
        assert report["rows"] == report["rows_read"] + report["rows_rejected"] + report["rows_blank"]
        staged = pl.read_parquet(report["files"][0]["staged"])
        assert staged.height == report["rows_read"]
        assert staged["_row"].is_sorted() and staged["_row"].min() >= 1
        assert sum(staged.null_count().row(0)) == 0


@given(
    st.sampled_from(sorted(CONTENTS)),
    st.lists(st.tuples(st.floats(0, 1), st.sampled_from(PIECES), st.integers(0, 40)), min_size=1, max_size=5),
)
@QUICK
def test_damaged_files_end_in_rows_or_a_sentence(kind, changes):
    data = CONTENTS[kind]
    for where, piece, cut in changes:
        at = int(where * len(data))
        data = data[:at] + piece + data[at + cut :]
    holds_together(data)


@given(st.lists(st.sampled_from([*PIECES, b"a", b"b", b"text", b"label", b" ", b"1", "é".encode(), "文".encode()]), max_size=60))
@QUICK
def test_heaps_of_pieces_end_in_rows_or_a_sentence(pieces):
    holds_together(b"".join(pieces))


@given(
    st.lists(
        st.tuples(
            st.text(st.characters(exclude_characters="\0\r", exclude_categories=("Cs",)), min_size=1, max_size=30).map("a".__add__),
            st.sampled_from("xyz"),
        ),
        min_size=3,
        max_size=30,
    )
)
@QUICK
def test_what_pythons_csv_module_writes_is_read_back_the_same(rows):
    import csv
    import io

    out = io.StringIO()
    writer = csv.writer(out, quoting=csv.QUOTE_ALL)
    writer.writerow(["text", "label"])
    writer.writerows(rows)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "rows.csv"
        path.write_bytes(out.getvalue().encode())
        report = reading(path, Path(folder) / "out", header_row=1, delimiter=",", encoding="utf-8")
        staged = pl.read_parquet(report["files"][0]["staged"])
        assert list(staged.select("text", "label").iter_rows()) == rows


MUTANTS = int(os.environ.get("MUTANTS", "200"))  # 10,000 in the long form


@pytest.mark.timeout(120 + 2 * MUTANTS)
def test_mutants_of_every_kind_end_in_rows_or_a_sentence_and_none_is_learnt_as_its_notation():
    """No crash, no hang, no memory beyond the limit, and none ready with a chat or list as a text."""
    command = [sys.executable, "-m", "tests.datasets.mutants", str(MUTANTS), "9"]
    bounded = {**os.environ, "POLARS_MAX_THREADS": "1"}
    ran = subprocess.run(command, cwd=ROOT, env=bounded, capture_output=True, text=True, timeout=120 + 2 * MUTANTS)
    assert ran.returncode == 0, f"the process ended at mutant {ran.stderr[-300:]}"
    *wrong, totals = map(json.loads, ran.stdout.splitlines())
    assert not wrong and totals["mutants"] == MUTANTS
    assert totals["peak_mb"] * MIB < Limits().memory and min(totals["asked"], totals["refused"]) > MUTANTS / 10


# --- Records whose values are anything ------------------------------------------------------------------------------------
ANYTHING = [
    None,
    -1,
    True,
    1.5,
    "",
    "x",
    "[1]",
    "{'a': 1}",
    [],
    [[]],
    {},
    {"text": "q"},
    ["a"],
    [{"start": 0, "end": 2, "label": "x"}],
    10**30,
]
CHOICE = {"value": {"choices": ["A"]}, "from_name": "mood", "type": "choices"}
SHAPES = {
    "label studio": [{"id": 1, "data": {"text": "t"}, "annotations": [{"result": [CHOICE], "was_cancelled": False}], "predictions": []}],
    "argilla": [{"fields": {"text": "t"}, "responses": {"mood": [{"value": "A"}]}, "suggestions": {"mood": {"value": "A"}}, "status": "x"}],
    "feedback": [{"fields": {"text": "t"}, "responses": [{"values": {"mood": {"value": "A"}}, "status": "submitted"}], "suggestions": []}],
    "prodigy": [{"text": "t", "accept": ["A"], "answer": "accept", "_task_hash": 1, "options": [{"id": "A"}]}],
    "spans": [{"text": "t", "label": "A", "answer": "reject", "_task_hash": 1, "spans": [{"start": 0, "end": 1, "label": "P"}]}],
    "squad": [{"context": "a b", "qas": [{"question": "q", "answers": [{"text": "b", "answer_start": 2}], "is_impossible": False}]}],
    "hub squad": [{"context": "a b", "question": "q", "answers": {"text": ["b"], "answer_start": [2]}}],
    "tags": [{"tokens": ["a", "b"], "ner_tags": [0, 1]}],
    "several": [{"text": "t", "label": ["A", "B"]}],
    "server": {
        "features": [{"name": "label", "type": {"names": ["a"], "_type": "ClassLabel"}}],
        "rows": [{"row": {"text": "t", "label": 0}}],
    },
    "pandas": {"text": {"0": "a", "1": "b"}, "label": {"0": "x", "1": "y"}},
    "table": {"schema": {"fields": [{"name": "index"}], "primaryKey": ["index"]}, "data": [{"index": 0, "text": "a", "label": "b"}]},
}


def places(value, parent=None, key=None):
    """Every (container, key) below a value."""
    found = [] if parent is None else [(parent, key)]
    for each in list(value) if isinstance(value, dict) else range(len(value)) if isinstance(value, list) else ():
        found += places(value[each], value, each)
    return found


@given(st.sampled_from(sorted(SHAPES)), st.lists(st.tuples(st.floats(0, 1), st.sampled_from(range(len(ANYTHING)))), min_size=1, max_size=8))
@settings(QUICK, max_examples=150)
def test_records_whose_values_are_anything_end_in_rows_or_a_sentence(kind, changes):
    value = SHAPES[kind] * 6 if isinstance(SHAPES[kind], list) else SHAPES[kind]
    value = json.loads(json.dumps(value))
    for where, which in changes:
        if spots := places(value):
            parent, key = spots[min(int(where * len(spots)), len(spots) - 1)]
            parent[key] = json.loads(json.dumps(ANYTHING[which]))
    holds_together(json.dumps(value).encode())
    if isinstance(value, list):
        holds_together("\n".join(map(json.dumps, value)).encode())
