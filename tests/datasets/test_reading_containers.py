"""Archives and workbooks: every table in them is read where it belongs, or a person is asked."""

import bz2
import gzip
import io
import lzma
import tarfile
import zipfile

import polars as pl
import pytest
import zstandard

from tests.datasets.files import as_tar, book_of, cells, codes, csv_text, publishing, reading, reviews, zip_with
from webapp.datasets.reading import ReadingError

ROWS = reviews(60, ("negative", "positive"))
PACKERS = {"gz": gzip.compress, "bz2": bz2.compress, "xz": lzma.compress, "zst": zstandard.ZstdCompressor().compress}


@pytest.fixture
def read(tmp_path):
    """A function that reads an archive of {name: content}."""

    def of(members, kind="zip", **options):
        path = tmp_path / f"rows.{kind}"
        if kind == "zip":
            zip_with(path, members)
        else:
            path.write_bytes(PACKERS.get(kind.removeprefix("tar."), bytes)(as_tar(members)))
        return reading(path, tmp_path / "out", **options)

    return of


def parquet(rows):
    data = io.BytesIO()
    pl.DataFrame(rows, schema=["text", "label"], orient="row").write_parquet(data)
    return data.getvalue()


def split_of(published):
    """{part: rows of text and label} of a version."""
    frame = pl.read_parquet(published["path"])
    return {part: set(frame.filter(pl.col("_split") == part).select("text", "label").iter_rows()) for part in frame["_split"].unique()}


# --- Compressors and archives -----------------------------------------------------------------------------------------------
@pytest.mark.parametrize("kind", PACKERS)
def test_the_same_rows_come_out_of_every_compressor(tmp_path, kind):
    path = tmp_path / f"rows.csv.{kind}"
    data = csv_text(ROWS).encode()
    path.write_bytes(PACKERS[kind](data[:500]) + PACKERS[kind](data[500:]))  # two frames are one file
    report = reading(path, tmp_path / "out")
    assert report["plain"] and cells(report, "text", "label") == ROWS
    assert report["files"][0]["member"] == "rows.csv"
    assert not list((tmp_path / "out").glob("plain*"))


@pytest.mark.parametrize("kind", ["zip", "tar", "tar.gz", "tar.bz2", "tar.xz", "tar.zst"])
def test_parts_of_an_archive_become_parts_of_the_version(read, tmp_path, kind):
    members = {"data/train.csv": csv_text(ROWS[:40]), "data/dev.csv": csv_text(ROWS[40:50]), "data/test.csv": csv_text(ROWS[50:])}
    report = read({**members, "README.md": "# rows", "data/LICENSE": "free", "__MACOSX/data/._train.csv": "x", ".DS_Store": "x"}, kind)
    assert report["plain"] and cells(report, "text", "label") == ROWS
    assert [(f["part"], f["member"], f["packed"]) for f in report["files"]] == [
        ("train", "data/train.csv", kind),
        ("validation", "data/dev.csv", kind),
        ("test", "data/test.csv", kind),
    ]
    assert ["README.md, data/LICENSE" in f["message"] for f in report["findings"] if f["code"] == "no_rows_beside"] == [True]
    assert split_of(publishing(report, tmp_path)) == {"train": set(ROWS[:40]), "validation": set(ROWS[40:50]), "test": set(ROWS[50:])}


def test_tars_are_read_and_a_damaged_end_of_one_is_named(case):
    report = case("37_tarball/reviews.tar.gz")
    assert report["plain"] and report["rows_read"] == 3600 and [c["name"] for c in report["columns"]] == ["text", "label"]
    assert report["preview"][0]["text"].startswith("I would buy this tent again tomorrow. Order 101. Line 0 of a longer file")
    report = case("37_tarball/two.tar")
    assert [(f["part"], f["rows_read"]) for f in report["files"]] == [("train", 3600), ("test", 1400)]
    assert {label["name"] for label in report["labels"]} == {"negative", "positive"}
    assert report["problems"][0]["file"] == "two.tar: reviews/test.csv" and not report["plain"]  # its last line is cut


def test_train_and_test_files_of_a_zip_are_parts(case):
    report = case("39_zip_train_test/data.zip")
    assert report["plain"] and [(f["part"], f["rows_read"]) for f in report["files"]] == [("train", 45), ("test", 15)]
    first, last = cells(report, "text", "label")[0], cells(report, "text", "label")[45]
    assert first == ("I would buy this tent again tomorrow. Order 101.", "positive") and len(last[0]) > 10


