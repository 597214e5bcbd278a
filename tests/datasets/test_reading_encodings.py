"""Old encodings: decided where the text reads as a language in one of them only, asked with readings side by side otherwise."""

import json

import pytest

from tests.datasets.files import codes, reading
from tests.datasets.languages import ENCODED, SENTENCES
from webapp.datasets.reading import limited
from webapp.datasets.reading.encodings import NAMES, named, title

WIDE = ("ko", "ja", "zh", "zh-hant")
CASES = [(language, encoding) for language, encodings in ENCODED.items() for encoding in encodings]


@pytest.fixture
def read(tmp_path):
    """A function that reads sentences of a language in an encoding, a label beside each."""

    def read_sentences(language, encoding, sentences=6, repeat=4, **options):
        lines = SENTENCES[language][:sentences] * repeat
        text = "text,label\n" + "".join(f'"{line} {i}",{"ab"[i % 2]}\n' for i, line in enumerate(lines))
        (tmp_path / "rows.csv").write_bytes(text.encode(encoding, "ignore"))
        report = reading(tmp_path / "rows.csv", tmp_path / "out", **options)
        return report, text.encode(encoding, "ignore").decode(encoding).splitlines()[1].split('"')[1]

    return read_sentences


@pytest.mark.parametrize(("language", "encoding"), [case for case in CASES if case[0] in WIDE])
def test_east_asian_texts_are_read_without_a_question(read, language, encoding):
    report, right = read(language, encoding)
    assert report["preview"][0]["text"] == right and report["plain"]


@pytest.mark.parametrize(("language", "encoding"), [case for case in CASES if case[0] not in WIDE and case != ("ro", "iso8859_16")])
def test_texts_of_one_byte_a_letter_are_read_rightly_and_asked_about(read, language, encoding):
    report, right = read(language, encoding)
    assert report["preview"][0]["text"] == right
    finding = next(f for f in report["findings"] if f["code"] == "encoding_guessed")
    assert finding["asks"] == "encoding" and not report["plain"]
    shown = "".join(report["files"][0]["readings"][0]["lines"])
    assert right in shown or right.isascii()  # the lines that every encoding reads alike are not shown


def test_a_tie_shows_three_readings_with_their_languages(read):
    report, right = read("el", "cp1253", sentences=1, repeat=12)
    readings = report["files"][0]["readings"]
    assert len(readings) == 3 and readings[0]["language"] == "Greek" and right.rsplit(" ", 1)[0] in readings[0]["lines"][0]
    assert len({tuple(reading["lines"]) for reading in readings}) == 3  # encodings that agree are one answer


def test_a_few_odd_bytes_prove_nothing(read, tmp_path):
    (tmp_path / "rows.csv").write_bytes(
        b"text,label\n" + b"".join(b"A caf\xe9 no. %d,%s\n" % (i, b"ab"[i % 2 :][:1]) for i in range(3)) * 5
    )
    report = reading(tmp_path / "rows.csv", tmp_path / "out")
    assert "encoding_guessed" in codes(report) and report["preview"][0]["text"] == "A café no. 0"


@pytest.mark.parametrize("encoding", ["utf-16-le", "utf-16-be"])
@pytest.mark.parametrize("language", ["zh", "ja", "ko", "en"])
def test_utf_16_without_its_mark_is_known(tmp_path, language, encoding):
    lines = SENTENCES.get(language, ["A plain sentence.", "Another one."])
    text = "text,label\n" + "".join(f"{line},{'ab'[i % 2]}\n" for i, line in enumerate(lines * 5))
    (tmp_path / "rows.csv").write_bytes(text.encode(encoding))
    assert reading(tmp_path / "rows.csv", tmp_path / "out")["preview"][0]["text"] == lines[0]


def test_emoji_in_a_chinese_file_do_not_hide_its_encoding(tmp_path):
    text = "text,label\n" + "".join(f"{line}\U0001f600,{'ab'[i % 2]}\n" for i, line in enumerate(SENTENCES["zh"] * 5))
    (tmp_path / "rows.csv").write_bytes(text.encode("gb18030"))
    assert reading(tmp_path / "rows.csv", tmp_path / "out")["preview"][0]["text"].endswith("\U0001f600")


@pytest.mark.parametrize("encoding", sorted(NAMES))
def test_every_encoding_on_the_page_can_be_chosen_by_the_name_that_is_shown(encoding):
    assert named(title(encoding)) == encoding
    assert b"a,b\n".decode(encoding if not encoding.startswith(("utf-16", "utf-32")) else "utf-8") == "a,b\n"


@pytest.mark.parametrize("name", ["rot13", "base64", "hex", "zip", "klingon", "idna", "undefined"])
def test_a_codec_that_is_no_encoding_of_texts_is_refused(name):
    assert named(name) == ""


def test_what_is_told_of_a_file_can_be_stored_though_the_file_holds_nul(tmp_path):
    """PostgreSQL's JSON takes no NUL, and the readings that are shown side by side are of the bytes as they came."""
    lines = [f"{('крепкий чай', 'добрый день')[n % 2]} {n},{('да', 'нет')[n % 2]}\n" for n in range(20)]
    path = tmp_path / "rows.csv"
    path.write_bytes(("text,label\n" + "".join(lines).replace("1,", "1\0,")).encode("cp1251"))
    files = [{"part": "file", "name": path.name, "path": str(path)}]
    report = limited.run("read", {"files": files, "task": "classification", "out": str(tmp_path / "out")})
    assert "крепкий чай" in str(report["files"][0]["readings"]) and "\\u0000" not in json.dumps(report)
