"""Tables as other programs write them: every cell lands in its column, or a person is asked."""

import csv
import io

import pytest

from tests.datasets.files import cells, codes, csv_text, reviews

ROWS = reviews(40, ("negative", "positive"))


def written(rows, **how):
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n", **how)
    writer.writerow(["text", "label"])
    writer.writerows(rows)
    return out.getvalue()


# --- The header is one name short (R) ---------------------------------------------------------------------------------------
@pytest.mark.parametrize("name", ["three.csv", "reviews.csv", "reviews.txt", "pairs.tsv"])
def test_the_first_column_of_r_is_the_row_name(case, name):
    report = case(f"14_r_write_table/{name}", task="translation" if name == "pairs.tsv" else "classification")
    assert report["plain"] and report["rows_read"] == 60
    own = report["preview"][0]
    if name == "pairs.tsv":
        assert report["mapping"] == {"source": "en", "target": "de"}
        assert (own["en"], own["de"]) == ("I can see the red house number 0.", "Ich sehe das rote Haus Nummer 0.")
    else:
        assert (own["text"], own["label"]) == ("I would buy this tent again tomorrow. Order 101.", "positive")
        assert [row["column_1"] for row in report["preview"]] == [str(n) for n in range(1, 21)]


@pytest.mark.parametrize("delimiter", [",", "\t", ";", " "])
def test_r_writes_with_any_delimiter(read, delimiter):
    lines = [f'"text"{delimiter}"label"', *(f'"{n}"{delimiter}"{t}"{delimiter}"{name}"' for n, (t, name) in enumerate(ROWS, 1))]
    report = read("\n".join(lines) + "\n", "rows.txt")
    assert report["plain"] and cells(report, "text", "label") == ROWS


def test_columns_without_names_that_may_stand_before_or_behind_are_asked_about(read):
    report = read("text,label\n" + "".join(f"word {n},{'ab'[n % 2]},note {n}\n" for n in range(30)))
    assert "header_short" in codes(report) and not report["plain"]
    trailing = read("text,label\n" + "".join(f'"some text, number {n}",{"ab"[n % 2]},\n' for n in range(30)))
    assert trailing["plain"] and trailing["preview"][0]["label"] == "a"


# --- Backslashes ------------------------------------------------------------------------------------------------------------
def test_backslashes_before_quotation_marks_are_taken_away(case):
    report = case("30_backslash_quotes/sparse.csv")
    texts = [text for (text,) in cells(report, "text")]
    assert report["plain"] and len(texts) == 60
    assert texts[5] == 'They wrote "fine" on it, and "small" below.' and texts[8] == 'A "good" one.'
    report = case("30_backslash_quotes/dump.csv")
    assert report["plain"] and report["preview"][0]["text"] == 'She said "I would buy this tent again tomorrow. Order 101", then left, 0.'
    assert {label["name"]: label["rows"] for label in report["labels"]} == {"negative": 30, "positive": 30}