def test_shards_are_joined_in_their_order_and_a_missing_one_is_asked_about(read):
    shards = {f"data/train-{n:05}-of-00003.parquet": parquet(ROWS[n * 20 : n * 20 + 20]) for n in (2, 0, 1)}
    report = read(shards)
    assert report["plain"] and cells(report, "text", "label") == ROWS
    shards.pop("data/train-00001-of-00003.parquet")
    report = read(shards)
    assert not report["plain"] and "train-00001-of-00003" in next(f["message"] for f in report["findings"] if f["code"] == "missing_piece")


def test_files_of_the_same_columns_are_joined_and_asked_about_and_keep_their_names(read):
    report = read({"hotels/good.csv": csv_text(ROWS[:30]), "hotels/bad.csv": csv_text(ROWS[30:])})
    assert not report["plain"] and next(f["asks"] for f in report["findings"] if f["code"] == "several_files") == "member"
    assert set(cells(report, "text", "label", "file")) == {(*r, "good") for r in ROWS[:30]} | {(*r, "bad") for r in ROWS[30:]}
    assert {p["name"] for p in report["files"][0:1]} == {"rows.zip"} and report["files"][0]["members"] == [
        "hotels/bad.csv",
        "hotels/good.csv",
    ]
    assert cells(read({"a.csv": csv_text(ROWS[:30]), "b.csv": csv_text(ROWS[30:])}, member="b.csv"), "text", "label") == ROWS[30:]


def test_many_files_of_one_kind_are_not_complained_about_one_by_one(read):
    rows = reviews(200)
    report = read({f"part-{n}.csv": csv_text(rows[n * 10 : n * 10 + 10], header="") for n in range(20)})
    assert cells(report, "column_1", "column_2") == rows and 0 < sum(f["code"] == "no_header" for f in report["findings"]) <= 5


def test_a_file_for_each_class_leaves_the_class_to_choose(read):
    texts = [text for text, _ in ROWS]
    report = read({"positive.txt": "\n".join(texts[:30]), "negative.txt": "\n".join(texts[30:])}, task="generation")
    assert not report["plain"] and [name for (name,) in cells(report, "file")] == ["negative"] * 30 + ["positive"] * 30


def test_what_was_not_read_is_named_and_asked_about(read):
    other = "id,comment\n" + "".join(f"{n},words about row {n}\n" for n in range(5))
    for name, content in {
        "notes.csv": other,
        "all.csv": csv_text(ROWS),
        "more.zip": "PK\x03\x04",
        "rows.xyz": "abc",
        "old.csv": "version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 12\n",
    }.items():
        report = read({"train.csv": csv_text(ROWS[:40]), "test.csv": csv_text(ROWS[40:]), name: content})
        asked = next(f for f in report["findings"] if f["code"] in {"other_files", "unread_files"})
        assert name in asked["message"] and asked["asks"] == "member" and not report["plain"]
        assert cells(report, "text", "label") == ROWS


def test_test_rows_without_labels_are_not_mixed_in(read):
    report = read({"train.csv": csv_text(ROWS), "test.csv": "id,text\n" + "".join(f"{n},words {n}\n" for n in range(20))})
    assert not report["plain"] and report["rows_read"] == 60 and "test.csv" in report["findings"][0]["message"]


def test_rows_are_named_with_their_file(read, tmp_path):
    members = {
        "train.csv": csv_text([*ROWS[:40], ("", "positive")]),
        "test.csv": csv_text([*ROWS[40:], ("x" * 30, "")]) + "one,two,three\n",
    }
    report = read(members)
    named = {(p["file"], p["row"], p["code"]) for p in report["problems"]}
    assert named == {("rows.zip: train.csv", 42, "bad_text"), ("rows.zip: test.csv", 22, "bad_label"), ("rows.zip: test.csv", 23, "ragged")}
    publishing(report, tmp_path)
    rejected = (tmp_path / "rejected.csv").read_text()
    assert "42,rows.zip: train.csv," in rejected and "22,rows.zip: test.csv," in rejected and "23,rows.zip: test.csv," in rejected


# --- Limits -----------------------------------------------------------------------------------------------------------------
def test_an_archive_in_an_archive_is_refused_by_name(read, tmp_path):
    zip_with(tmp_path / "inner.zip", {"rows.csv": csv_text(ROWS)})
    for kind, name in (("zip", "inner.zip"), ("tar", "inner.zip"), ("zip", "rows.csv"), ("tar.gz", "rows.csv")):
        with pytest.raises(ReadingError, match=name) as refused:
            read({name: (tmp_path / "inner.zip").read_bytes()}, kind)
        assert refused.value.code == "nested"


