"""Several columns that make one text, chats in cells, and pairs of answers: understood, or asked about, never ignored."""

import csv
import io
import json

import polars as pl
import pytest

from tests.datasets.files import codes, publishing, reading
from webapp.datasets.reading import ReadingError
from worker.nlp import TASKS

THINGS = ["tent", "lamp", "wall clock", "hand mixer", "travel mug", "door bell", "kettle", "keyboard", "coffee grinder", "rain jacket"]
SAYINGS = [
    "I would buy this {} again tomorrow",
    "Nothing but trouble with the {}",
    "A lovely {}, quiet and sturdy",
    "The {} came late and scratched",
]


def said(i):
    return f"{SAYINGS[i % 4].format(THINGS[i % 10])}. Order {100 + i}."


def alpaca(i, **more):
    asked = ["Turn the sentence into a question.", "Say it more politely.", "Shorten the sentence.", "Name the object."][i % 4]
    return {"instruction": asked, "input": said(i), "output": f"Answer {i}: {THINGS[i % 10]}", **more}


@pytest.fixture
def look(tmp_path):
    """(report, rows of the version) of sixty records, each as JSON Lines or as CSV."""

    def look(record, task="generation", as_csv=None, **changes):
        records = [record(i) for i in range(60)]
        path = tmp_path / ("rows.csv" if as_csv else "rows.jsonl")
        if as_csv:
            text = io.StringIO()
            writer = csv.DictWriter(text, records[0].keys())
            writer.writeheader()
            writer.writerows([{name: cell if isinstance(cell, str) else as_csv(cell) for name, cell in each.items()} for each in records])
            path.write_text(text.getvalue())
        else:
            path.write_text("".join(json.dumps(each, ensure_ascii=False) + "\n" for each in records))
        report = reading(path, tmp_path / "out", task=task)
        published = publishing(report, tmp_path / "out", **changes)
        return report, published, pl.read_parquet(published["path"]).sort("_row")

    return look


# --- several columns as one text ----------------------------------------------------------------------------------------------
def test_the_input_of_alpaca_belongs_to_the_prompt_and_the_split_is_by_the_whole_question(look):
    report, published, rows = look(alpaca)
    assert report["plain"] and report["mapping"] == {"prompt": "{instruction}\n\n{input}", "completion": "output"}
    assert rows["prompt"][0] == f"Turn the sentence into a question.\n\n{said(0)}"
    assert published["splits"] == {"train": 48, "validation": 6, "test": 6}
    assert {"x_instruction", "x_input"} <= {*rows.columns}


def test_one_instruction_for_all_rows_is_as_good_as_many(look):
    report, published, rows = look(lambda i: alpaca(i, instruction="Decide whether the customer is happy."))
    assert report["plain"] and published["splits"]["train"] == 48 and rows["prompt"].n_unique() == 60


def test_an_empty_input_leaves_no_blank_lines_behind(look):
    report, _published, rows = look(lambda i: alpaca(i, input=said(i) if i % 2 else " "))
    assert report["plain"] and rows["prompt"][0] == "Turn the sentence into a question."
    assert rows["prompt"][1] == f"Say it more politely.\n\n{said(1)}"


def test_dolly_is_asked_with_its_context(look):
    report, _published, rows = look(
        lambda i: {"instruction": f"What about {THINGS[i % 10]}?", "context": said(i), "response": f"It is {i}.", "category": "abc"[i % 3]},
        task="",
    )
    assert (report["task"], report["plain"]) == ("generation", True)
    assert rows["prompt"][0] == f"What about tent?\n\n{said(0)}" and rows["completion"][0] == "It is 0."


def test_a_system_prompt_in_a_column_and_earlier_turns_are_read(look):
    record = lambda i: alpaca(i, system="Be kind.", history=[[f"Hi {i}", "Hello."]] if i % 2 else [])  # noqa: E731
    report, _published, rows = look(record)
    assert report["plain"] and report["mapping"]["system"] == "system" and report["mapping"]["history"] == "history"
    assert rows["system"][1] == "Be kind." and json.loads(rows["history"][1])[0] == {"role": "user", "content": "Hi 1"}
    orca = lambda i: {"system_prompt": "Answer like a pirate.", "question": f"What about {said(i)}", "response": f"Reply {i}."}  # noqa: E731
    report, _published, rows = look(orca, task="")
    assert report["plain"] and report["mapping"] == {"system": "system_prompt", "prompt": "question", "completion": "response"}


def test_title_and_body_are_proposed_as_one_text_and_a_person_is_asked(look):
    def letter(i):
        return {"title": f"About the {THINGS[i % 10]} {i}", "body": f"{said(i)} {said(i + 1)} {said(i + 2)}", "label": "ab"[i % 2]}

    report, _published, rows = look(letter, task="classification")
    assert report["mapping"] == {"text": "{title}\n\n{body}", "label": "label"}
    (finding,) = [f for f in report["findings"] if f["code"] == "template_proposed"]
    assert finding["asks"] == "mapping" and "“title”" in finding["message"] and not report["plain"]
    assert rows["text"][0] == f"About the tent 0\n\n{said(0)} {said(1)} {said(2)}"


