"""What is no table is named for what it is, with the way out; markup that holds rows is read; bytes that are text are text."""

import gzip
import io
import pickle
import sqlite3
import struct

import polars as pl
import pytest

from tests.datasets.files import as_tar, cells, compact, csv_text, reading, reviews, varint, zigzag, zip_with
from webapp.datasets.reading import MIB, ReadingError

ROWS = reviews(40, ("negative", "positive"))


def zipped(*names, **members):
    data = io.BytesIO()
    zip_with(data, {**dict.fromkeys(names, "<x/>"), **members})
    return data.getvalue()


def ole(stream):
    """The first sectors of an old Office file with one stream."""
    head = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(16) + b"\x3e\x00\x03\x00\xfe\xff\x09\x00" + bytes(16) + (0).to_bytes(4, "little")
    entries = b"".join(name.encode("utf-16-le").ljust(64, b"\0") + bytes(64) for name in ("Root Entry", stream))
    return head.ljust(512, b"\0") + entries + bytes(4096)


def database():
    connection = sqlite3.connect(":memory:")
    connection.execute("create table rows (text, label)")
    return connection.serialize()


def frame_in(write):
    data = io.BytesIO()
    getattr(pl.DataFrame(ROWS, schema=["text", "label"], orient="row"), write)(data)
    return data.getvalue()


MAIL = "From: Ann <a@b.org>\nTo: Ben <b@c.org>\nSubject: Rows\nDate: Mon, 2 Jan 2023 10:00:00 +0100\n\nHere they are, as promised.\n"
DUMP = "-- MySQL dump 10.13\n--\n/*!40101 SET NAMES utf8 */;\nCREATE TABLE `r` (`text` text);\nINSERT INTO `r` VALUES ('a','b');\n"
POINTER = "version https://git-lfs.github.com/spec/v1\noid sha256:4cac19622fc3ada9c0fdeadb33f88f367b541f38b89102a3f1261ac81fd5bcb5\nsize 84977953\n"
OTHERS = {
    "docx": (zipped("[Content_Types].xml", "word/document.xml"), "Word document"),
    "odt": (zipped(mimetype="application/vnd.oasis.opendocument.text"), "Word document"),
    "doc": (ole("WordDocument"), "Word document"),
    "pptx": (zipped("[Content_Types].xml", "ppt/presentation.xml"), "PowerPoint"),
    "ppt": (ole("PowerPoint Document"), "PowerPoint"),
    "protected xlsx": (ole("EncryptedPackage"), "password"),
    "msg": (ole("__substg1.0_1000001F"), "e-mail of Outlook"),
    "epub": (zipped(mimetype="application/epub+zip"), "EPUB"),
    "pages": (zipped("Index/Document.iwa"), "Pages, Numbers or Keynote"),
    "pytorch": (zipped("model/data.pkl", "model/version"), "PyTorch"),
    "npz": (zipped("a.npy", "b.npy"), "NumPy"),
    "pdf": (b"%PDF-1.7\n1 0 obj\n", "PDF"),
    "rtf": (b"{\\rtf1\\ansi Some text}", "RTF"),
    "lfs": (POINTER, "Git LFS"),
    "lfs in gzip": (gzip.compress(POINTER.encode()), "Git LFS"),
    "lfs in zip": (zipped(**{"data/train.csv": POINTER}), "Git LFS"),
    "lfs in tar": (as_tar({"data/train.csv": POINTER, "data/test.csv": POINTER}), "Git LFS"),
    "sign-in page": ("<!DOCTYPE html>\n<html><head><title>Sign in</title></head><body><form><input type=password></form></body></html>", "sign in"),
    "page": ("\n<html><body><h1>Rows</h1><p>a,b</p></body></html>", "HTML markup"),
    "two tables": ("<table>" + "<tr><td>a<td>b" * 3 + "</table><table>" + "<tr><td>a<td>b" * 3 + "</table>", "2 tables"),
    "xml": ('<?xml version="1.0"?>\n<rows><row text="a" label="b"/></rows>', "XML markup (rows)"),
    "xml without a prolog": ("<rows>\n<row>a,b</row>\n<row>c,d</row>\n</rows>\n", "XML markup (rows)"),
    "excel 2003": ('<?xml version="1.0"?><?mso-application progid="Excel.Sheet"?><Workbook/>', "Excel 2003"),
    "svg": ('<?xml version="1.0"?><svg xmlns="http://www.w3.org/2000/svg"/>', "picture"),
    "broken tmx": ('<?xml version="1.0"?><tmx version="1.4"><header srclang="en"/><body><tu><tuv xml:lang="en">', "TMX"),
    "png": (b"\x89PNG\r\n\x1a\n" + bytes(range(256)), "picture"),
    "tiff": (b"II*\x00" + bytes(64), "picture"),
    "mp4": (b"\x00\x00\x00\x20ftypisom" + bytes(64), "sound or video"),
    "mail": (MAIL, "e-mail"),
    "mbox": ("From ann@b.org Mon Jan  2 10:00:00 2023\n" + MAIL, "e-mail"),
    "mysql": (DUMP, "SQL"),
    "sql": ("CREATE TABLE rows (text TEXT);\nINSERT INTO rows VALUES ('a');\n", "SQL"),
    "sqlite": (database(), "SQLite"),
    **{f"pickle {n}": (pickle.dumps([list(row) for row in ROWS], n), "pickle") for n in range(6) if n != 1},
    "avro": (frame_in("write_avro"), "Avro"),
    "orc": (b"ORC" + bytes(range(128, 200)), "ORC"),
    "7z": (b"7z\xbc\xaf\x27\x1c" + bytes(40), "7-Zip"),
    "rar": (b"Rar!\x1a\x07\x01\x00" + bytes(40), "RAR"),
    "r": (gzip.compress(b"RDX3\nX\n\x00\x00\x00\x03" + bytes(40)), "R workspace"),
    "rds": (gzip.compress(b"X\n\x00\x00\x00\x03" + bytes(40)), "R object"),
    "stata": (b"<stata_dta><header><release>118", "Stata"),
}  # fmt: skip


