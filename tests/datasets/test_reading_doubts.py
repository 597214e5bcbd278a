"""A version becomes ready by itself only where nothing was left to doubt; else a sentence says what a person should look at."""

import json

import pytest

from tests.datasets.files import csv_text, publishing, reading, reviews

TEXTS = [text for text, _ in reviews(60)]


@pytest.fixture
def read(tmp_path):
    """A function that reads content, or a part for each of several, under the right names."""

    def read_content(content, name="rows.csv", **options):
        if isinstance(content, dict):
            for part, each in content.items():
                (tmp_path / f"{part}.csv").write_text(each, encoding="utf-8")
            return reading({part: tmp_path / f"{part}.csv" for part in content}, tmp_path / "out", **options)
        (tmp_path / name).write_text(content, encoding="utf-8")
        return reading(tmp_path / name, tmp_path / "out", **options)

    return read_content


def asked(report):
    return {finding["code"]: finding for finding in report["findings"] if finding["asks"]}


def labelled(*labels, rows=60):
    return csv_text([(f"{text} No. {i}", labels[i % len(labels)]) for i, (text, _) in enumerate(reviews(rows))])


def beside(name, cells):
    """Labelled reviews with one more column."""
    rows = reviews(len(cells))
    return f"text,label,{name}\n" + "".join(f'"{text}",{label},"{cell}"\n' for (text, label), cell in zip(rows, cells, strict=True))


# --- Labels of the parts --------------------------------------------------------------------------------------------------
def test_a_label_that_only_validation_has_cannot_be_learnt(read):
    report = read({"train": labelled("good", "bad"), "validation": labelled("good", "bad", "so-so", rows=30)})
    told = asked(report)["untaught_label"]
    assert (told["asks"], told["count"]) == ("labels", 10) and "“so-so” has no training rows (validation has 10)" in told["message"]


def test_a_label_that_only_training_has_is_measured_by_nothing(read):
    report = read({"train": labelled("good", "bad", "so-so"), "test": labelled("good", "bad", rows=30)})
    assert "“so-so”" in asked(report)["unmeasured_label"]["message"]


def test_the_same_holds_for_a_column_that_names_the_parts(read):
    rows = [f'"{text}",{("good", "bad", "so-so")[i % 3] if i < 12 else ("good", "bad")[i % 2]},{"dev" if i < 12 else "train"}'
            for i, text in enumerate(TEXTS)]  # fmt: skip
    report = read("text,label,split\n" + "\n".join(rows) + "\n")
    assert report["mapping"]["split"] == "split" and "untaught_label" in asked(report)


def test_numbers_that_a_program_wrote_with_a_point_are_joined_to_those_without(read, tmp_path):
    held = labelled("0", "1", "2", rows=30).replace(" No. ", " Held out ")
    report = read({"train": labelled("0.0", "1.0", "2.0"), "validation": held})
    assert report["joins"] == {"0.0": "0", "1.0": "1", "2.0": "2"}
    assert set(asked(report)) == {"label_variants"}
    published = publishing(report, tmp_path / "version", labels=report["joins"])
    assert [label["name"] for label in published["labels"]] == ["0", "1", "2"]


def test_half_stars_stay_what_they_are(read):
    assert read(labelled("1.0", "1.5", "2.0"))["joins"] == {}


def test_minus_one_of_a_test_set_means_that_its_labels_are_not_published(read):
    report = read({"train": labelled("0", "1"), "validation": labelled("0", "1", rows=20), "test": labelled("-1", rows=20)})
    assert "not published" in asked(report)["untaught_label"]["message"] and report["joins"] == {"-1": ""}


# --- Labels that say that there is none -----------------------------------------------------------------------------------
@pytest.mark.parametrize("mark", [r"\N", "<NA>", "(null)", "#REF!", "undefined", "NaN"])
def test_what_programs_write_for_no_label_is_no_class(read, mark):
    report = read(labelled("good", "bad", mark))
    assert {label["name"] for label in report["labels"] if label["missing"]} == {mark}
    assert asked(report)["missing_label"]["count"] == 20


def test_a_minus_beside_a_plus_is_a_class(read, tmp_path):
    report = read(labelled("+", "-"))
    assert report["plain"] and report["kept"] == ["-"] and report["rows_unusable"] == 0
    published = publishing(report, tmp_path / "version", kept=report["kept"], accept_rejected=False)
    assert [label["name"] for label in published["labels"]] == ["+", "-"] and published["rejected"] == 0


def test_a_code_that_reads_as_none_is_asked_about_and_can_be_kept(read, tmp_path):
    report = read(labelled("EU", "APAC", "NA"))
    assert asked(report)["label_or_none"]["asks"] == "labels"
    published = publishing(report, tmp_path / "version", labels={"NA": "NA"}, accept_rejected=False)
    assert [label["name"] for label in published["labels"]] == ["APAC", "EU", "NA"]


def test_a_rare_none_is_asked_about_and_a_common_one_is_a_class(read):
    assert read(labelled("toxic", "None"))["plain"]
    rare = csv_text([(text, "None" if i == 7 else ("good", "bad")[i % 2]) for i, text in enumerate(TEXTS)])
    assert asked(read(rare))["label_or_none"]["count"] == 1


# --- Texts ----------------------------------------------------------------------------------------------------------------
def test_a_column_of_texts_that_nobody_uses_is_asked_about(read):
    rows = [f'"A remark on case {i}","{text}",{"ab"[i % 2]}' for i, text in enumerate(TEXTS)]
    report = read("remark,text,label\n" + "\n".join(rows) + "\n")
    assert asked(report)["unused_text"]["asks"] == "mapping" and "remark" in asked(report)["unused_text"]["message"]


