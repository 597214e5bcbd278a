"""Records as labelling tools and data hubs write them: every cell is checked, and what people did not label is left out by name."""

import io
import json
import zipfile

import polars as pl
import pytest

from tests.datasets.files import codes, csv_text, publishing, reading, reviews
from webapp.datasets.reading import ReadingError

ROWS = reviews(40, ("Negative", "Positive"))


@pytest.fixture
def read(tmp_path):
    def read_content(content, task="classification", name="export.json", **options):
        path = tmp_path / name
        path.write_bytes(content if isinstance(content, bytes) else content.encode() if isinstance(content, str) else as_json(content))
        return reading(path, tmp_path / "out", task=task, **options)

    return read_content


def as_json(records):
    return json.dumps(records).encode()


def lines(records):
    return "".join(json.dumps(record) + "\n" for record in records)


def cells(report, *names):
    return pl.read_parquet(report["files"][0]["staged"]).select(names).rows()


def layout(report):
    return next(finding["message"] for finding in report["findings"] if finding["code"] == "layout")


def reasons(report):
    return {p["row"]: p["message"] for p in report["problems"] if p["code"] == "not_labelled"}


# --- Label Studio -----------------------------------------------------------------------------------------------------------
def choice(value, name="mood", kind="choices"):
    return {"value": {kind: value}, "from_name": name, "to_name": "text", "type": kind}


def task(i, text, *results, predictions=(), **more):
    annotations = [
        {"id": 900 + n, "completed_by": n, "result": result if isinstance(result, list) else [result], "was_cancelled": False}
        for n, result in enumerate(results)
    ]
    data = {"text": text, "shop": "ab"[i % 2]}
    return {"id": i + 1, "annotations": annotations, "drafts": [], "predictions": list(predictions), "data": data, "meta": {}, **more}


def studio():
    return [task(i, text, choice([label])) for i, (text, label) in enumerate(ROWS)]


@pytest.mark.parametrize("write", [as_json, lines], ids=["json", "json lines"])
def test_a_label_studio_export_gives_texts_and_choices(read, tmp_path, write):
    report = read(write(studio()))
    assert report["plain"] and report["mapping"] == {"text": "data.text", "label": "mood"}
    assert cells(report, "data.text", "mood", "data.shop", "id")[1] == (*ROWS[1], "b", "2")
    assert cells(report, "data.text", "mood") == ROWS
    assert "Label Studio" in layout(report)
    assert {label["name"] for label in publishing(report, tmp_path / "version")["labels"]} == {"Negative", "Positive"}


def test_old_label_studio_exports_say_completions(read):
    old = [{("completions" if key == "annotations" else key): value for key, value in each.items()} for each in studio()]
    assert cells(read(old), "data.text", "mood") == ROWS


def test_skipped_and_open_tasks_of_label_studio_are_left_out_by_name(read):
    tasks = studio()
    tasks[4]["annotations"][0]["was_cancelled"] = True
    tasks[9]["annotations"] = []
    tasks[14]["annotations"][0]["result"] = []
    report = read(tasks)
    said = reasons(report)
    assert list(said) == [5, 10, 15] and not report["plain"]
    assert "skipped" in said[5] and "nobody" in said[10] and "without an answer" in said[15]
    assert cells(report, "data.text", "mood") == [row for i, row in enumerate(ROWS) if i not in {4, 9, 14}]


def test_most_annotators_decide_and_a_draw_is_left_out(read):
    tasks = studio()
    tasks[0] = task(0, ROWS[0][0], *(choice([label]) for label in ("Positive", "Negative", "Positive")))
    tasks[1] = task(1, ROWS[1][0], *(choice([label]) for label in ("Positive", "Negative")))
    tasks[2] = task(2, ROWS[2][0], choice(["Negative"]), choice(["Negative"]))
    tasks[3] = task(3, ROWS[3][0], choice(["Positive"]), choice(["Negative"]))
    tasks[3]["annotations"][1]["ground_truth"] = True
    report = read(tasks)
    assert cells(report, "mood")[:3] == [("Positive",), ("Negative",), ("Negative",)]
    assert list(reasons(report)) == [2] and "Positive or Negative" in reasons(report)[2]
    differ = next(finding for finding in report["findings"] if finding["code"] == "annotators_differ")
    assert (differ["count"], differ["asks"]) == (1, "confirmation")


