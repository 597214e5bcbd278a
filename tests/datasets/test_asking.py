"""What is left to doubt is asked, on the page and by the API, and what is answered is asked no more."""

from tests.datasets.cast import dropped, labour, reviews
from tests.datasets.languages import SENTENCES
from webapp.datasets.models import Import
from webapp.people.access import actor_of

POLISH = "text,label\n" + "".join(f"{line.replace(',', '')} {i},{'ab'[i % 2]}\n" for i, line in enumerate(SENTENCES["pl"] * 5))
REGIONS = reviews().replace(b",negative", b",EU").replace(b",neutral", b",NA").replace(b",positive", b",APAC")


def read(dataset):
    labour()
    dataset.refresh_from_db()
    return dataset


def asked(dataset):
    return {finding["code"] for finding in dataset.latest_import.questions}


def test_a_guessed_encoding_is_asked_with_its_readings_side_by_side(alice, signed_in):
    dataset = read(dropped(alice, POLISH.encode("cp1250")))
    assert (dataset.state, asked(dataset)) == ("needs_mapping", {"encoding_guessed"})
    client, address = signed_in(alice), f"/datasets/{dataset.pk}/"
    page = client.get(address).content.decode()
    assert "Which reading is right?" in page and page.count("Read as ") == 2 and "Ten czajnik działa" in page
    assert dataset.reason not in page.split("Before a version is made")[0]  # it is said once


def test_another_reading_is_taken_by_one_click_and_settles_the_question(alice, signed_in):
    dataset = read(dropped(alice, POLISH.encode("iso8859_2")))
    signed_in(alice).post(f"/datasets/{dataset.pk}/readings/", {"read_as": "ISO-8859-2"})
    assert read(dataset).state == "ready" and dataset.latest_import.options["encoding"] == "ISO-8859-2"


def test_a_mapping_that_came_with_the_file_answers_for_columns_and_not_for_letters(alice):
    mapping = {"text": "text", "label": "label"}
    assert asked(read(dropped(alice, POLISH.encode("cp1250"), mapping=mapping))) == {"encoding_guessed"}
    known = read(dropped(alice, POLISH.encode("cp1250"), mapping=mapping, encoding="windows-1250"))
    assert known.state == "ready"
    with_titles = b"headline," + reviews().replace(b"\nThe", b"\nOne of the headlines,The")
    assert asked(read(dropped(alice, with_titles))) == {"template_proposed"}
    assert read(dropped(alice, with_titles, mapping=mapping)).state == "ready"


def test_no_line_of_column_names_is_an_answer(alice):
    rows = reviews().split(b"\n", 1)[1]
    assert "no_header" in asked(read(dropped(alice, rows)))
    mapping = {"text": "column_1", "label": "column_2"}
    told = read(dropped(alice, rows, mapping=mapping, header_row=0))
    assert (told.state, asked(told)) == ("ready", set()) and told.latest_version.rows == rows.count(b"\n")


def test_line_0_answers_what_an_earlier_reading_asked():
    finding = {"code": "no_header", "column": "", "level": "warning", "asks": "header_row"}
    assert Import(options={"header_row": 0}, report={"findings": [finding]}).questions == []
    assert Import(options={"header_row": None}, report={"findings": [finding]}).questions == [finding]


def test_a_label_that_reads_as_none_is_kept_where_its_name_is_written(alice, signed_in):
    dataset = read(dropped(alice, REGIONS))
    assert asked(dataset) >= {"label_or_none"}
    labels = [label["name"] for label in dataset.latest_import.report["labels"]]
    answers = {"role-0": "text", "role-1": "label", "accept_rejected": "on"} | {f"label-{i}": name for i, name in enumerate(labels)}
    signed_in(alice).post(f"/datasets/{dataset.pk}/versions/", answers)
    version = read(dataset).latest_version
    assert (version.rows, [label["name"] for label in version.labels]) == (60, ["APAC", "EU", "NA"])


