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