@pytest.mark.parametrize("kind", ["zip", "tar.gz", "tar.zst"])
def test_many_members_are_a_bomb_together(read, kind):
    with pytest.raises(ReadingError) as refused:
        read({f"{n}.csv": b"text,label\n" + b"0" * 8 * 1024 * 1024 for n in range(12)}, kind)
    assert refused.value.code == "bomb"


def test_links_devices_and_holes_of_a_tar_are_passed_over(tmp_path):
    path = tmp_path / "rows.tar"
    with tarfile.open(path, "w") as archive:
        for name, kind in (
            ("train.csv", tarfile.SYMTYPE),
            ("hard.csv", tarfile.LNKTYPE),
            ("dev.csv", tarfile.CHRTYPE),
            ("pipe", tarfile.FIFOTYPE),
        ):
            info = tarfile.TarInfo(name)
            info.type, info.linkname = kind, "/etc/passwd"
            archive.addfile(info)
    with pytest.raises(ReadingError) as refused:
        reading(path, tmp_path / "out")
    assert refused.value.code == "nothing_inside"


def test_names_that_lead_out_of_the_folder_write_nothing_there(tmp_path):
    home = tmp_path / "home" / "out"
    members = {"../../train.csv": csv_text(ROWS[:40]), "/tmp/of/test.csv": csv_text(ROWS[40:])}
    for number, data in enumerate((as_tar(members), None)):
        path = tmp_path / f"{number}.dat"
        path.write_bytes(data) if data else zip_with(path, members)
        before = {p for p in tmp_path.rglob("*") if home not in p.parents and p != home}
        report = reading(path, home)
        assert cells(report, "text", "label") == ROWS and [f["part"] for f in report["files"]] == ["train", "test"]
        assert {p for p in tmp_path.rglob("*") if home not in p.parents and p != home} - before <= {home.parent}
        assert {p.name for p in home.iterdir()} == {
            f"{what}-{part}.{end}" for what, end in (("staged", "parquet"), ("rejected", "csv")) for part in ("train", "test")
        }


def test_too_many_files_and_passwords_are_refused(read, tmp_path, monkeypatch):
    path = tmp_path / "locked.zip"
    zip_with(path, {"rows.csv": csv_text(ROWS)})
    data = bytearray(path.read_bytes())
    for sign, at in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        data[data.index(sign) + at] |= 1
    path.write_bytes(data)
    with pytest.raises(ReadingError) as refused:
        reading(path, tmp_path / "out")
    assert refused.value.code == "encrypted"
    with pytest.raises(ReadingError) as refused:
        read({f"table{n}.csv": "a,b\n" for n in range(1_001)})
    assert refused.value.code == "too_many_members"


# --- A folder for each class --------------------------------------------------------------------------------------------------
def test_the_folder_of_a_text_is_its_class(case, tmp_path):
    report = case("20_folder_per_class_zip/reviews.zip")
    assert report["plain"] and report["rows_read"] == 60
    assert report["mapping"] == {"text": "text", "label": "label", "split": "split"}
    found = cells(report, "text", "label", "split")
    assert found[:2] == [
        ("I would buy this tent again tomorrow. Order 101.", "pos", "test"),
        ("Nothing but trouble with the lamp. Day 102.", "neg", "train"),
    ]
    assert {(label, part): sum(f[1:] == (label, part) for f in found) for label in ("pos", "neg") for part in ("train", "test")} == {
        ("pos", "train"): 24, ("pos", "test"): 6, ("neg", "train"): 24, ("neg", "test"): 6,
    }  # fmt: skip
    held = split_of(publishing(report, tmp_path))["test"]
    assert held == {f[:2] for f in found if f[2] == "test"}
    names = [name for (name,) in cells(report, "file")]
    assert len(set(names)) == 60 and all(name.split("/")[-2] == label for name, (_, label, _) in zip(names, found, strict=True))


@pytest.mark.parametrize("kind", ["zip", "tar.gz"])
@pytest.mark.parametrize("layout", ["{label}/{n}.txt", "top/{part}/{label}/{n}.txt", "{label}/{part}/{n}", "a/b/{label}/doc-{n}.text"])
def test_folders_of_classes_are_found_in_every_layout(read, kind, layout):
    rows = [(f"Line one of {n}.\n\nNaïve “line” two.", ("good", "bad", "so so")[n % 3], ("train", "test")[n % 4 == 0]) for n in range(48)]
    members = {layout.format(n=n, label=label, part=part): text for n, (text, label, part) in enumerate(rows)}
    report = read({**members, "README.txt": "about", "labels.txt": "good\nbad"}, kind)
    assert set(cells(report, "text", "label")) == {row[:2] for row in rows}
    if "{part}" in layout:
        assert set(cells(report, "text", "label", "split")) == set(rows)