def test_predictions_of_a_model_are_not_taken_for_labels_of_people(read):
    guessed = [task(i, text, predictions=[{"result": [choice([label])], "score": 0.7}]) for i, (text, label) in enumerate(ROWS)]
    report = read(guessed)
    assert cells(report, "data.text", "mood") == ROWS
    only = next(finding for finding in report["findings"] if finding["code"] == "predictions_only")
    assert (only["asks"], only["count"], report["plain"]) == ("confirmation", 40, False)
    report = read(studio()[:20] + guessed[20:])
    assert cells(report, "data.text", "mood") == ROWS[:20] and len(reasons(report)) == 20


def test_several_questions_of_label_studio_are_columns_and_asked_about(read):
    tasks = [
        task(i, text, [choice([label]), choice(3 + i % 2, "stars", "rating"), choice([["Home", "Lamp"]], "topic", "taxonomy")])
        for i, (text, label) in enumerate(ROWS)
    ]
    report = read(tasks)
    assert cells(report, "mood", "stars", "topic")[1] == ("Positive", "4", "Home / Lamp")
    assert "several_questions" in codes(report) and not report["plain"]


def test_several_choices_of_label_studio_are_several_labels(read):
    tasks = studio()
    for i in range(0, 40, 4):
        tasks[i] = task(i, ROWS[i][0], choice(["Negative", "Delivery"]))
    report = read(tasks)
    assert report["several"]["rows"] == 10 and {label["name"] for label in report["labels"]} == {"Negative", "Positive", "Delivery"}


def span(label):
    return {"value": {"start": 0, "end": 3, "text": "the", "labels": [label]}, "from_name": "ner", "to_name": "text", "type": "labels"}


def test_spans_of_label_studio_are_named_entities(read):
    report = read([task(i, text, [span("PER"), span("ORG")]) for i, (text, _) in enumerate(ROWS)])
    assert_is_token_classification(report)


def assert_is_token_classification(report):
    found = next(finding for finding in report["findings"] if finding["code"] == "token_classification")
    assert found["level"] == "error" and "token classification (named entities)" in found["message"] and not report["plain"]


@pytest.mark.parametrize("write", [as_json, lines], ids=["json", "json lines"])
def test_json_min_of_label_studio_is_read(read, write):
    rows = [
        {"id": i + 1, "text": text, "mood": label, "annotator": 1, "annotation_id": 900 + i, "lead_time": 3.1}
        for i, (text, label) in enumerate(ROWS)
    ]
    report = read(write(rows))
    assert report["plain"] and cells(report, "text", "mood") == ROWS and report["mapping"]["label"] == "mood"
    rows[0]["mood"] = {"choices": ["Negative", "Delivery"]}
    report = read(write(rows))
    assert report["several"]["rows"] == 1 and "Label Studio" in layout(report)


@pytest.mark.parametrize("form", ["json", "csv"])
def test_rows_of_several_annotators_are_asked_about(read, form):
    rows = [
        {"text": text, "id": i + 1, "mood": label, "annotator": 1, "annotation_id": 900 + i, "created_at": "2031-02-03"}
        for i, (text, label) in enumerate(ROWS)
    ]
    write = as_json if form == "json" else as_table
    assert read(write(rows), name=f"project.{form}")["plain"]
    more = [*rows, {**rows[3], "mood": "Negative", "annotator": 2, "annotation_id": 990}]
    report = read(write(more), name=f"project.{form}")
    again = next(finding for finding in report["findings"] if finding["code"] == "several_annotators")
    assert again["count"] == 1 and not report["plain"] and report["rows_read"] == 41


# --- Argilla ------------------------------------------------------------------------------------------------------------------
def argilla(i, text, label, **more):
    suggested = {"mood": {"value": "Negative", "agent": None, "score": 0.7}}
    answers = {"mood": [{"value": label, "user_id": "u-1"}]} if label else {}
    return {"id": f"r{i}", "status": "completed", "fields": {"text": text}, "suggestions": suggested, "responses": answers, **more}


def test_argilla_records_give_the_answers_of_people(read):
    report = read([argilla(i, *row) for i, row in enumerate(ROWS)])
    assert report["plain"] and report["mapping"] == {"text": "fields.text", "label": "responses.mood"}
    assert cells(report, "fields.text", "responses.mood") == ROWS and "Argilla" in layout(report)


def test_open_and_discarded_records_of_argilla_are_left_out_by_name(read):
    records = [argilla(i, *row) for i, row in enumerate(ROWS)]
    records[2] = argilla(2, ROWS[2][0], "", status="pending")
    records[5] = argilla(5, *ROWS[5], status="discarded")
    records[7]["responses"]["mood"] = [{"value": "Positive", "status": "draft"}]
    records[8]["responses"]["mood"] = [{"value": v, "user_id": u} for v, u in (("Positive", 1), ("Negative", 2), ("Negative", 3))]
    report = read(records)
    assert list(reasons(report)) == [3, 6, 8] and "discarded" in reasons(report)[6]
    assert cells(report, "fields.text", "responses.mood") == [row for i, row in enumerate(ROWS) if i not in {2, 5, 7}]
    assert "annotators_differ" in codes(report)