def test_a_label_that_reads_as_none_is_left_out_where_nothing_is_written(alice, signed_in):
    dataset = read(dropped(alice, REGIONS))
    labels = [label["name"] for label in dataset.latest_import.report["labels"]]
    answers = {"role-0": "text", "role-1": "label", "accept_rejected": "on"}
    answers |= {f"label-{i}": "" if name == "NA" else name for i, name in enumerate(labels)}
    signed_in(alice).post(f"/datasets/{dataset.pk}/versions/", answers)
    version = read(dataset).latest_version
    assert (version.rows, version.rejected) == (40, 20)


def test_every_question_leads_to_its_place_on_the_page(alice, signed_in):
    dataset = read(dropped(alice, REGIONS))
    page = signed_in(alice).get(f"/datasets/{dataset.pk}/").content.decode()
    assert 'href="#labels"' in page and 'id="labels"' in page


def test_all_encodings_that_people_meet_can_be_chosen(alice, signed_in):
    dataset = read(dropped(alice, REGIONS))
    page = signed_in(alice).get(f"/datasets/{dataset.pk}/").content.decode()
    for name in ("EUC-KR", "ISO-2022-JP", "Windows-1257", "ISO-8859-2", "KOI8-U", "Big5", "Windows-874"):
        assert f"<option>{name}</option>" in page


def test_what_was_found_names_the_first_rows_that_it_is_about(alice, signed_in):
    lines = reviews().decode().strip().split("\n")
    text = lines[1].rpartition(",")[0]
    lost = [f"{text},positive", "Nobody has labelled this one yet.,", ",positive"]
    dataset = read(dropped(alice, "\n".join([*lines, *lost]).encode()))
    found = {finding["code"]: finding["rows"] for finding in dataset.latest_import.report["findings"]}
    last = len(lines) + 3
    assert [at["row"] for at in found["missing_label"]] == [last - 1] and [at["row"] for at in found["missing_text"]] == [last]
    assert [at["row"] for at in found["conflicting_labels"]] == [2, last - 2]
    page = signed_in(alice).get(f"/datasets/{dataset.pk}/").content.decode()
    assert f'<a href="#row-2">2</a>, {last - 2}' in page and 'id="row-2"' in page
    assert 'href="#problems"' in page and 'id="problems" open' in page


def test_labels_that_are_about_to_be_joined_are_not_called_too_few(alice):
    rows = reviews() + b"One more text that nobody has read,Negativ\nAnd a last one that everybody likes,positve\n"
    dataset = read(dropped(alice, rows))
    found = dataset.latest_import.report
    assert found["joins"] == {"Negativ": "negative", "positve": "positive"}
    assert not {"rare_class", "imbalance"} & {finding["code"] for finding in found["findings"]}


def test_the_page_tells_no_language_that_is_not_written_in_an_encoding(alice):
    rows = "text,label\n" + "".join(f"房间{i}非常干净，早餐也很好吃 {i}。,{'正负'[i % 2]}面\n" for i in range(60))
    dataset = read(dropped(alice, rows.encode("gb18030")))
    readings = dataset.latest_import.report["files"][0]["readings"]
    assert readings[0]["encoding"] == "GB18030" and readings[0]["language"] in {"", "Chinese"}


def test_the_page_shows_the_labels_of_another_column_that_was_tried_in_vain(alice, signed_in):
    lines = "".join(f"Text number {n},{'ab'[n % 2]},{('tea', 'milk', '')[n % 3]}\n" for n in range(60))
    dataset = read(dropped(alice, f"text,label,drink\n{lines},a,tea\n".encode()))
    reading = dataset.latest_import
    reading.confirm(actor_of(alice), {"text": "text", "label": "drink"})
    assert read(dataset).state == "needs_mapping"  # rows without a drink would be left out
    page = signed_in(alice).get(f"/datasets/{dataset.pk}/")
    assert page.status_code == 200 and "milk" in page.content.decode()