def test_a_template_of_ones_own_words_is_obeyed(look):
    template = "Task: {instruction}\n\nThe text:\n{input}"
    mapping = {"prompt": template, "completion": "output"}
    _report, _published, rows = look(lambda i: alpaca(i, input=said(i) if i % 2 else ""), mapping=mapping)
    assert rows["prompt"][0] == "Task: Turn the sentence into a question."
    assert rows["prompt"][1] == f"Task: Say it more politely.\n\nThe text:\n{said(1)}"


@pytest.mark.parametrize(
    ("template", "words"),
    [("{instruction} {nothing}", "names {nothing}"), ("{input} {input}", "twice"), ("{input}" + "x" * 5_000, "too long")],
)
def test_a_template_that_cannot_work_is_refused_with_what_there_is(look, template, words):
    with pytest.raises(ReadingError, match=words):
        look(alpaca, mapping={"prompt": template, "completion": "output"})


def test_rows_in_which_every_column_of_the_template_is_empty_have_no_prompt(look):
    record = lambda i: alpaca(i) if i else alpaca(i, instruction="", input="")  # noqa: E731
    mapping = {"prompt": "Question:\n{instruction}\n\n{input}\n\nThink.", "completion": "output"}
    _report, _published, rows = look(record, mapping=mapping)
    assert rows["prompt"][0] == "" and rows["prompt"][1].startswith("Question:\nSay") and rows["prompt"][1].endswith("\n\nThink.")


def test_texts_that_nobody_uses_are_asked_about_and_copies_of_used_ones_are_not(look):
    report, *_ = look(lambda i: {"prompt": f"Say {i}", "completion": f"So {i}", "explanation": said(i)})
    (finding,) = [f for f in report["findings"] if f["code"] == "unused_text"]
    assert finding["asks"] == "mapping" and "explanation" in finding["message"] and not report["plain"]
    report, *_ = look(lambda i: alpaca(i, text=f"Below is a task.\n{alpaca(i)['instruction']}\n{said(i)}\nAnswer {i}: {THINGS[i % 10]}"))
    assert report["plain"] and "text" not in report["mapping"]
    report, *_ = look(
        lambda i: alpaca(i, id=f"row-{i}", url=f"https://example.org/{i}", topic=THINGS[i % 10], tags=["a", "b", "c"][: i % 3])
    )
    assert report["plain"]


def test_one_prompt_for_all_rows_is_no_reason_to_hold_nothing_out(look):
    report, published, _rows = look(lambda i: {"prompt": "Write a line.", "completion": said(i)})
    assert report["plain"] and published["splits"] == {"train": 48, "validation": 6, "test": 6}
    assert "one_question" in {f["code"] for f in published["findings"]}


# --- chats in cells -------------------------------------------------------------------------------------------------------------
def chat(i):
    return [{"role": "User", "content": f"Tell me about {said(i)}"}, {"role": "Assistant", "content": f"Gladly, number {i}."}]


@pytest.mark.parametrize("as_csv", [None, json.dumps, repr], ids=["json lines", "json in csv", "python in csv"])
@pytest.mark.parametrize("name", ["messages", "conversations", "chat"])
def test_a_chat_in_a_cell_is_kept_in_one_layout(look, as_csv, name):
    report, _published, rows = look(lambda i: {name: chat(i), "source": "ab"[i % 2]}, task="", as_csv=as_csv)
    assert (report["task"], report["plain"], report["mapping"]) == ("generation", True, {"text": name})
    wanted = [{"role": "user", "content": f"Tell me about {said(0)}"}, {"role": "assistant", "content": "Gladly, number 0."}]
    assert json.loads(rows["text"][0]) == wanted


@pytest.mark.parametrize("as_csv", [None, json.dumps, repr])
def test_prompt_and_completion_as_messages_are_a_prompt_and_a_completion(look, as_csv):
    def trl(i):
        return {"prompt": [{"role": "system", "content": "Be brief."}, chat(i)[0]], "completion": [chat(i)[1]]}

    report, _published, rows = look(trl, as_csv=as_csv)
    assert report["plain"] and rows["completion"][0] == "Gladly, number 0."
    assert [m["role"] for m in json.loads(rows["prompt"][0])] == ["system", "user"]


def test_rows_with_a_role_that_is_not_known_are_rejected_by_name(look):
    record = lambda i: {"messages": [{"role": "narrator", "content": "Night."}, *chat(i)] if i in (3, 30) else chat(i)}  # noqa: E731
    report, published, _rows = look(record)
    assert not report["plain"] and published["rejected"] == 2
    assert [(p["row"], p["column"]) for p in report["problems"]] == [(4, "messages"), (31, "messages")]
    assert all("narrator" in p["message"] for p in report["problems"])