def test_suggestions_alone_are_asked_about(read):
    report = read([argilla(i, text, "") for i, (text, _) in enumerate(ROWS)])
    assert cells(report, "responses.mood") == [("Negative",)] * 40
    assert "predictions_only" in codes(report) and not report["plain"]


def test_argillas_older_layouts_are_read_too(read):
    feedback = [
        {
            "fields": {"text": text},
            "responses": [
                {"values": {"mood": {"value": label}}, "user_id": "u", "status": "submitted"},
                {"values": {"mood": {"value": "Other"}}, "user_id": "v", "status": "discarded"},
            ],
            "suggestions": [{"question_name": "mood", "value": "Negative", "score": 0.2}],
            "external_id": str(i),
        }
        for i, (text, label) in enumerate(ROWS)
    ]
    report = read(feedback)
    assert report["plain"] and cells(report, "fields.text", "responses.mood") == ROWS
    first = [
        {"text": text, "annotation": label, "annotation_agent": "a", "prediction": [["Negative", 0.9]], "status": "Validated", "id": i}
        for i, (text, label) in enumerate(ROWS)
    ]
    first[3]["annotation"] = None
    report = read(first)
    assert cells(report, "text", "annotation") == ROWS[:3] + ROWS[4:] and list(reasons(report)) == [4]
    assert report["mapping"] == {"text": "text", "label": "annotation"}


# --- Prodigy and doccano --------------------------------------------------------------------------------------------------------
def prodigy(text, answer="accept", **more):
    return {"text": text, "_input_hash": 1, "_task_hash": 2, "answer": answer, "_view_id": "choice", **more}


def test_what_prodigy_accepted_is_read_and_the_rest_left_out_by_name(read):
    options = [{"id": name, "text": name.lower()} for name in ("Negative", "Positive")]
    records = [prodigy(text, accept=[label], options=options) for text, label in ROWS]
    records[1]["answer"], records[2]["answer"], records[3]["accept"] = "reject", "ignore", []
    report = read(lines(records))
    assert report["mapping"] == {"text": "text", "label": "accept"}
    assert cells(report, "text", "accept") == [ROWS[0], *ROWS[4:]]
    assert list(reasons(report)) == [2, 3, 4] and '"ignore"' in reasons(report)[3]
    records[0]["accept"] = ["Negative", "Positive"]
    assert read(lines(records))["several"]["rows"] == 1


def test_rejected_rows_of_one_label_are_the_other_class_if_a_person_says_so(read):
    records = [prodigy(text, "accept" if i % 2 else "reject", label="SPAM") for i, (text, _) in enumerate(ROWS)]
    report = read(lines(records))
    assert {label["name"]: label["rows"] for label in report["labels"]} == {"SPAM": 20, "not SPAM": 20}
    assert "rejected_class" in codes(report) and not report["plain"]
    two = [prodigy(text, "reject" if i == 5 else "accept", label=label) for i, (text, label) in enumerate(ROWS)]
    report = read(lines(two))
    assert list(reasons(report)) == [6] and cells(report, "text", "label") == ROWS[:5] + ROWS[6:]


SPANNED = {
    "doccano label": {"label": [[0, 3, "PER"], [4, 7, "ORG"]]},
    "doccano labels": {"labels": [[0, 3, "PER"]]},
    "doccano entities": {"entities": [{"id": 1, "label": "PER", "start_offset": 0, "end_offset": 3}], "relations": [], "Comments": []},
    "spans": {"spans": [{"start": 0, "end": 3, "label": "PER"}]},
    "spacy": {"entities": [[0, 3, "PER"]]},
    "prodigy": {"spans": [{"start": 0, "end": 3, "label": "PER"}], "answer": "accept", "_input_hash": 1, "_task_hash": 2},
}


@pytest.mark.parametrize("kind", SPANNED)
def test_spans_of_characters_are_named_for_what_they_are(read, tmp_path, kind):
    report = read(lines({"id": i, "text": text, **SPANNED[kind]} for i, (text, _) in enumerate(ROWS)))
    assert_is_token_classification(report)
    column = next(iter(SPANNED[kind]))
    with pytest.raises(ReadingError):
        publishing(report, tmp_path / "version", mapping={"text": "text", "label": column})


