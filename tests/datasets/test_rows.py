"""The rows of a version: pages by keyset, search, filters, downloads."""

import csv
import io
import json
import resource

import polars as pl
import pytest

from tests.datasets.cast import version_of
from webapp.datasets import rows
from webapp.datasets.rows import Wanted, page_of


@pytest.fixture
def version(alice):
    return version_of(alice)


def everything(version, wanted, limit):
    found, after = [], -1
    while True:
        page = page_of(version, wanted, after, limit)
        assert len(page.rows) <= limit
        found += page.rows
        if page.next is None:
            return found
        after = page.next


@pytest.mark.parametrize("limit", [1, 7, 100, 250, 1000])
def test_pages_follow_each_other_without_gap_or_double(version, limit):
    assert [row["at"] for row in everything(version, Wanted(), limit)] == list(range(250))


@pytest.mark.parametrize(
    ("wanted", "matches"),
    [
        (Wanted(label="positive"), lambda row: row["values"]["label"] == "positive"),
        (Wanted(split="test"), lambda row: row["split"] == "test"),
        (Wanted(q="BATTERY"), lambda row: "battery" in json.dumps(row["values"])),
        (Wanted(q="number 24", label="neutral", split="validation"), None),
    ],
)
def test_filters_give_exactly_the_rows_that_match(version, wanted, matches):
    found = everything(version, wanted, 9)
    if matches:
        assert [row["at"] for row in found] == [row["at"] for row in everything(version, Wanted(), 500) if matches(row)]
        assert found
    else:
        assert {row["split"] for row in found} <= {"validation"}


def test_a_column_that_is_called_like_a_role_does_not_hide_the_role(alice, signed_in):
    version = version_of(alice, 3, x_text=pl.Series(["old 1", "old 2", "old 3"]))
    values = page_of(version, Wanted()).rows[0]["values"]
    assert (values["text"], values["x_text"], values["product"]) == ("The battery number 0", "old 1", "battery")
    address = f"/datasets/{version.dataset_id}/versions/1/rows"
    table = list(csv.DictReader(io.StringIO(streamed(signed_in(alice).get(f"{address}.csv")))))
    assert (table[0]["text"], table[0]["x_text"]) == ("The battery number 0", "old 1")


def test_columns_may_be_called_like_the_words_of_templates(alice, signed_in):
    version = version_of(alice, 3, x_items=pl.lit("an item"), x_values=pl.lit("a value"))
    address = f"/datasets/{version.dataset_id}/versions/1/"
    for page in (f"/datasets/{version.dataset_id}/", f"{address}rows/0/"):
        body = signed_in(alice).get(page).content.decode()
        assert all(cell in body for cell in ("The battery number 0", "an item", "a value")), page


def test_search_ignores_case_in_every_alphabet(alice):
    version = version_of(alice, 3, text=pl.Series(["Größe ÄNDERN", "Привет", "电池很好"]))
    assert [row["at"] for row in page_of(version, Wanted(q="größe ändern")).rows] == [0]
    assert [row["at"] for row in page_of(version, Wanted(q="ПРИВЕТ")).rows] == [1]
    assert [row["at"] for row in page_of(version, Wanted(q="电池")).rows] == [2]


def test_signs_of_patterns_are_only_signs(alice):
    version = version_of(alice, 3, text=pl.Series(["what (a mess", "100 % [sure]", "a.b"]))
    assert [row["at"] for row in page_of(version, Wanted(q="(a")).rows] == [0]
    assert [row["at"] for row in page_of(version, Wanted(q="[sure]")).rows] == [1]
    assert [row["at"] for row in page_of(version, Wanted(q=".b")).rows] == [2]


def test_a_search_that_takes_long_says_how_far_it_came_and_goes_on(alice, monkeypatch):
    monkeypatch.setattr(rows, "WINDOW", 50)
    version = version_of(alice, 230)
    page = page_of(version, Wanted(q="number 229"), patience=0)
    assert page.rows == [] and page.searched == 50
    found = everything_patient(version, Wanted(q="number 229"))
    assert [row["at"] for row in found] == [229]


def everything_patient(version, wanted):
    found, page = [], page_of(version, wanted, patience=0)
    found += page.rows
    while page.next is not None:
        page = page_of(version, wanted, page.next, patience=0)
        found += page.rows
    return found


def test_windows_hold_a_bounded_number_of_rows(alice):
    version = version_of(alice, 45_000)
    sizes = [frame.height for frame, _end in rows.windows(version, Wanted(), 0)]
    assert max(sizes) <= rows.WINDOW and sum(sizes) == 45_000
    assert page_of(version, Wanted(split="test")).rows[0]["at"] == 40_500


def test_the_page_shows_a_hundred_rows_and_the_link_to_more(signed_in, vera, version):
    page = signed_in(vera).get(f"/datasets/{version.dataset_id}/")
    body = page.content.decode()
    assert page.status_code == 200
    assert body.count("data-row ") == 100
    assert "after=99" in body
    second = signed_in(vera).get(f"/datasets/{version.dataset_id}/?after=99").content.decode()
    assert "number 100" in second and "number 99<" not in second


def test_filters_stand_in_the_address_and_can_be_taken_away(signed_in, vera, version):
    body = signed_in(vera).get(f"/datasets/{version.dataset_id}/?label=positive&split=train&q=coffee").content.decode()
    assert body.count('class="chip on"') == 3
    assert 'href="?split=train&amp;q=coffee"' in body
    assert "number 6<" not in body