def test_mysql_escapes_its_backslashes_and_writes_n_for_nothing(read):
    odd = [('a "quoted" word', "x"), ("back \\ slash, and comma", "y"), ("two\nlines", "x"), ("", "y"), ("C:\\new\\table", "x")]
    rows = [(text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\\n"), label) for text, label in odd]
    lines = ["text,label", *(f'"{t}",{label}' if t else f"\\N,{label}" for t, label in rows), *(f'"plain {n}",x' for n in range(20))]
    report = read("\n".join(lines) + "\n")
    assert cells(report, "text", "label")[:5] == odd


def test_an_escaped_mark_after_the_first_quarter_megabyte_is_read_too(read):
    rows = [*reviews(5_000, ("negative", "positive")), ('so "late" an escape, really', "positive")]
    lines = ["text,label", *('"' + text.replace('"', '\\"') + f'",{label}' for text, label in rows)]
    report = read("\n".join(lines) + "\n")
    assert report["plain"] and cells(report, "text", "label") == rows


def test_a_backslash_at_the_end_of_a_quoted_cell_is_a_letter(read):
    rows = [(f"C:\\folder {n}\\", "ab"[n % 2]) for n in range(30)]
    report = read(written(rows, quoting=csv.QUOTE_ALL))
    assert report["plain"] and cells(report, "text", "label") == rows


# --- Blanks and curly quotes ------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("has_commas", [True, False])
def test_blanks_before_quotation_marks_do_not_count(read, has_commas):
    rows = [(text if has_commas else text.replace(",", ""), label) for text, label in ROWS]
    report = read("text, label\n" + "".join(f'"{t}", "{label}"\n' for t, label in rows))
    assert report["plain"] and cells(report, "text", "label") == rows
    report = read("id, text, label\n" + "".join(f'{n}, "{t}", {label}\n' for n, (t, label) in enumerate(rows)))
    assert report["plain"] and cells(report, "text", "label") == rows


@pytest.mark.parametrize(("first", "last"), ["“”", "„“", "«»"])
def test_curly_quotation_marks_are_quotation_marks_where_they_hold_cells_together(read, first, last):
    report = read("text,label\n" + "".join(f"{first}{t}{last},{label}\n" for t, label in ROWS))
    assert report["plain"] and cells(report, "text", "label") == ROWS
    report = read(
        f"{first}text{last},{first}label{last}\n" + "".join(f"{first}no commas {n}{last},{first}{'ab'[n % 2]}{last}\n" for n in range(30))
    )
    assert report["plain"] and cells(report, "text", "label")[0] == ("no commas 0", "a")


def test_curly_quotation_marks_inside_texts_stay(read):
    rows = [(f"“Never again” they said, visit {n}", "ab"[n % 2]) for n in range(30)]
    assert cells(read(written(rows)), "text", "label") == rows


# --- Tables drawn with lines ------------------------------------------------------------------------------------------------
def test_the_rule_of_a_markdown_table_is_no_row(case):
    report = case("33_markdown_table/table.md")
    assert report["plain"] and report["rows_read"] == 60
    assert [column["name"] for column in report["columns"]] == ["text", "label"]
    assert report["preview"][0]["text"] == "I would buy this tent again tomorrow. Order 101."
    assert [label["name"] for label in report["labels"]] == ["negative", "positive"]


@pytest.mark.parametrize("how", ["markdown", "markdown without outer bars", "psql", "mysql"])
def test_tables_that_terminals_draw_are_read(read, how):
    bar = "| " if how in {"markdown", "mysql"} else ""
    rule = {"markdown": "|:---|---:|", "markdown without outer bars": "--- | ---", "psql": "------+-------", "mysql": "+------+-------+"}[
        how
    ]
    lines = [f"{bar}text | label{bar and ' |'}", rule, *(f"{bar}{t.replace('|', '')}  |  {label}{bar and ' |'}" for t, label in ROWS)]
    lines = [rule, *lines, rule] if how == "mysql" else lines
    report = read("\n".join(lines) + "\n", "table.txt")
    assert cells(report, "text", "label") == ROWS and set(codes(report)) <= {"near_duplicates", "title_lines"}


def test_a_bar_that_is_escaped_in_markdown_is_a_letter(read):
    lines = ["| text | label |", "|---|---|", *(f"| a \\| b {n} | {'xy'[n % 2]} |" for n in range(20))]
    assert cells(read("\n".join(lines) + "\n", "t.md"), "text", "label")[3] == ("a | b 3", "y")


# --- Joined files, totals, first lines --------------------------------------------------------------------------------------
def test_the_header_of_a_joined_file_is_left_out_with_its_mark(case):
    report = case("68_concatenated_bom/both.csv")
    assert (report["rows_read"], report["rows_rejected"], report["counts"]) == (60, 1, {"repeated_header": 1})
    assert {label["name"] for label in report["labels"]} == {"negative", "positive"}


@pytest.mark.parametrize("encoding", ["utf-8", "utf-16-le"])
@pytest.mark.parametrize("has_header", [True, False])
def test_a_mark_in_the_middle_is_never_part_of_a_cell(read, has_header, encoding):
    second = csv_text(ROWS[20:], header="text,label" if has_header else "")
    report = read(("\ufeff" + csv_text(ROWS[:20]) + "\ufeff" + second).encode(encoding))
    assert cells(report, "text", "label") == ROWS
    assert report["counts"] == ({"repeated_header": 1} if has_header else {})


@pytest.mark.parametrize(
    ("last", "is_total"),
    [
        ("Total rubbish. Never again,,1", False),
        ("Sum of all fears,,3", False),
        ("Total,,40", True),
        ("Grand total: 40,,", True),
        ("Total number of reviews,,40", True),
        ("合计,,40", True),
        ("Summe: 40 Zeilen,,", True),
    ],
)
def test_totals_are_told_from_reviews_that_begin_with_the_word(read, last, is_total):
    lines = ["text,label,stars", *(f'"{t}",{label},{n % 5}' for n, (t, label) in enumerate(ROWS))]
    report = read("\n".join([*lines, last]) + "\n")
    assert report["counts"].get("total_line", 0) == is_total and report["rows_read"] == 41 - is_total


@pytest.mark.parametrize("name", ["export.csv", "export_comma.csv"])
def test_a_line_that_names_the_delimiter_is_no_title(case, name):
    report = case(f"32_excel_sep_line/{name}")
    assert report["plain"] and report["rows_read"] == 60
    assert [column["name"] for column in report["columns"]][-2:] == ["text", "label"]
    assert report["preview"][0]["text"].startswith("I would buy this tent again tomorrow. Order 101.")
    assert report["preview"][0]["_row"] == 3


def test_decimal_commas_do_not_part_cells(read):
    rows = [f"{t};{n},5;{n % 7},25;{n % 3},75;{n % 2},5;{label}" for n, (t, label) in enumerate(ROWS)]
    report = read("text;a;b;c;d;label\n" + "\n".join(row.replace(", ", " - ") for row in rows) + "\n")
    assert report["files"][0]["delimiter"] == ";" and report["plain"]
    assert report["preview"][1] | {"text": ""} == {
        "_row": 3,
        "_part": "file",
        "text": "",
        "a": "1,5",
        "b": "1,25",
        "c": "1,75",
        "d": "1,5",
        "label": "positive",
    }


@pytest.mark.parametrize("task", ["classification", "generation"])
def test_a_table_of_fixed_widths_is_asked_about(read, task):
    report = read(
        "text" + " " * 36 + "label\n" + "".join(f"{f'good and bad, {n}':<40}{'ab'[n % 2]}\n" for n in range(30)), "rows.txt", task=task
    )
    assert "fixed_width" in codes(report) and not report["plain"]


# --- Headers --------------------------------------------------------------------------------------------------------------
def test_names_beside_columns_that_are_nearly_empty_are_a_header(read):
    rows = [f'{("ham", "spam")[i % 2]},"{text}",{"and so on" if i == 50 else ""},,' for i, (text, _) in enumerate(reviews(60))]
    report = read("v1,v2,,,\n" + "\n".join(rows) + "\n")
    assert report["files"][0]["header_row"] == 1 and report["rows"] == 60
    assert [column["name"] for column in report["columns"]][:2] == ["v1", "v2"]


@pytest.mark.parametrize(
    "asked",
    [
        "How satisfied are you?,What could we do better next time?",
        "How satisfied were you with all that we did for you in the past year?,Why?",
    ],
)
@pytest.mark.parametrize("answers", [("1", "4", "5"), ("Very satisfied", "Not satisfied")])
def test_questions_of_a_form_are_a_header(read, asked, answers):
    rows = [f'{answers[i % len(answers)]},"{text} {text} {text}."' for i, (text, _) in enumerate(reviews(60))]
    report = read(f"{asked}\n" + "\n".join(rows) + "\n")
    assert report["files"][0]["header_row"] == 1 and report["rows"] == 60


@pytest.mark.parametrize("first", ["Why so late?,negative", "Really?,Wirklich?"])
def test_a_question_that_is_the_first_text_of_many_is_none(read, first):
    second = first.split(",")[1]
    rows = [f'"{text}",{label if second == "negative" else f"Nummer {i} und mehr"}' for i, (text, label) in enumerate(reviews(60))]
    report = read(f"{first}\n" + "\n".join(rows) + "\n")
    assert report["files"][0]["header_row"] == 0 and report["rows"] == 61