def test_texts_without_a_class_and_files_beside_the_folders_are_said(read):
    members = {
        f"aclImdb/{part}/{label}/{n}_7.txt": f"text {n} of {label}"
        for n in range(20)
        for part, label in (("train", "pos"), ("train", "neg"), ("train", "unsup"), ("test", "pos"), ("test", "neg"))
    }
    report = read({**members, "aclImdb/imdb.vocab": "the\na", "aclImdb/train/urls_pos.txt": "http://a"})
    assert {label["name"]: label["rows"] for label in report["labels"]} == {"pos": 40, "neg": 40, "": 20}
    assert {"unread_files", "missing_label"} <= codes(report) and not report["plain"]


def test_texts_of_folders_keep_their_encoding(read):
    rows = {f"{label}/{n}.txt": f"Größe und Straße Nummer {n} für {label}".encode("cp1252") for n in range(20) for label in ("gut", "böse")}
    report = read(rows)
    assert set(cells(report, "text", "label")) == {(data.decode("cp1252"), name.split("/")[0]) for name, data in rows.items()}


# --- Two sides of a translation -------------------------------------------------------------------------------------------------
PAIRS = [(f"I can see the red house number {n}.", f"Ich sehe das rote Haus Nummer {n}.") for n in range(40)]


def sides(rows):
    return ["\n".join(side) + "\n" for side in zip(*rows, strict=True)]


def test_two_files_of_lines_are_pairs(case):
    report = case("21_moses_zip/corpus.zip", task="translation")
    assert report["mapping"] == {"source": "en", "target": "de"} and report["rows_read"] == 60
    assert cells(report, "en", "de")[0] == ("I can see the red house number 0.", "Ich sehe das rote Haus Nummer 0.")
    assert "pair_order" in codes(report) and not report["plain"]


@pytest.mark.parametrize(
    ("one", "other"),
    [("corpus.en-de.en", "corpus.en-de.de"), ("train.src", "train.tgt"), ("source.txt", "target.txt"), ("en-de/news.en", "en-de/news.de"),
     ("EU.en_to_de.en.txt", "EU.en_to_de.de.txt")],
)  # fmt: skip
def test_the_name_says_which_side_is_the_source(read, one, other):
    english, german = sides(PAIRS)
    for members in ({one: english, other: german}, {other: german, one: english}):
        report = read({**members, "README": "about"}, "tar.gz", task="translation")
        assert report["plain"] and cells(report, "source", "target") == PAIRS
    turned = {name.replace("en-de", "de-en").replace("en_to_de", "de_to_en"): text for name, text in members.items()}
    if turned.keys() != members.keys():
        assert cells(read(turned, task="translation"), "source", "target") == [(b, a) for a, b in PAIRS]


def test_pairs_have_parts_too(read, tmp_path):
    cut = {"train": PAIRS[:24], "valid": PAIRS[24:32], "test": PAIRS[32:]}
    members = {f"{part}.de-en.{tongue}": text for part, rows in cut.items() for tongue, text in zip(("en", "de"), sides(rows), strict=True)}
    report = read(members, task="translation")
    assert report["plain"] and [(f["part"], f["rows_read"]) for f in report["files"]] == [("train", 24), ("validation", 8), ("test", 8)]
    assert cells(report, "source", "target") == [(b, a) for a, b in PAIRS]


def test_sides_of_unequal_length_are_refused_with_both_numbers(read):
    english, german = sides(PAIRS)
    with pytest.raises(ReadingError, match=r"train\.en has 40 lines and train\.de 39") as refused:
        read({"train.en": english, "train.de": german.split("\n", 1)[1]}, task="translation")
    assert refused.value.code == "unequal_lines"


def test_empty_lines_keep_the_sides_together(read):
    rows = [*PAIRS[:5], ("", ""), ("alone", ""), *PAIRS[5:]]
    report = read({"a.en-de.en": sides(rows)[0], "a.en-de.de": sides(rows)[1]}, task="translation")
    assert cells(report, "source", "target") == [row for row in rows if any(row)] and report["rows_blank"] == 1
    assert "missing_target" in codes(report)