def test_doccanos_lists_of_one_label_are_labels_and_empty_ones_are_none(read):
    records = [{"id": i, "text": text, "label": [label]} for i, (text, label) in enumerate(ROWS)]
    assert read(lines(records))["plain"]
    records[7]["label"] = []
    report = read(lines(records))
    missing = next(finding for finding in report["findings"] if finding["code"] == "missing_label")
    assert missing["count"] == 1 and {label["name"] for label in report["labels"]} == {"Negative", "Positive", ""}


# --- Words with tags ----------------------------------------------------------------------------------------------------------
WORDS = [{"tokens": text.split(), "ner_tags": [i % 3 for i, _ in enumerate(text.split())]} for text, _ in ROWS]


@pytest.mark.parametrize("form", ["json lines", "json", "parquet"])
def test_words_with_tags_are_named_for_what_they_are(read, form):
    data = io.BytesIO()
    pl.DataFrame(WORDS).write_parquet(data)
    report = read({"json lines": lines(WORDS), "json": as_json(WORDS), "parquet": data.getvalue()}[form])
    assert_is_token_classification(report)
    assert cells(report, "text")[0] == (ROWS[0][0],)


@pytest.mark.parametrize(("sign", "columns"), [(" ", 2), ("\t", 2), (" ", 4)])
def test_conll_is_named_for_what_it_is(read, sign, columns):
    rows = [
        "\n".join(
            sign.join([word, *(["NN", "B-NP"] if columns == 4 else []), "O" if i % 2 else "B-PER"]) for i, word in enumerate(t.split())
        )
        for t, _ in ROWS
    ]
    report = read("-DOCSTART- -X- O O\n\n" + "\n\n".join(rows) + "\n", name="train.conll")
    assert_is_token_classification(report)
    assert report["files"][0]["format"] == "conll" and cells(report, "text") == [(text,) for text, _ in ROWS]
    assert json.loads(cells(report, "tags")[0][0])[:2] == ["B-PER", "O"]


# --- fastText -----------------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("where", ["before", "behind", "with a comma"])
def test_fasttext_gives_labels_and_texts(read, where):
    joined = {"before": "__label__{1} {0}", "behind": "{0} __label__{1}", "with a comma": "__label__{1} , {0}"}[where]
    report = read("".join(joined.format(*row) + "\n" for row in ROWS), name="train.txt")
    assert report["plain"] and report["mapping"] == {"text": "text", "label": "label"} and report["files"][0]["format"] == "fasttext"
    assert cells(report, "text", "label") == ROWS


def test_a_line_without_a_label_in_fasttext_is_a_row_without_one(read):
    rows = [f"__label__{label} {text}" for text, label in ROWS]
    rows[6] = "Only a text"
    report = read("\n".join(rows), name="train.ft")
    assert cells(report, "label", "text")[6] == ("", "Only a text") and "missing_label" in codes(report)


# --- The hub ------------------------------------------------------------------------------------------------------------------
NAMES = ["Negative", "Positive"]
CLASS = {"names": NAMES, "_type": "ClassLabel"}
TEXT = {"dtype": "string", "_type": "Value"}


def hub_parquet(rows, features, **schema):
    data = io.BytesIO()
    frame = pl.DataFrame(rows, schema_overrides=schema)
    frame.write_parquet(data, metadata={"huggingface": json.dumps({"info": {"features": features}})})
    return data.getvalue()


def test_names_of_classes_in_a_parquet_footer_are_taken(read, tmp_path):
    rows = [{"text": text, "label": NAMES.index(label)} for text, label in ROWS]
    rows[9]["label"], rows[11]["label"] = -1, None
    report = read(hub_parquet(rows, {"text": TEXT, "label": CLASS}))
    expected = [(text, "" if i in {9, 11} else label) for i, (text, label) in enumerate(ROWS)]
    assert cells(report, "text", "label") == expected
    assert "class_names" in codes(report) and "missing_label" in codes(report) and not report["plain"]


def test_the_class_names_decide_which_column_is_the_label(read):
    rows = [{"text": text, "rating": i % 5, "verdict": NAMES.index(label)} for i, (text, label) in enumerate(ROWS)]
    report = read(hub_parquet(rows, {"text": TEXT, "rating": {"dtype": "int64", "_type": "Value"}, "verdict": CLASS}))
    assert report["mapping"] == {"text": "text", "label": "verdict"} and cells(report, "text", "verdict") == ROWS


