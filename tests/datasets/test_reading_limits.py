"""Hostile and broken files: a sentence with a remedy, soon, and nobody else is harmed. These run the real child."""

import gzip
import json
import os
import resource
import signal
import subprocess
import sys
import threading
import time

import polars as pl
import psutil
import pytest

from tests.datasets.files import csv_text, gzip_bomb, lying_parquet, reading, reviews, tight_gzip_bomb, zip_with
from webapp.datasets.reading import MIB, ReadingError, limited


@pytest.fixture
def child(tmp_path):
    """A function that reads a file in the limited child, with other limits if a test wants."""

    def read(path, on_progress=None, **limits):
        files = [{"part": "file", "name": path.name, "path": str(path)}]
        return limited.run("read", {"files": files, "task": "classification", "out": str(tmp_path / "out"), "limits": limits}, on_progress)

    return read


def refused(child, path, **limits):
    with pytest.raises(ReadingError) as error:
        child(path, **limits)
    assert len(error.value.message) > 20 and error.value.message.endswith((".", "?"))
    return error.value.code


def peak_of_children(work):
    """Peak MB of the reading child while `work` ran."""
    peak, done = 0.0, threading.Event()

    def watch():
        nonlocal peak
        while not done.wait(0.02):
            for process in psutil.Process().children(recursive=True):
                try:
                    if "webapp.datasets.reading" in process.cmdline():
                        peak = max(peak, process.memory_info().rss / MIB)
                except psutil.Error:
                    pass

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        work()
    finally:
        done.set()
        watcher.join()
    return peak


def test_a_good_file_comes_through_the_child_with_progress(child, tmp_path):
    path = tmp_path / "rows.csv"
    path.write_text(csv_text(reviews(50)))
    seen = []
    report = child(path, lambda *step: seen.append(step))
    assert report["rows"] == 50 and report["plain"]
    assert seen and all(done <= total for _, done, total in seen)


def test_gigabytes_in_a_small_gzip_are_stopped_soon_and_in_little_memory(child, tmp_path):
    path = tmp_path / "bomb.csv.gz"
    tight_gzip_bomb(path, 64)  # 4 GB
    assert path.stat().st_size < 5 * MIB
    codes = []
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    peak = peak_of_children(lambda: codes.append(refused(child, path)))
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert codes == ["bomb"]
    assert after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime < 3  # of computing, whatever else the machine does
    assert peak < 200
    assert not list((tmp_path / "out").glob("plain*"))


def test_a_text_bomb_is_stopped_at_two_hundred_times_its_size(child, tmp_path):
    path = tmp_path / "bomb.csv.gz"
    gzip_bomb(path, 70)
    assert refused(child, path) == "bomb"


def test_a_zip_bomb_and_a_zip_in_a_zip_are_refused(child, tmp_path):
    bomb, nested = tmp_path / "bomb.zip", tmp_path / "nested.zip"
    zip_with(bomb, {"rows.csv": b"a,b\n" * (17 * MIB)})
    assert refused(child, bomb) == "bomb"
    zip_with(nested, {"inner.zip": bomb.read_bytes()})
    assert refused(child, nested) == "nested"
    twice = tmp_path / "twice.csv.gz"
    twice.write_bytes(gzip.compress(gzip.compress(b"text,label\n")))
    assert refused(child, twice) == "nested"


def test_a_parquet_file_that_declares_two_thousand_million_rows_is_refused(child, tmp_path):
    path = tmp_path / "rows.parquet"
    lying_parquet(path)
    assert path.stat().st_size < 1024
    assert refused(child, path) == "bomb"
    lying_parquet(path, rows=1_000, unfolded=2**40)
    assert refused(child, path) == "bomb"