# --- Workbooks ------------------------------------------------------------------------------------------------------------------
def test_sheets_of_the_same_columns_are_one_table(case):
    report = case("66_workbook_two_sheets/months.xlsx")
    assert report["plain"] and report["rows_read"] == 60
    found = cells(report, "text", "label", "sheet")
    assert found[0] == ("I would buy this tent again tomorrow. Order 101.", "positive", "January")
    assert [sheet for _, _, sheet in found] == ["January"] * 30 + ["February"] * 30 and len({text for text, _, _ in found}) == 60
    alone = case("66_workbook_two_sheets/months.xlsx", sheet="February")
    assert [f["sheet"] for f in alone["files"]] == ["February"] and alone["rows_read"] == 30


HEADER = ("text", "label")


def test_sheets_that_are_called_as_parts_are_parts(tmp_path):
    path = tmp_path / "rows.xlsx"
    book_of(path, {"Train": [HEADER, *ROWS[:40]], "Test": [HEADER, *ROWS[40:]]})
    report = reading(path, tmp_path / "out")
    assert report["plain"] and [(f["part"], f["rows_read"]) for f in report["files"]] == [("train", 40), ("test", 20)]


def test_sheets_with_other_columns_are_asked_about(tmp_path):
    path = tmp_path / "rows.xlsx"
    book_of(path, {"rows": [HEADER, *ROWS], "people": [("name", "age"), ("Ann", "3"), ("Ben", "4")], "notes": [("Written by hand",)]})
    report = reading(path, tmp_path / "out")
    asked = next(f for f in report["findings"] if f["code"] == "several_sheets")
    assert asked["asks"] == "sheet" and "people" in asked["message"] and "notes" not in asked["message"] and not report["plain"]
    assert cells(report, "text", "label") == ROWS
    assert reading(path, tmp_path / "out", sheet="people")["rows_read"] == 2


def test_problems_name_the_sheet(tmp_path):
    path = tmp_path / "rows.xlsx"
    book_of(path, {"May": [HEADER, *ROWS[:30]], "June": [HEADER, *ROWS[30:], ("lost", "")]})
    problems = reading(path, tmp_path / "out")["problems"]
    assert [(p["file"], p["row"]) for p in problems] == [("rows.xlsx: June", 32)]


def test_workbooks_and_tables_in_an_archive_go_together(read, tmp_path):
    book_of(tmp_path / "b.xlsx", {"May": [HEADER, *ROWS[:20]], "June": [HEADER, *ROWS[20:40]]})
    report = read({"train.xlsx": (tmp_path / "b.xlsx").read_bytes(), "test.csv": csv_text(ROWS[40:])})
    assert report["plain"] and cells(report, "text", "label") == ROWS
    assert [f["title"] for f in report["files"]] == ["rows.zip: train.xlsx: May", "rows.zip: train.xlsx: June", "rows.zip: test.csv"]


def test_names_in_a_zip_may_be_utf8_without_saying_so(tmp_path):
    path = tmp_path / "rows.zip"
    with zipfile.ZipFile(path, "w") as archive:
        for n in range(20):
            info = zipfile.ZipInfo(f"{'正面' if n % 2 else '负面'}/{n}.txt")
            archive.writestr(info, f"第{n}篇评论,写得很好")
    data = path.read_bytes()
    path.write_bytes(
        data.replace(b"PK\x03\x04\x14\x00\x00\x08", b"PK\x03\x04\x14\x00\x00\x00").replace(
            b"\x14\x03\x14\x00\x00\x08", b"\x14\x03\x14\x00\x00\x00"
        )
    )
    assert {label for _, label in cells(reading(path, tmp_path / "out"), "text", "label")} == {"正面", "负面"}


def test_a_member_that_is_not_there_is_refused_by_name(read):
    with pytest.raises(ReadingError, match=r"no file called c\.csv\. There are: a\.csv, b\.csv"):
        read({"a.csv": csv_text(ROWS[:30]), "b.csv": csv_text(ROWS[30:])}, member="c.csv")


def test_a_member_of_one_upload_answers_nothing_about_another(tmp_path):
    parts = {"train": tmp_path / "train.zip", "test": tmp_path / "test.zip"}
    zip_with(parts["train"], {"a.csv": csv_text(ROWS[:20]), "b.csv": csv_text(ROWS[20:40])})
    zip_with(parts["test"], {"c.csv": csv_text(ROWS[40:50]), "d.csv": csv_text(ROWS[50:])})
    report = reading(parts, tmp_path / "out", member="b.csv")
    assert [(f["part"], f["member"]) for f in report["files"]] == [("train", "b.csv"), ("test", "c.csv"), ("test", "d.csv")]
    assert [f["asks"] for f in report["findings"] if f["code"] == "several_files"] == ["confirmation"]
    with pytest.raises(ReadingError, match=r"train\.zip has no file called e\.csv"):
        reading(parts, tmp_path / "out", member="e.csv")