@pytest.mark.parametrize("listed", [[CLASS], {"feature": CLASS, "_type": "Sequence"}, {"feature": CLASS, "_type": "List"}])
def test_lists_of_classes_and_classes_within_objects_get_their_names_too(read, listed):
    rows = [{"text": text, "labels": [i % 2, 1][: 1 + (i % 4 == 0)]} for i, (text, _) in enumerate(ROWS)]
    report = read(hub_parquet(rows, {"text": TEXT, "labels": listed}))
    assert report["several"]["rows"] == 10 and {label["name"] for label in report["labels"]} == set(NAMES)
    rows = [{"data": {"text": text, "label": NAMES.index(label)}} for text, label in ROWS]
    assert cells(read(hub_parquet(rows, {"data": {"text": TEXT, "label": CLASS}})), "data.text", "data.label") == ROWS


@pytest.mark.parametrize(
    "broken", ["nonsense", "[]", '{"info": 7}', '{"info": {"features": [1]}}', '{"info": {"features": {"label": {"names": 3}}}}']
)
def test_a_footer_that_says_nonsense_changes_nothing(read, broken):
    data = io.BytesIO()
    pl.DataFrame([{"text": text, "label": NAMES.index(label)} for text, label in ROWS]).write_parquet(
        data, metadata={"huggingface": broken}
    )
    assert {label["name"] for label in read(data.getvalue())["labels"]} == {"0", "1"}


def arrow(records, write="write_ipc_stream", features=None):
    """As the hub's library leaves it, with what it says of its columns in the schema."""
    data = io.BytesIO()
    getattr(pl.DataFrame(records), write)(data)
    said = json.dumps({"info": {"features": features}}).encode() if features else b""
    return data.getvalue() + b"\0" * 8 + said


@pytest.mark.parametrize("write", ["write_ipc_stream", "write_ipc"])
def test_arrow_is_read_with_its_class_names(read, write):
    rows = [{"text": text, "label": NAMES.index(label)} for text, label in ROWS]
    report = read(arrow(rows)[:-8] if write == "write_ipc" else arrow(rows, features={"text": TEXT, "label": CLASS}), name="data.arrow")
    assert report["files"][0]["format"] == "arrow"
    names = NAMES if write == "write_ipc_stream" else ["0", "1"]
    assert cells(report, "text", "label") == [(text, names[NAMES.index(label)]) for text, label in ROWS]
    nested = [{"text": text, "label": [label, "New"][: 1 + i % 2]} for i, (text, label) in enumerate(ROWS)]
    assert read(arrow(nested, write)[:-8] if write == "write_ipc" else arrow(nested))["several"]["rows"] == 20


def test_a_folder_of_save_to_disk_gives_its_parts(read):
    data = io.BytesIO()
    with zipfile.ZipFile(data, "w") as folder:
        folder.writestr("ds/dataset_dict.json", '{"splits": ["train", "test"]}')
        for part, rows in (("train", ROWS[:30]), ("test", ROWS[30:])):
            folder.writestr(f"ds/{part}/data-00000-of-00001.arrow", arrow([{"text": t, "label": n} for t, n in rows]))
            folder.writestr(f"ds/{part}/dataset_info.json", json.dumps({"features": {"text": TEXT}}))
            folder.writestr(f"ds/{part}/state.json", json.dumps({"_split": part, "_data_files": [{"filename": "data"}]}))
    report = read(data.getvalue(), name="ds.zip")
    assert [(file["part"], file["rows_read"]) for file in report["files"]] == [("train", 30), ("test", 10)] and report["plain"]
    assert cells(report, "text", "label") == ROWS[:30]


def test_damaged_arrow_is_refused_by_name(read):
    data = arrow([{"text": text, "label": label} for text, label in ROWS])
    for broken in (data[:100], data[:20] + bytes(40) + data[60:], b"ARROW1\0\0" + data[:200]):
        with pytest.raises(ReadingError, match="damaged Arrow file"):
            read(broken)


def server(rows, total):
    features = [{"feature_idx": 0, "name": "text", "type": TEXT}, {"feature_idx": 1, "name": "label", "type": CLASS}]
    listed = [{"row_idx": i, "row": row, "truncated_cells": []} for i, row in enumerate(rows)]
    return {"features": features, "rows": listed, "num_rows_total": total, "num_rows_per_page": 100, "partial": False}


def test_rows_of_the_datasets_server_get_their_class_names_and_a_page_is_called_one(read):
    rows = [{"text": text, "label": NAMES.index(label)} for text, label in ROWS]
    report = read(server(rows, 40))
    assert report["plain"] and cells(report, "text", "label") == ROWS and [c["name"] for c in report["columns"]] == ["text", "label"]
    report = read(server(rows, 9_000))
    part = next(finding for finding in report["findings"] if finding["code"] == "part_of_data")
    assert "40 of 9,000 rows" in part["message"] and not report["plain"]
    cut = server(rows, 40)
    cut["rows"][3]["truncated_cells"] = ["text"]
    assert "part_of_data" in codes(read(cut))