@pytest.mark.parametrize("task", ["classification", "generation"])
@pytest.mark.parametrize("kind", OTHERS)
def test_what_is_no_table_is_named_for_what_it_is(read, kind, task):
    data, words = OTHERS[kind]
    with pytest.raises(ReadingError) as refused:
        read(data, task=task)
    assert words in refused.value.message and refused.value.code in {"not_data", "damaged"}
    assert refused.value.message.count(".") > 1 or "damaged" in refused.value.code  # what it is, and the way out
    assert "rows.csv" in refused.value.message


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("36_word_document/texts.docx", "Word"),
        ("35_not_the_file/train.csv", "markup"),
    ],
)
def test_files_that_people_sent_elsewhere_are_named(case, name, words):
    for task in ("classification", "generation", "translation"):
        with pytest.raises(ReadingError, match=words):
            case(name, task=task)


@pytest.mark.parametrize(
    "text",
    [
        "ORCID of the author", "RIFF on a theme", "BZh is no word", "PARE the apple", "GGUF", "RDX", "From: the heart", "<b>Bold</b> words",
        "-- a dash at first", "INSERT COIN to go on", "Subject: matter", "version https of it", "MSCF", "X", "%P", "(list", "coming soon",
    ],
)  # fmt: skip
def test_texts_that_begin_like_something_else_are_texts(read, text):
    rows = [(f"{text}, number {n}", "ab"[n % 2]) for n in range(30)]
    lines = "".join(f'"{t}",{label}\n' for t, label in rows)
    assert cells(read(f"text,label\n{lines}"), "text", "label") == rows
    bare = [t.replace(",", " -") for t, _ in rows]
    report = read("\n".join(bare) + "\n", "rows.txt", task="generation")
    assert [t for (t,) in cells(report, "column_1")] == bare
    first = read(f"{text},label\n" + "".join(f"words of row {n},{'ab'[n % 2]}\n" for n in range(30)))
    assert len(first["columns"]) == 2


# --- Pages with a table -----------------------------------------------------------------------------------------------------
def test_a_page_that_is_called_a_workbook_is_read(case):
    report = case("34_html_as_xls/report.xls")
    assert report["plain"] and report["rows_read"] == 60
    assert cells(report, "text", "label")[:2] == [
        ("I would buy this tent again tomorrow. Order 101.", "positive"),
        ("Nothing but trouble with the lamp. Day 102.", "negative"),
    ]