def test_an_image_in_a_chat_refuses_its_row(look):
    image = {"type": "image_url", "image_url": {"url": "x"}}
    record = lambda i: {"messages": [{"role": "user", "content": [image]}, chat(i)[1]] if i == 5 else chat(i)}  # noqa: E731
    report, *_ = look(record)
    assert [(p["row"], "image_url" in p["message"]) for p in report["problems"]] == [(6, True)]


def test_lists_of_roles_and_contents_beside_each_other_are_messages(look):
    sided = lambda i: {"messages": {"role": ["user", "assistant"], "content": [said(i), f"So {i}."]}}  # noqa: E731
    report, _published, rows = look(sided)
    assert report["plain"] and report["mapping"] == {"text": "messages"}
    assert json.loads(rows["text"][0])[1] == {"role": "assistant", "content": "So 0."}
    alone = lambda i: {"prompt": said(i), "completion": {"role": "assistant", "content": f"So {i}."}}  # noqa: E731
    report, _published, rows = look(alone)
    assert report["plain"] and rows.select("prompt", "completion").row(0) == (said(0), "So 0.")


def test_a_dialogue_of_sentences_is_asked_about_and_becomes_a_chat(look):
    report, _published, rows = look(lambda i: {"dialog": [f"Hello there {i}.", "Hello to you too.", "How are you?", f"Fine {i}."]})
    assert "doubtful_text" in codes(report) and not report["plain"]
    assert [m["role"] for m in json.loads(rows["text"][0])] == ["user", "assistant"] * 2


def test_answers_in_json_are_asked_about(look):
    report, _published, rows = look(lambda i: {"prompt": said(i), "completion": json.dumps({"object": THINGS[i % 10], "n": i})})
    (finding,) = [f for f in report["findings"] if f["code"] == "doubtful_completion"]
    assert (finding["asks"], finding["count"]) == ("confirmation", 60) and rows["completion"][0] == '{"object": "tent", "n": 0}'


def test_a_whole_chat_beside_its_first_question_is_learnt_once(look):
    report, _published, rows = look(lambda i: {"prompt": chat(i)[0]["content"], "prompt_id": f"x{i}", "messages": chat(i)}, task="")
    assert report["plain"] and report["mapping"] == {"prompt": "prompt", "text": "messages"}
    assert TASKS["generation"].problems(rows.row(0, named=True)) == []


@pytest.mark.parametrize("roles", [("prompter", "assistant"), ("user", "assistant"), ("human", "gpt")])
def test_messages_in_rows_of_their_own_are_asked_about(look, roles):
    report, *_ = look(lambda i: {"message_id": f"m{i}", "parent_id": f"m{i - 1}", "text": said(i), "role": roles[i % 2], "lang": "en"})
    told = next(f for f in report["findings"] if f["code"] == "loose_messages")
    assert (told["asks"], told["column"]) == ("mapping", "role") and "one message of a chat" in told["message"]


def test_who_wrote_an_answer_does_not_make_it_a_message(look):
    report, *_ = look(lambda i: {"prompt": f"Say {i}", "completion": said(i), "by": ("human", "gpt")[i % 2]})
    assert report["plain"]


# --- pairs of answers -----------------------------------------------------------------------------------------------------------
def as_text(i):
    return {"prompt": f"Name thing {i}.", "chosen": f"It is {said(i)}", "rejected": "No."}


def as_messages(i):
    asked = {"role": "user", "content": f"Name thing {i}."}
    answers = {
        name: [asked, {"role": "assistant", "content": text}] for name, text in (("chosen", f"It is {said(i)}"), ("rejected", "No."))
    }
    return {"prompt": f"Name thing {i}.", **answers}


def as_values(i):  # LLaMA-Factory
    row = as_text(i)
    answers = {name: {"from": "gpt", "value": row[name]} for name in ("chosen", "rejected")}
    return {"conversations": [{"from": "human", "value": row["prompt"]}], **answers}


@pytest.mark.parametrize("record", [as_text, as_messages, as_values])
def test_preference_pairs_are_a_kind_of_their_own(look, record):
    report, published, rows = look(record, task="")
    assert (report["task"], report["plain"], published["rows"]) == ("preferences", True, 60)
    assert rows.select("prompt", "chosen", "rejected").row(0) == ("Name thing 0.", f"It is {said(0)}", "No.")


@pytest.mark.parametrize("record", [as_text, as_messages, as_values])
def test_preference_pairs_are_not_imported_as_prompts(tmp_path, record):
    path = tmp_path / "pairs.jsonl"
    path.write_text("".join(json.dumps(record(i)) + "\n" for i in range(60)))
    report = reading(path, tmp_path / "out", task="generation")
    assert not {"chosen", "rejected", "chosen.value", "rejected.value"} & {*report["mapping"].values()}
    assert report["fits_better"] == "preferences" and {"preference_pairs", "other_task"} <= codes(report) and not report["plain"]


def test_answers_with_a_verdict_each_are_asked_about(look):
    report, *_ = look(lambda i: {"prompt": f"Say {i}", "completion": said(i), "label": bool(i % 2)}, task="generation")
    assert "unpaired_preferences" in codes(report) and not report["plain"]