def test_ids_names_dates_and_addresses_beside_the_text_are_nobodys_business(read):
    rows = [f'{i:032x},Ann Smith,2024-01-{i % 28 + 1:02},https://example.com/a/{i},"{text}",{"ab"[i % 2]}' for i, text in enumerate(TEXTS)]
    assert read("id,author,date,link,text,label\n" + "\n".join(rows) + "\n")["plain"]


@pytest.mark.parametrize("first", [["https://example.com/a"], ["ok", "fine", "see"], ["see https://example.com/a/b"]])
def test_the_first_cells_do_not_hide_a_column_of_texts(read, first):
    told = asked(read(beside("comment", [*first, *(f"I would say that case {i} is a good one" for i in range(200))])))
    assert "comment" in told["unused_text"]["message"]


@pytest.mark.parametrize(
    ("name", "cell"),
    [
        ("created_at", "Mon May {day} 03:17:{i:02} UTC 2009"),
        ("when", "Fri, {day} Aug 2012 10:{i:02}:00 +0000"),
        ("posted", "August {day}, 2012 at 10:{i:02} PM"),
        ("user_agent", "Mozilla/5.0 (X11; Linux x86_64; rv:{i}.0) Gecko/20100101 Firefox/{i}.0"),
        ("location", "Street No. {i}, New York, NY, USA"),
        ("place", "Springfield {i}, NY, USA"),
        ("job_title", "Senior Software Engineer {i}"),
        ("product_name", "Travel kettle with a long cord, model {i}"),
        ("reviewerName", "Dr. Anna Maria van der Berg {i}"),
        ("file_name", "scan of page {i} of the report.pdf"),
    ],
)
def test_ordinary_columns_beside_the_text_are_not_asked_about(read, name, cell):
    assert read(beside(name, [cell.format(i=i, day=i % 28 + 1) for i in range(60)]))["plain"]


def test_a_few_long_values_again_and_again_are_not_asked_about(read):
    assert read(beside("source", [f"The big archive of the city, part {i % 5}" for i in range(60)]))["plain"]


def test_a_cleaned_copy_of_the_text_is_not_asked_about(read):
    said = [f"The Guests WERE running; they liked {text}!" for text in TEXTS]
    copies = [f"guest run like {text.replace(',', '')}" for text in TEXTS]
    rows = [(f'{text}","{copy}', "ab"[i % 2]) for i, (text, copy) in enumerate(zip(said, copies, strict=True))]
    text = "text,cleaned_text,label\n" + "".join(f'"{cells}",{label}\n' for cells, label in rows)
    assert read(text)["plain"]


@pytest.mark.parametrize("cell", [json.dumps([{"a": 1}]), str(["one", "two"]), '{"body": "Hello"}'])
def test_cells_that_are_lists_or_records_are_not_learnt_as_texts_in_silence(read, cell):
    rows = [(cell if i < 3 else text, "ab"[i % 2]) for i, text in enumerate(TEXTS)]
    told = asked(read(csv_text(rows)))["records_as_text"]
    assert told["count"] == 3 and "letter by letter" in told["message"]


def test_brackets_in_a_review_are_no_record(read):
    rows = [(f"[{text}]" if i % 2 else f"{{{text}}}", "ab"[i % 2]) for i, text in enumerate(TEXTS)]
    assert read(csv_text(rows))["plain"]


def test_markup_is_told(read):
    rows = [(f"<p class='x'>{text}</p>", "ab"[i % 2]) for i, text in enumerate(TEXTS)]
    assert "markup_as_text" in asked(read(csv_text(rows)))


@pytest.mark.parametrize("words", ["Lorem ipsum dolor sit amet", "TODO", "[deleted]", "48 bytes", "#REF!"])
def test_placeholders_are_told_with_one_of_them(read, words):
    told = asked(read(csv_text([(words if i % 10 == 3 else text, "ab"[i % 2]) for i, text in enumerate(TEXTS)])))["placeholders"]
    assert told["count"] == 6 and words in told["message"]


def test_one_text_in_most_rows_is_told(read):
    told = asked(read(csv_text([("Thank you for your order." if i % 2 else text, "ab"[i % 3 % 2]) for i, text in enumerate(TEXTS)])))
    assert "30 of 60 rows" in told["same_text"]["message"]


def test_one_question_to_many_passages_is_no_placeholder(read):
    rows = [f'Who came to the house?,"{text}, said Anna.",Anna' for text in TEXTS]
    assert "same_text" not in asked(read("question,context,answer\n" + "\n".join(rows) + "\n", task="question_answering"))


def test_one_summary_of_many_documents_is_told(read):
    rows = [f'"{text} {text} {text}","Nothing new was said."' for text in TEXTS]
    assert "same_text" in asked(read("document,summary\n" + "\n".join(rows) + "\n", task="summarization"))


def test_summaries_longer_than_their_documents_are_asked_about(read):
    rows = [f'"Short {i}","{text} {text} {text}"' for i, text in enumerate(TEXTS)]
    report = read("document,summary\n" + "\n".join(rows) + "\n", task="summarization")
    assert "mixed up" in asked(report)["proportions"]["message"]
    right = read("summary,document\n" + "\n".join(rows) + "\n", task="summarization")
    assert right["plain"]


def test_a_translation_of_quite_another_length_is_asked_about(read):
    rows = [f'"{text} {text} {text}","Ja {i}."' for i, text in enumerate(TEXTS)]
    assert "proportions" in asked(read("en,de\n" + "\n".join(rows) + "\n", task="translation"))