# --- Questions about passages -------------------------------------------------------------------------------------------------
PASSAGE = "The mill in {0} was built in {1} by two brothers."
ASKED = [(PASSAGE.format(f"Town {i}", 1800 + i), f"When was mill {i} built?", str(1800 + i)) for i in range(20)]
NONE = [(passage, f"Who owns mill {i}?") for i, (passage, _, _) in enumerate(ASKED)]


def expected():
    found = [(p, q, a, str(p.index(a)), f'["{a}"]') for p, q, a in ASKED]
    return [row for pair in zip(found, ((p, q, "", "", "[]") for p, q in NONE), strict=True) for row in pair]


def answered(passage, text):
    return [{"text": text, "answer_start": passage.index(text)}]


def paragraphs(no_answer):
    return [
        {
            "context": p,
            "qas": [{"id": f"{i}a", "question": q, "answers": answered(p, a)}, {"id": f"{i}b", "question": NONE[i][1], **no_answer}],
        }
        for i, (p, q, a) in enumerate(ASKED)
    ]


def flat(write, nothing):
    rows = []
    for i, (p, q, a) in enumerate(ASKED):
        rows += [{"context": p, "question": q, "answers": write(a, p.index(a))}, {"context": p, "question": NONE[i][1], "answers": nothing}]
    return rows


EMPTY = {"answers": []}
QUESTIONS = {
    "squad": {"data": [{"title": "t", "paragraphs": paragraphs(EMPTY)}]},
    "impossible": {
        "version": "v2.0",
        "data": [{"title": "t", "paragraphs": paragraphs({"is_impossible": True, "answers": answered("ab", "b")})}],
    },
    "articles in a list": [{"title": "t", "paragraphs": paragraphs(EMPTY)}],
    "one article": {"title": "t", "paragraphs": paragraphs(EMPTY)},
    "passages in a list": paragraphs(EMPTY),
    "passages below data": {"data": paragraphs({"answers": None})},
    "an answer below answer": paragraphs({"answer": ""}),
    "lists": flat(lambda a, at: {"text": [a], "answer_start": [at]}, {"text": [], "answer_start": []}),
    "lists with an end": flat(
        lambda a, at: {"text": [a], "answer_start": [at], "answer_end": [at + len(a)]}, {"text": [], "answer_start": [], "answer_end": []}
    ),
    "one object": flat(lambda a, at: {"text": a, "answer_start": at}, {"text": "", "answer_start": -1}),
    "objects": flat(lambda a, at: [{"text": a, "answer_start": at, "answer_id": 7}], []),
    "text in a cell": flat(lambda a, at: json.dumps({"text": [a], "answer_start": [at]}), '{"text": [], "answer_start": []}'),
    "python in a cell": flat(lambda a, at: str({"text": [a], "answer_start": [at]}), "{'text': [], 'answer_start': []}"),
    "numpy in a cell": flat(
        lambda a, at: f"{{'text': array(['{a}'], dtype=object), 'answer_start': array([{at}], dtype=int32)}}",
        "{'text': array([], dtype=object), 'answer_start': array([], dtype=int32)}",
    ),
    "several, the second fits": flat(
        lambda a, at: {"text": ["nowhere to be found", a], "answer_start": [0, at]}, {"text": [], "answer_start": []}
    ),
}


@pytest.mark.parametrize("kind", QUESTIONS)
@pytest.mark.parametrize("write", [as_json, lines], ids=["json", "json lines"])
def test_squad_is_understood_in_all_its_layouts(read, tmp_path, kind, write):
    value = QUESTIONS[kind]
    report = read(write(value) if write is as_json or isinstance(value, list) else lines([value]), "question_answering")
    names = ("context", "question", "answer", "start", "answers")
    assert report["mapping"] == {name: name for name in names}
    if "second" in kind:
        assert cells(report, *names[:4]) == [row[:4] for row in expected()]
        assert cells(report, "answers")[0] == ('["nowhere to be found","1800"]',)
    else:
        assert cells(report, *names) == expected()
    made = publishing(report, tmp_path / "version")
    assert (made["rows"], made["rejected"]) == (40, 0)
    assert pl.read_parquet(made["path"]).filter(pl.col("answer") == "").height == 20


def test_answers_without_places_take_the_text_that_the_passage_holds(read):
    rows = [{"context": p, "question": q, "answers": ["not in there", a]} for p, q, a in ASKED]
    report = read(rows, "question_answering")
    assert cells(report, "answer", "answers")[3] == ("1803", '["not in there","1803"]')