@pytest.mark.parametrize("chars", [4_000, 200_000])
def test_a_parquet_file_whose_dictionary_unfolds_to_gigabytes_is_refused_soon(child, tmp_path, chars):
    path, rows = tmp_path / "dictionary.parquet", 1_000_000
    texts = pl.Series("text", [f"{'x' * chars} {i}" for i in range(3)]).cast(pl.Categorical)
    table = {"text": texts.gather(pl.arange(rows, eager=True) % 3), "label": pl.Series(["a", "b"] * (rows // 2)).cast(pl.Categorical)}
    pl.DataFrame(table).write_parquet(path)
    assert path.stat().st_size < 100_000
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert refused(child, path) in ("bomb", "too_much_memory")
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime < 60


def test_a_reading_that_computes_without_coming_further_is_ended(child, tmp_path):
    path = tmp_path / "reviews.csv"
    path.write_bytes(csv_text(reviews(20_000)).encode())
    assert refused(child, path, silent_cpu_s=0.1) == "too_slow"


def test_a_reading_that_nobody_waits_for_any_more_is_ended(tmp_path):
    path, out = tmp_path / "reviews.csv", tmp_path / "out"
    path.write_bytes(csv_text(reviews(200_000)).encode())
    job = {"files": [{"part": "file", "name": "reviews.csv", "path": str(path)}], "task": "classification", "out": str(out)}
    began = time.monotonic()
    with pytest.raises(limited.Unwanted):
        limited.run("read", job, is_wanted=lambda: time.monotonic() < began + 1)
    assert not [p for p in psutil.Process().children(recursive=True) if "webapp.datasets.reading" in p.cmdline()]


def test_too_much_memory_ends_the_child_and_not_the_parent(child, tmp_path):
    path = tmp_path / "rows.json"
    path.write_text(json.dumps([{"text": text * 20, "label": label} for text, label in reviews(60_000)]))
    me = os.getpid()
    with pytest.raises(ReadingError) as error:
        child(path, memory=260 * MIB)
    assert error.value.code == "too_much_memory"
    assert "260 MB" in error.value.message
    assert os.getpid() == me and child_count() == 0


def child_count():
    return sum("webapp.datasets.reading" in p.cmdline() for p in psutil.Process().children(recursive=True) if p.status() != "zombie")


def test_a_reading_that_takes_too_long_is_ended(child, tmp_path):
    path = tmp_path / "rows.csv"
    path.write_text(csv_text(reviews(50)))
    assert refused(child, path, wall_s=0.05) == "too_slow"
    assert child_count() == 0


def test_a_child_that_is_killed_leaves_a_sentence(child, tmp_path):
    path = tmp_path / "rows.csv"
    path.write_text(csv_text(reviews(200_000)))
    with pytest.raises(ReadingError) as error:
        child(
            path,
            lambda *_: [p.send_signal(signal.SIGKILL) for p in psutil.Process().children() if "webapp.datasets.reading" in p.cmdline()],
        )
    assert error.value.code == "too_much_memory"


def test_a_reading_ends_with_the_worker_that_asked_for_it(tmp_path):
    path = tmp_path / "rows.csv"
    path.write_text(csv_text(reviews(300_000)))
    job = {"files": [{"part": "file", "name": "rows.csv", "path": str(path)}], "task": "classification", "out": str(tmp_path / "out")}
    code = f"from webapp.datasets.reading import limited; limited.run('read', {job!r}, lambda *_: print('on', flush=True))"
    worker = subprocess.Popen([sys.executable, "-c", code], cwd=limited.ROOT, stdout=subprocess.PIPE)
    worker.stdout.readline()
    child = psutil.Process(worker.pid).children()[0]
    worker.kill()
    worker.wait()
    child.wait(5)
    assert not psutil.pid_exists(child.pid)


def test_the_child_gets_no_secret_and_no_django(tmp_path, monkeypatch):
    monkeypatch.setenv("SECRET_KEY", "x" * 60)
    monkeypatch.setenv("DATABASE_URL", "postgres://user:password@host/name")
    with open(tmp_path / "noise", "w+b") as noise:
        process = limited.child("read", {}, noise)
        try:
            time.sleep(0.3)
            environment = psutil.Process(process.pid).environ()
        finally:
            limited.kill(process)
    assert not {name for name in environment if "SECRET" in name or "DATABASE" in name or "DJANGO" in name or "REDIS" in name}
    assert environment["POLARS_MAX_THREADS"] == "1"


def test_reading_does_not_import_django_or_torch():
    code = "import sys, webapp.datasets.reading.read, webapp.datasets.reading.publish; print([m for m in ('django', 'torch') if m in sys.modules])"
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=limited.ROOT)
    assert answer.stdout.strip() == "[]"


def test_the_limits_of_the_child_do_not_touch_this_process(child, tmp_path):
    before = resource.getrlimit(resource.RLIMIT_AS)
    path = tmp_path / "rows.csv"
    path.write_text(csv_text(reviews(20)))
    child(path)
    assert resource.getrlimit(resource.RLIMIT_AS) == before


@pytest.mark.parametrize(
    ("name", "data", "code"),
    [
        ("picture.csv", b"\x89PNG\r\n\x1a\n" + bytes(range(256)) * 20, "not_data"),
        ("noise.csv", bytes(i * 197 % 251 % 32 for i in range(5_000)), "binary"),
        ("document.pdf", b"%PDF-1.7 ...", "not_data"),
        ("model.pkl", b"\x80\x04\x95\x10\x00\x00\x00\x00\x00\x00\x00.", "not_data"),
        ("deep.json", b"[" * 100_000 + b"]" * 100_000, "not_json"),
        ("deeper.json", b'{"a":' * 5_000, "not_json"),
        ("half.json", b'[{"text": "a", "lab', "not_json"),
        ("wide.csv", b",".join(b"c%d" % i for i in range(5_000)) + b"\n" + b"," * 4_999 + b"\n", "too_many_columns"),
        ("line.csv", b"text,label\n" + b"a" * (18 * MIB) + b",b\n", "line_too_long"),
        ("cut.gz", gzip.compress(b"text,label\nabc,d\n" * 100, mtime=0)[:-20], "damaged"),
        ("cut.zip", b"PK\x03\x04" + bytes(50), "damaged"),
        ("cut.parquet", b"PAR1" + bytes(100) + b"PAR1", "damaged"),
        ("cut.xls", b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(600), "damaged"),
        ("blank.csv", b"\n\n  \n", "no_rows"),
    ],
)
def test_what_is_no_table_gets_a_clear_word(tmp_path, name, data, code):
    path = tmp_path / name
    path.write_bytes(data)
    with pytest.raises(ReadingError) as error:
        reading(path, tmp_path / "out")
    assert (error.value.code, error.value.file) == (code, name)


def test_a_cell_of_more_than_a_megabyte_costs_its_row_only(tmp_path):
    path = tmp_path / "rows.csv"
    path.write_text(csv_text([*reviews(20), ("long " * 300_000, "neutral"), *reviews(5)]))
    report = reading(path, tmp_path / "out")
    assert (report["rows_read"], report["rows_rejected"], report["counts"]) == (25, 1, {"too_long": 1})
    assert report["problems"][0]["row"] == 22


def test_a_quote_that_never_closes_costs_its_line_even_in_a_large_file(tmp_path):
    path = tmp_path / "rows.csv"
    rows = csv_text(reviews(30_000)).splitlines()
    rows[20_000] = '"this one, never closes,neutral'
    path.write_text("\n".join(rows))
    report = reading(path, tmp_path / "out")
    assert (report["rows_read"], report["counts"]) == (29_999, {"unclosed_quote": 1})
    assert report["problems"][0]["row"] == 20_001


def test_a_table_full_of_broken_quotes_is_refused(tmp_path):
    path = tmp_path / "rows.csv"
    path.write_text(csv_text(reviews(1_000)) + '"this one never closes,neutral\n' * 11_000)
    with pytest.raises(ReadingError, match="broken quotation marks") as error:
        reading(path, tmp_path / "out")
    assert error.value.row > 10_000