def test_a_row_has_a_link_of_its_own_and_stands_there_whole(signed_in, vera, alice):
    long = "word " * 3000
    version = version_of(alice, 3, text=pl.Series([long, "b", "c"]))
    client = signed_in(vera)
    assert long.strip() in client.get(f"/datasets/{version.dataset_id}/versions/1/rows/0/").content.decode()
    drawer = client.get(f"/datasets/{version.dataset_id}/versions/1/rows/0/", HTTP_HX_REQUEST="true").content.decode()
    assert "<html" not in drawer and long.strip() in drawer
    assert client.get(f"/datasets/{version.dataset_id}/versions/1/rows/3/").status_code == 404
    assert client.get(f"/datasets/{version.dataset_id}/versions/2/").status_code == 404


def test_markup_in_cells_and_names_is_text(signed_in, vera, alice):
    evil = "<script>window.__pwned=1</script>{{ 7|add:7 }}"
    version = version_of(alice, 3, text=pl.Series([evil] * 3), label=pl.Series([evil] * 3))
    version.dataset.rename(evil)
    body = signed_in(vera).get(f"/datasets/{version.dataset_id}/?label={evil}&q={evil}").content.decode()
    assert "<script>window" not in body
    assert "&lt;script&gt;window" in body


def streamed(response):
    return b"".join(response).decode()


def test_csv_for_spreadsheets_is_defused_and_json_lines_are_not(signed_in, vera, alice):
    cells = ['=HYPERLINK("http://evil.test")', "+1", "-1", "@x", "\tx", "plain"]
    version = version_of(alice, 6, text=pl.Series(cells))
    client = signed_in(vera)
    answer = client.get(f"/datasets/{version.dataset_id}/versions/1/rows.csv")
    table = list(csv.DictReader(io.StringIO(streamed(answer))))
    assert [row["text"] for row in table] == ["'" + cell for cell in cells[:5]] + ["plain"]
    assert answer["Content-Disposition"].startswith("attachment")
    assert answer["X-Content-Type-Options"] == "nosniff"
    lines = streamed(client.get(f"/datasets/{version.dataset_id}/versions/1/rows.jsonl")).splitlines()
    assert [json.loads(line)["text"] for line in lines] == cells
    assert client.get(f"/datasets/{version.dataset_id}/versions/1/rows.exe").status_code == 404


def test_a_download_holds_what_is_filtered(signed_in, vera, version):
    lines = streamed(signed_in(vera).get(f"/datasets/{version.dataset_id}/versions/1/rows.jsonl?label=neutral")).splitlines()
    assert {json.loads(line)["label"] for line in lines} == {"neutral"}
    assert len(lines) == 83


@pytest.mark.parametrize("after", ["x", "-5", "9" * 40, "٣"])
def test_a_cursor_that_is_none_begins_at_the_first_row(signed_in, vera, version, after):
    assert signed_in(vera).get(f"/datasets/{version.dataset_id}/?after={after}").status_code == 200


@pytest.fixture
def long(alice):
    """100 rows of 0.9 MB."""
    return version_of(alice, 100, x_page=pl.Series([f"{at} " + "long " * 180_000 for at in range(100)]))


def test_a_page_of_long_cells_is_bounded_and_each_row_has_an_address_with_the_whole(alice, signed_in, long):
    client, address = signed_in(alice), f"/api/v1/versions/{long.pk}/rows"
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    assert len(client.get(f"/datasets/{long.dataset_id}/versions/1/").content) < 2_000_000
    got = client.get(address)
    assert len(got.content) < 2 * rows.PAGE_BYTES
    first = got.json()["items"][0]
    assert first["other"]["page"].endswith("…") and len(first["other"]["page"]) == rows.CELL + 1 and first["text"] == "The battery number 0"
    assert first["cut"] == ["page"]
    assert "cut" not in client.get(f"{address}/{first['id']}").json()
    assert client.get(f"{address}/{first['id']}").json()["other"]["page"] == "0 " + "long " * 180_000
    assert client.get(f"{address}/100").status_code == 404
    assert len(client.get(f"{address}?q=long&limit=1000").content) < 2 * rows.PAGE_BYTES
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 600_000  # kilobytes


def test_pages_of_long_cells_follow_each_other_without_gap_or_double(long):
    for limit, wanted in ((7, Wanted()), (100, Wanted(q="LONG")), (1_000, Wanted())):
        assert [row["at"] for row in everything(long, wanted, limit)] == list(range(100))


def test_a_table_of_very_many_columns_is_bounded_too(alice):
    many = version_of(alice, 100, **{f"x_{n}": pl.Series(["word " * 3_000] * 100) for n in range(50)})
    page = page_of(many, Wanted())
    assert 0 < len(page.rows) < 100 and page.next == page.rows[-1]["at"]
    assert sum(len(value) for row in page.rows for value in row["values"].values()) < 2 * rows.PAGE_BYTES


def test_a_download_of_long_cells_is_whole_and_holds_a_part_of_it_in_memory(long, monkeypatch):
    monkeypatch.setattr(rows, "HELD", 8_000_000)
    frames = [frame.height for frame, _end in rows.windows(long, Wanted(), 0)]
    assert sum(frames) == 100 and max(frames) < 30