def test_questions_in_parquet_are_the_same_as_in_json(read, tmp_path):
    rows = flat(
        lambda a, at: {"text": [a], "answer_start": [at], "answer_end": [at + len(a)]}, {"text": [], "answer_start": [], "answer_end": []}
    )
    data = io.BytesIO()
    numbers = pl.List(pl.Int64)
    kind = pl.Struct({"text": pl.List(pl.String), "answer_start": numbers, "answer_end": numbers})
    pl.DataFrame(rows, schema_overrides={"answers": kind}).write_parquet(data)
    assert cells(read(data.getvalue(), "question_answering"), "context", "question", "answer", "start", "answers") == expected()


def as_table(records):
    """What pandas' to_csv makes of records."""
    names = list(records[0])
    written = ([cell if isinstance(cell, str) else repr(cell) for cell in record.values()] for record in records)
    rows = (",".join('"' + cell.replace('"', '""') + '"' for cell in row) for row in written)
    return "\n".join([",".join(names), *rows]) + "\n"


@pytest.mark.parametrize("kind", [kind for kind, value in QUESTIONS.items() if isinstance(value, list) and "answers" in value[0]])
def test_answers_in_a_cell_of_a_table_are_understood(read, kind):
    report = read(as_table(QUESTIONS[kind]), "question_answering", "squad.csv")
    rows = cells(report, "context", "question", "answer", "start")
    assert rows == [row[:4] for row in expected()] and report["files"][0]["header_row"] == 1
    assert cells(report, "_row")[:3] == [(2,), (3,), (4,)]


def test_objects_in_a_cell_of_a_table_become_columns(read):
    rows = [{"id": str(i), "translation": {"de": f"Haus {i} am Fluss", "en": f"House {i} by the river"}} for i in range(20)]
    report = read(as_table(rows), "", "books.csv")
    assert report["mapping"] == {"source": "translation.de", "target": "translation.en"} and report["task"] == "translation"
    assert cells(report, "id", "translation.en")[7] == ("7", "House 7 by the river")


def test_a_text_in_brackets_stays_a_text(read):
    rows = [(f"[laughs] {text} {{sic}}", label) for text, label in ROWS]
    report = read(csv_text([*rows[:-1], ("{'a': 1}", "Positive")]), name="rows.csv")
    assert cells(report, "text", "label") == [*rows[:-1], ("{'a': 1}", "Positive")]


def test_spans_in_a_cell_of_a_table_are_named_entities(read):
    rows = [
        {"text": text, "id": str(i), "label": [{"start": 0, "end": 3, "text": "the", "labels": ["PER"]}]}
        for i, (text, _) in enumerate(ROWS)
    ]
    assert_is_token_classification(read(as_table([{**row, "annotator": "1", "annotation_id": "7"} for row in rows]), name="rows.csv"))


# --- Translations -------------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("pair", [("de", "en"), ("en", "de"), ("de", "fr"), ("fr", "de"), ("zh", "en"), ("ru", "uk")])
@pytest.mark.parametrize("form", ["json lines", "parquet", "csv"])
def test_the_order_of_the_languages_in_the_file_is_the_direction(read, pair, form):
    source, target = pair
    rows = [{source: f"Haus {i} am Fluss", target: f"House {i} by the river", "source": "books"} for i in range(20)]
    data = io.BytesIO()
    nested = [{"source": row.pop("source"), "translation": row} for row in rows]
    pl.DataFrame(nested).write_parquet(data)
    table = f"{source},{target}\n" + "".join(f"{row[source]},{row[target]}\n" for row in rows)
    report = read({"json lines": lines(nested), "parquet": data.getvalue(), "csv": table}[form], "")
    prefix = "" if form == "csv" else "translation."
    assert report["task"] == "translation" and report["plain"]
    assert report["mapping"] == {"source": f"{prefix}{source}", "target": f"{prefix}{target}"}


def test_more_than_two_languages_are_asked_about(read):
    rows = [{"translation": {"cs": f"Dům {i} u řeky", "de": f"Haus {i} am Fluss", "en": f"House {i} by the river"}} for i in range(20)]
    report = read(lines(rows), "translation")
    assert report["mapping"] == {"source": "translation.cs", "target": "translation.de"} and not report["plain"]


def test_words_that_say_source_and_target_outweigh_the_order(read):
    rows = [{"target_de": f"Haus {i} am Fluss", "source_en": f"House {i} by the river"} for i in range(20)]
    assert read(lines(rows), "translation")["mapping"] == {"source": "source_en", "target": "target_de"}