@pytest.mark.parametrize(("charset", "encoding"), [("windows-1252", "cp1252"), ("utf-8", "utf-8"), ("", "utf-8"), ("", "utf-16")])
def test_the_cells_of_a_page_are_its_texts(read, charset, encoding):
    rows = [(f"Größe <{n}> & “mehr”\nzweite Zeile", ("gut", "böse")[n % 2]) for n in range(20)]
    shown = [(t.replace("&", "&amp;").replace("<", "&lt;").replace("\n", "<br>"), label) for t, label in rows]
    lines = "".join(f"<tr><td> <p>{t}</p><script>x()</script>\n<td><!-- no -->{label}" for t, label in shown)
    meta = f"<meta charset='{charset}'>" if charset else ""
    page = f"<html><head>{meta}</head><table><tr><td>menu</table><table><thead><tr><th>text<th>label</thead>{lines}</table></html>"
    assert cells(read(page.encode(encoding), "report.xls"), "text", "label") == rows


def test_nothing_of_a_page_is_fetched_or_unfolded(read, tmp_path):
    (tmp_path / "secret").write_text("SECRET")
    bombs = "".join(f'<!ENTITY l{n} "{f"&l{n - 1};" * 10}">' for n in range(1, 12))
    doctype = f'<!DOCTYPE tmx [<!ENTITY l0 "ha">{bombs}<!ENTITY x SYSTEM "file://{tmp_path}/secret">]>'
    units = "".join(
        f"<tu><tuv xml:lang='en'><seg>one {n} &x;</seg></tuv><tuv xml:lang='de'><seg>eins &l11;</seg></tuv></tu>" for n in range(20)
    )
    try:
        report = read(
            f"<?xml version='1.0'?>{doctype}<tmx version='1.4'><header srclang='en'/><body>{units}</body></tmx>", task="translation"
        )
        assert cells(report, "en", "de")[3] == ("one 3", "eins")
    except ReadingError as refused:
        assert "TMX" in refused.message  # noqa: PT017
    page = f"<!DOCTYPE html SYSTEM 'file://{tmp_path}/secret'><table>" + "<tr><td>&x; one<td>two" * 5 + "</table>"
    assert "SECRET" not in str(read(page))


def test_deep_and_endless_markup_is_refused_in_words(read):
    for data in ("<html>" + "<div>" * 100_000, "<table>" + "<table><tr><td>" * 20_000, "<?xml version='1.0'?><tmx>" + "<tu>" * 100_000):
        with pytest.raises(ReadingError) as refused:
            read(data)
        assert len(refused.value.message) > 20


def test_a_page_of_more_than_its_limit_is_refused(read, tmp_path):
    path = tmp_path / "page.html"
    with path.open("wb") as file:
        file.write(b"<html><table>")
        file.truncate(65 * MIB)
    with pytest.raises(ReadingError) as refused:
        reading(path, tmp_path / "out")
    assert refused.value.code == "too_large"


# --- Translation memories ---------------------------------------------------------------------------------------------------
def test_a_translation_memory_is_read_as_pairs(case):
    report = case("22_tmx/memory.tmx", task="translation")
    assert report["plain"] and report["mapping"] == {"source": "en", "target": "de"} and report["rows_read"] == 60
    assert cells(report, "en", "de")[0] == ("I can see the red house number 0.", "Ich sehe das rote Haus Nummer 0.")
    with_no_task = case("22_tmx/memory.tmx", task="")
    assert with_no_task["task"] == "translation"


@pytest.mark.parametrize("encoding", ["utf-8", "utf-16", "iso-8859-1"])
def test_the_source_language_of_a_memory_comes_first_and_codes_are_left_out(read, encoding):
    seg = "<seg>Häuser <bpt i='1'>&lt;b&gt;</bpt>sind<ept i='1'>&lt;/b&gt;</ept> <hi>groß</hi> &amp; {n}</seg>"
    units = "".join(
        f"<tu tuid='{n}'><note>x</note><tuv xml:lang='EN-US'><seg>Houses are big &amp; {n}</seg></tuv>"
        f"<tuv xml:lang='DE-DE'>{seg.replace('{n}', str(n))}</tuv></tu>"
        for n in range(20)
    )
    doctype = '<!DOCTYPE tmx SYSTEM "tmx14.dtd">'
    memory = f'<?xml version="1.0" encoding="{encoding}"?>{doctype}<tmx version="1.4"><header srclang="de-DE"/><body>{units}</body></tmx>'
    report = read(memory.encode(encoding), "memory.tmx", task="translation")
    assert [column["name"] for column in report["columns"]] == ["DE-DE", "EN-US"]
    assert cells(report, "DE-DE", "EN-US")[3] == ("Häuser sind groß & 3", "Houses are big & 3")
    assert [row["_row"] for row in report["preview"][:3]] == [1, 2, 3]