# --- The inputs that people had trouble with elsewhere ------------------------------------------------------------------------
FIRST_TWO = [
    ("I would buy this tent again tomorrow. Order 101.", "positive"),
    ("Nothing but trouble with the lamp. Day 102.", "negative"),
]
CASES = {
    "10_label_studio_json/project-4.json": ("data.text", "sentiment", str.title),
    "13_pandas_columns_json/frame.json": ("text", "label", str),
    "15_python_dict_lines/data.jsonl": ("text", "label", str),
    "16_jsonl_trailing_commas/data.jsonl": ("text", "label", str),
    "17_concatenated_json/data.json": ("text", "label", str),
    "18_nan_in_jsonl/data.jsonl": ("text", "label", str),
    "19_fasttext/train.txt": ("text", "label", str),
    "38_save_to_disk_zip/ds.zip": ("text", "label", str),
    "38_save_to_disk_zip/data-00000-of-00001.arrow": ("text", "label", str),
    "40_parquet_classlabel/train-00000-of-00001.parquet": ("text", "label", str),
    "52_argilla_records/records.json": ("fields.text", "responses.sentiment", str),
}


@pytest.mark.parametrize("name", CASES)
def test_what_went_wrong_elsewhere_gives_the_right_cells(case, name):
    text, label, written = CASES[name]
    report = case(name, task="classification")
    assert report["plain"] and report["rows_read"] == 60 and report["mapping"] == {"text": text, "label": label}
    assert cells(report, text, label)[:2] == [(said, written(kind)) for said, kind in FIRST_TWO]
    assert {entry["name"]: entry["rows"] for entry in report["labels"]} == {written("negative"): 30, written("positive"): 30}


SEVERAL = {
    "12_doccano_multi/admin.jsonl": {"negative": 30, "positive": 30, "delivery": 10},
    "41_parquet_types/list_labels.parquet": {"negative": 30, "positive": 30, "delivery": 10},
    "53_label_studio_csv_multi/project-5.csv": {"Negative": 30, "Positive": 30, "Delivery": 12},
    "60_multi_label_cells/toxic.csv": {"toxic": 36, "insult": 36, "threat": 24, "clean": 12},
}


@pytest.mark.parametrize("name", SEVERAL)
def test_several_labels_of_other_tools_are_asked_about(case, name):
    report = case(name, task="classification")
    assert not report["plain"] and "several_labels" in codes(report)
    assert {entry["name"]: entry["rows"] for entry in report["labels"]} == SEVERAL[name]


@pytest.mark.parametrize("name", ["42_simpletransformers_qa/train.json", "45_qa_extra_key/extra.jsonl"])
def test_questions_of_other_tools_keep_their_answers_and_their_places(case, name):
    rows = cells(case(name, task="question_answering"), "context", "question", "answer", "start")
    assert len(rows) == 72 and sum(answer == "" for _, _, answer, _ in rows) == 24
    assert all(passage[int(start) :].startswith(answer) for passage, _, answer, start in rows if answer)
    assert rows[1][1:] == ("Who built the mill?", "two brothers", "41")


@pytest.mark.parametrize(("name", "source"), [("wmt", "en"), ("wmt_de_en", "de"), ("de_fr", "de")])
def test_translations_of_other_tools_keep_their_direction(case, name, source):
    report = case(f"23_translation_dict/{name}.jsonl", task="translation")
    assert report["mapping"]["source"] == f"translation.{source}" and report["plain"]


def test_a_second_label_far_down_is_one_of_several(tmp_path):
    """The first thousand records say that the list holds one; what comes later is no new class of both names."""
    path = tmp_path / "late.jsonl"
    labels = [["sports"] if i % 2 else ["politics"] for i in range(1_100)] + [["sports", "politics"]] * 30
    path.write_text(
        "".join(json.dumps({"text": f"{WORDS[i % len(WORDS)]} number {i}", "labels": each}) + "\n" for i, each in enumerate(labels))
    )
    report = reading(path, tmp_path / "out")
    assert "sports politics" not in {entry["name"] for entry in report["labels"]}
    assert report["several"]["rows"] == 30 and not report["plain"]


def test_a_second_sentence_far_down_belongs_to_the_text(tmp_path):
    path = tmp_path / "late.jsonl"
    texts = [[f"The {WORDS[i % len(WORDS)]} is number {i}."] for i in range(1_100)] + [["One sentence.", "Another one."]] * 30
    path.write_text("".join(json.dumps({"text": each, "label": "ab"[i % 2]}) + "\n" for i, each in enumerate(texts)))
    report = reading(path, tmp_path / "out")
    assert cells(report, "text")[-1] == ("One sentence. Another one.",)