# --- Bytes in Parquet -------------------------------------------------------------------------------------------------------
def test_strings_that_parquet_does_not_mark_are_texts(case):
    report = case("41_parquet_types/binary_spam_ham.parquet")
    assert report["plain"] and [label["name"] for label in report["labels"]] == ["ham", "spam"]
    assert cells(report, "text", "label")[:2] == [
        ("I would buy this tent again tomorrow. Order 101.", "ham"),
        ("Nothing but trouble with the lamp. Day 102.", "spam"),
    ]
    report = case("41_parquet_types/binary_strings.parquet")
    assert report["plain"] and [label["name"] for label in report["labels"]] == ["negative", "positive"]


@pytest.mark.parametrize("name", ["dictionary", "struct", "bool", "messages", "translation", "float_labels"])
def test_the_other_types_of_parquet_stay_right(case, name):
    assert case(f"41_parquet_types/{name}.parquet")["rows_read"] == 60


def test_bytes_that_are_no_text_are_named_and_never_a_text(tmp_path):
    path = tmp_path / "rows.parquet"
    columns = {"picture": [b"\x89PNG\xff"] * 39 + [None], "half": [b"ok", b"\xff"] * 20, "text": [t.encode() for t, _ in ROWS]}
    pl.DataFrame({**columns, "label": [label for _, label in ROWS], "tags": [[b"a"]] * 40}).write_parquet(path)
    report = reading(path, tmp_path / "out")
    assert {f["column"] for f in report["findings"] if f["code"] == "bytes"} == {"picture", "half"} and report["plain"]
    assert cells(report, "picture", "half", "text", "tags")[1] == ("", "", ROWS[1][0], "a")


def test_times_and_arrays_of_parquet_are_written_out(tmp_path):
    path = tmp_path / "rows.parquet"
    frame = pl.DataFrame(ROWS, schema=["text", "label"], orient="row")
    took, pair = pl.duration(minutes=3).alias("took"), pl.Series("pair", [[1, 2]] * 40, pl.Array(pl.Int64, 2))
    frame.with_columns(took, pair).write_parquet(path)
    assert cells(reading(path, tmp_path / "out"), "took", "pair.0", "pair.1")[0] == ("PT3M", "1", "2")


def test_a_table_of_markup_in_its_cells_is_a_table(read):
    rows = [(f"<p>Great, number {n}</p>", "ab"[n % 2]) for n in range(30)]
    report = read("".join(f'"{t}",{label}\n' for t, label in rows))
    assert cells(report, "column_1", "column_2") == rows
    assert cells(read("".join(f"{t.replace(',', '')}\t{label}\n" for t, label in rows), "rows.tsv"), "column_2")[1] == ("b",)
    assert cells(read(csv_text(ROWS)), "text", "label") == ROWS


def test_a_footer_whose_fields_are_of_other_kinds_is_damaged(tmp_path):
    path = tmp_path / "rows.parquet"
    root = compact([(4, 8, varint(6) + b"schema"), (5, 5, zigzag(1))])
    for schema, groups in ((root, b"\x10"), (b"\x02ab", None)):  # row groups as a number; the schema as a string
        kind = 12 if schema is root else 8
        listed = bytes([1 << 4 | kind]) + schema
        group = bytes([1 << 4 | 5]) + zigzag(1) if groups else bytes([0 << 4 | 12])
        footer = compact([(1, 5, zigzag(2)), (2, 9, listed), (3, 6, zigzag(1)), (4, 9, group)])
        path.write_bytes(b"PAR1" + bytes(64) + footer + struct.pack("<I", len(footer)) + b"PAR1")
        with pytest.raises(ReadingError) as refused:
            reading(path, tmp_path / "out")
        assert refused.value.code == "damaged"
