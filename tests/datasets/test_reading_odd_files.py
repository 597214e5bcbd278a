"""Files as odd as people keep them: each is read for what it is, cell by cell, or asked about, or named with the way out."""

import json
import tarfile
import zipfile
from io import BytesIO

import polars as pl
import pytest
import zstandard

from tests.datasets.files import book_of, publishing, reading, reviews
from webapp.datasets.reading import ReadingError
from worker.nlp import chats

LABELS = ("negative", "neutral", "positive")
ROWS = reviews(60)
TEXTS = [text for text, _ in ROWS]


class Read:
    def __init__(self, path, out, task):
        self.report, self.out = reading(path, out, task=task), out
        self.asked = {finding["code"] for finding in self.report["findings"] if finding["asks"]}
        self.task, self.mapping = self.report["task"], self.report["mapping"]
        self.is_plain = self.report["plain"]

    def rows(self):
        made = publishing(self.report, self.out / "version", kept=self.report["kept"], labels=self.report["joins"])
        return pl.read_parquet(made["path"]).sort("_row", maintain_order=True).to_dicts()

    def cells(self, *names):
        return [tuple(row[name] for name in names) for row in self.rows()]

    def staged(self, *names):
        return pl.read_parquet(self.report["files"][0]["staged"]).select(names).rows()


@pytest.fixture
def read(tmp_path):
    def read_content(name, content, task=""):
        path = tmp_path / name
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return Read(path, tmp_path / "out", task)

    return read_content


def lines(record, count=40):
    return "".join(json.dumps(record(i), ensure_ascii=False) + "\n" for i in range(count))


def quoted(rows, sign=","):
    return "".join(f'"{text}"{sign}{label}\n' for text, label in rows)


# --- Chats ------------------------------------------------------------------------------------------------------------------
def said(row):
    return [(message["role"], message["content"]) for message in chats.of_row(row).messages]


def test_gemini_has_contents_with_parts(read):
    def record(i):
        contents = [("user", f"How many legs has animal {i}?"), ("model", f"It has {i} legs.")]
        system = {"role": "system", "parts": [{"text": "Be brief."}]}
        return {"systemInstruction": system, "contents": [{"role": role, "parts": [{"text": text}]} for role, text in contents]}

    found = read("gemini.jsonl", lines(record))
    assert found.is_plain and found.task == "generation"
    assert said(found.rows()[7]) == [
        ("system", "Be brief."),
        ("user", "How many legs has animal 7?"),
        ("assistant", "It has 7 legs."),
    ]


def test_calls_of_gemini_are_calls(read):
    def record(i):
        asked, call = {"text": f"Count the legs of animal {i}."}, {"functionCall": {"name": "count", "args": {"animal": i}}}
        answer = {"functionResponse": {"name": "count", "response": {"legs": i}}}
        turns = [("user", asked), ("model", call), ("function", answer), ("model", {"text": f"It has {i} legs."})]
        return {"contents": [{"role": role, "parts": [part]} for role, part in turns]}

    messages = chats.of_row(read("calls.jsonl", lines(record)).rows()[3]).messages
    assert [message["role"] for message in messages] == ["user", "assistant", "tool", "assistant"]
    assert messages[1]["tool_calls"][0]["function"] == {"name": "count", "arguments": {"animal": 3}}
    assert messages[2]["content"] == '{"legs": 3}' and messages[3]["content"] == "It has 3 legs."


def test_cohere_keeps_earlier_turns_beside_the_message(read):
    def record(i):
        before = [{"role": "USER", "message": f"Tell me about {i}."}, {"role": "CHATBOT", "message": "It is a number."}]
        return {"message": f"And is {i} even?", "chat_history": before, "response": f"Look at the last digit of {i}."}

    found = read("cohere.jsonl", lines(record))
    assert found.is_plain and found.task == "generation"
    assert said(found.rows()[5]) == [
        ("user", "Tell me about 5."),
        ("assistant", "It is a number."),
        ("user", "And is 5 even?"),
        ("assistant", "Look at the last digit of 5."),
    ]


def test_the_types_of_langchain_are_roles(read):
    found = read(
        "langchain.jsonl", lines(lambda i: {"messages": [{"type": "human", "content": f"Hi {i}"}, {"type": "ai", "content": "Ho"}]})
    )
    assert found.is_plain and said(found.rows()[2]) == [("user", "Hi 2"), ("assistant", "Ho")]


def test_of_a_tree_of_replies_the_best_branch_is_learnt_and_the_others_are_told(read):
    def record(i):
        thanks = {"text": "Thanks!", "role": "prompter", "replies": [{"text": "You are welcome.", "role": "assistant", "replies": []}]}
        worse = {"text": "No idea.", "role": "assistant", "rank": 1, "replies": []}
        better = {"text": f"{i} is a number.", "role": "assistant", "rank": 0, "replies": [thanks]}
        return {"message_tree_id": str(i), "prompt": {"text": f"What is {i}?", "role": "prompter", "replies": [worse, better]}}

    found = read("trees.jsonl", lines(record))
    assert found.task == "generation" and found.asked == {"other_replies"}
    assert said(found.rows()[4]) == [
        ("user", "What is 4?"),
        ("assistant", "4 is a number."),
        ("user", "Thanks!"),
        ("assistant", "You are welcome."),
    ]


def test_of_two_conversations_the_one_that_won_is_the_chosen_one(read):
    def record(i):
        a, b = ([{"role": "user", "content": f"Hi {i}"}, {"role": "assistant", "content": f"{side} {i}"}] for side in "AB")
        return {"winner": ("model_a", "model_b", "tie")[i % 3], "conversation_a": a, "conversation_b": b}

    found = read("arena.jsonl", lines(record, 45))
    assert found.task == "preferences" and found.report["rows_rejected"] == 15
    pairs = [
        (json.loads(chosen)[1]["content"], json.loads(rejected)[1]["content"]) for chosen, rejected in found.cells("chosen", "rejected")
    ]
    assert pairs[:2] == [("A 0", "B 0"), ("B 1", "A 1")] and len(pairs) == 30


@pytest.mark.parametrize(
    "text",
    [
        "<|im_start|>user\nSay {i}<|im_end|>\n<|im_start|>assistant\n{i}<|im_end|>",
        "<s>[INST] Say {i} [/INST] {i}</s>",
        "\n\nHuman: Say {i}\n\nAssistant: {i}",
        "### Instruction:\nSay {i}\n\n### Response:\n{i}",
        "<start_of_turn>user\nSay {i}<end_of_turn>\n<start_of_turn>model\n{i}",
    ],
)
def test_chats_written_out_as_text_are_asked_about(read, text):
    assert "chat_as_text" in read("chats.jsonl", lines(lambda i: {"text": text.format(i=i)}), "generation").asked


def test_people_who_are_called_user_in_a_story_are_no_chat(read):
    story = "The user of lamp {i} was human. An assistant: that was what he needed, said number {i}."
    assert "chat_as_text" not in read("stories.jsonl", lines(lambda i: {"text": story.format(i=i)}), "generation").asked


# --- Questions ----------------------------------------------------------------------------------------------------------------
STORY = "Ada number {i} lived in Turin. She had white cats and a red boat. On Monday she sold the boat."
ASKED = (("Where did Ada {i} live?", "in Turin"), ("What did she sell?", "the boat"))


def coqa(i):
    questions = [{"input_text": asked.format(i=i), "turn_id": n} for n, (asked, _) in enumerate(ASKED, 1)]
    spans = ("lived in Turin", "she sold the boat")
    answers = [
        {"span_text": span, "input_text": said, "turn_id": n} for n, (span, (_, said)) in enumerate(zip(spans, ASKED, strict=True), 1)
    ]
    return {"id": str(i), "story": STORY.format(i=i), "questions": questions, "answers": answers}


def coqa_of_the_hub(i):
    answers = {"input_text": [said for _, said in ASKED], "answer_start": [0, 60], "answer_end": [27, 80]}
    return {"story": STORY.format(i=i), "questions": [asked.format(i=i) for asked, _ in ASKED], "answers": answers}


@pytest.mark.parametrize("record", [coqa, coqa_of_the_hub])
def test_coqa_becomes_a_row_for_each_question(read, record):
    found = read("coqa.json", json.dumps({"version": "1.0", "data": [record(i) for i in range(30)]}))
    assert found.task == "question_answering" and found.asked == {"follow_up_questions"}
    assert found.cells("context", "question", "answer")[6:8] == [
        (STORY.format(i=3), "Where did Ada 3 live?", "in Turin"),
        (STORY.format(i=3), "What did she sell?", "the boat"),
    ]


def test_a_free_answer_of_coqa_falls_back_to_the_words_of_the_passage(read):
    def record(i):
        answers = [{"input_text": "In Italy", "span_text": "in Turin"}, {"input_text": "unknown", "span_text": "unknown"}]
        return {"story": STORY.format(i=i), "questions": [f"Where was {i}?", "How old was she?"], "answers": answers}

    assert read("coqa.jsonl", lines(record)).staged("question", "answer")[:2] == [("Where was 0?", "in Turin"), ("How old was she?", "")]


@pytest.mark.parametrize(
    "cell",
    ["{'text': ['Turin'], 'answer_start': [%d]}", "{'text': array(['Turin'], dtype=object), 'answer_start': array([%d], dtype=int32)}"],
)
def test_answers_of_squad_written_into_cells_are_answers(read, cell):
    passages = [f"Ada {i} lived in Turin." for i in range(40)]
    rows = "".join(f'{i},"{text}","Where did {i} live?","{cell % text.index("Turin")}"\n' for i, text in enumerate(passages))
    found = read("squad.csv", "id,context,question,answers\n" + rows)
    assert found.is_plain and found.cells("context", "answer", "start")[12] == (passages[12], "Turin", "16")


# --- Labels -------------------------------------------------------------------------------------------------------------------
def argilla(i):
    people = [LABELS[i % 3], LABELS[i % 3], LABELS[(i + 1) % 3]] if i % 4 else None
    answered = {"label.responses": people, "label.responses.users": people and ["u", "v", "w"]}
    status = {"label.responses.status": people and ["submitted", "submitted", "submitted"]}
    proposed = {"label.suggestion": LABELS[(i + 2) % 3], "label.suggestion.score": 0.9}
    return {"id": str(i), "text": TEXTS[i], **answered, **status, **proposed, "status": "completed"}


def test_answers_of_people_count_before_proposals_in_a_flat_argilla_export(read):
    found = read("argilla.jsonl", lines(argilla))
    assert found.mapping == {"text": "fields.text", "label": "responses.label"}
    assert found.asked == {"annotators_differ", "not_labelled"} and found.report["rows_rejected"] == 10
    assert found.cells("text", "label")[:3] == [(TEXTS[i], LABELS[i % 3]) for i in (1, 2, 3)]


def test_a_flat_argilla_export_may_come_as_csv_and_discarded_answers_do_not_count(read):
    rows = "".join(
        f'"{text}","[\'{LABELS[i % 3]}\']","[\'{"discarded" if i % 5 == 0 else "submitted"}\']"\n' for i, text in enumerate(TEXTS)
    )
    found = read("argilla.csv", "text,label.responses,label.responses.status\n" + rows)
    assert found.report["rows_rejected"] == 12 and found.cells("text", "label")[0] == (TEXTS[1], "neutral")


def test_the_older_flat_export_of_argilla_has_lists_beside_each_other(read):
    def record(i):
        answers = {"user_id": ["u"], "value": [LABELS[i % 3]], "status": ["submitted"]}
        return {"text": TEXTS[i], "mood": answers, "mood-suggestion": LABELS[(i + 1) % 3], "mood-suggestion-metadata": {"score": 0.5}}

    found = read("feedback.jsonl", lines(record))
    assert found.is_plain and found.cells("text", "label")[:4] == [(TEXTS[i], LABELS[i % 3]) for i in range(4)]


def test_choices_of_prodigy_are_called_as_their_options(read):
    options = [{"id": 1, "text": "Good"}, {"id": 2, "text": "Bad"}]
    found = read(
        "prodigy.jsonl",
        lines(lambda i: {"text": TEXTS[i], "_task_hash": i, "options": options, "accept": [1 + i % 2], "answer": "accept"}),
    )
    assert found.is_plain and found.cells("text", "label")[:2] == [(TEXTS[0], "Good"), (TEXTS[1], "Bad")]


def test_two_labels_in_two_parts_of_a_record_are_asked_about(read):
    found = read(
        "two.jsonl",
        lines(lambda i: {"text": TEXTS[i], "notes": {"mood": {"label": LABELS[i % 3]}, "topic": {"label": "ab"[i % 2]}}}),
    )
    assert "several_questions" in found.asked


def test_labels_with_scores_are_not_passed_over(read):
    def record(i):
        return {"text": TEXTS[i], "labels": [{"label": "positive", "score": 0.9}, {"label": "negative", "score": 0.1}]}

    assert "unused_text" in read("scores.jsonl", lines(record)).asked


def test_categories_of_spacy_are_called_by_their_own_names(read):
    found = read("cats.jsonl", lines(lambda i: {"text": TEXTS[i], "cats": {"GOOD": float(i % 2), "BAD": float(1 - i % 2)}}))
    assert found.asked == {"classes_beside"} and found.cells("label")[:2] == [("BAD",), ("GOOD",)]


@pytest.mark.parametrize(
    "features",
    [
        {
            "text": {"dtype": "string", "_type": "Value"},
            "label": {"num_classes": 3, "names": list(LABELS), "id": None, "_type": "ClassLabel"},
        },
        [
            {"name": "text", "dtype": "string"},
            {"name": "label", "dtype": {"class_label": {"names": {str(n): x for n, x in enumerate(LABELS)}}}},
        ],
    ],
)
def test_names_of_classes_in_parquet_of_several_years(tmp_path, features):
    frame = pl.DataFrame({"text": TEXTS, "label": [LABELS.index(label) for _, label in ROWS]})
    frame.write_parquet(tmp_path / "p.parquet", metadata={"huggingface": json.dumps({"info": {"features": features}})})
    found = Read(tmp_path / "p.parquet", tmp_path / "out", "classification")
    assert found.is_plain and found.cells("text", "label") == ROWS


def test_directions_of_writing_do_not_make_two_labels(read):
    found = read("hebrew.jsonl", lines(lambda i: {"text": f"\u202bמלון {i}\u202c", "label": ("\u200fכן", "כן", "לא")[i % 3]}))
    assert found.asked == {"label_variants"} and len({label for (label,) in found.cells("label")}) == 2


def test_two_highlights_are_one_summary(read):
    def record(i):
        return {"article": {"body": f"{TEXTS[i]}. {TEXTS[i + 1]}. " * 5}, "highlights": [f"Room {i} was quiet.", "It was clean."]}

    found = read("highlights.json", json.dumps({"articles": [record(i) for i in range(40)]}))
    assert found.task == "summarization" and found.cells("summary")[3] == ("Room 3 was quiet.\nIt was clean.",)


def test_the_second_of_two_texts_in_a_list_is_not_passed_over(read):
    found = read("lists.jsonl", lines(lambda i: {"text": [f"one {i}", f"two {i}"], "label": LABELS[i % 3]}), "classification")
    assert "unused_text" in found.asked


# --- Tables -------------------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("sign", [",", ";", "\t"])
def test_lines_that_stand_in_quotation_marks_as_a_whole_are_rows(read, sign):
    inner = [f"text{sign}label", *(f'"{text}"{sign}{label}' for text, label in ROWS)]
    found = read("wrapped.csv", "".join('"' + line.replace('"', '""') + '"\n' for line in inner))
    assert found.is_plain and found.cells("text", "label") == ROWS


@pytest.mark.parametrize("header", ['"text"', "text"])
def test_quoted_texts_of_one_column_stay_as_they_are(read, header):
    found = read("one.csv", f"{header}\n" + "".join(f'"{text}, said ""they"""\n' for text in TEXTS), "generation")
    assert found.cells("text")[0] == (f'{TEXTS[0]}, said "they"',)


def test_a_text_that_is_no_value_of_mysql_is_asked_about(read):
    none = r"\N"
    rows = "".join(f"{none if i % 9 == 4 else text}\t{label}\n" for i, (text, label) in enumerate(ROWS))
    found = read("dump.tsv", "text\tlabel\n" + rows)
    assert found.asked == {"placeholders"}
    assert [at["row"] for f in found.report["findings"] if f["code"] == "placeholders" for at in f["rows"]] == [6, 15, 24, 33, 42]


@pytest.mark.parametrize("header", [",text,label", "Unnamed: 0,text,label"])
def test_an_index_without_a_name_is_no_text(read, header):
    found = read("index.csv", f"{header}\n" + "".join(f'{i},"{text}",{label}\n' for i, (text, label) in enumerate(ROWS)))
    assert found.is_plain and found.cells("text", "label") == ROWS


def test_names_of_rows_by_r_are_no_text(read):
    found = read("r.txt", '"text" "label"\n' + "".join(f'"{i}" "{text}" "{label}"\n' for i, (text, label) in enumerate(ROWS, 1)))
    assert found.is_plain and found.cells("text", "label") == ROWS


def test_decimal_commas_stay_in_their_cells(read):
    found = read(
        "scores.csv", "text;score;label\n" + "".join(f'"{text}";{i % 5},{i % 10};{label}\n' for i, (text, label) in enumerate(ROWS))
    )
    assert found.is_plain and found.cells("text", "x_score", "label")[:2] == [
        (*ROWS[0][:1], "0,0", "negative"),
        (*ROWS[1][:1], "1,1", "neutral"),
    ]


def test_lines_end_in_many_ways(read):
    for ends in ("\r", "\r\n", "\n"):
        found = read("ends.csv", ("text,label\n" + quoted(ROWS)).replace("\n", ends))
        assert found.is_plain and found.cells("text", "label") == ROWS
    mixed = "".join(f'"{text}\nand more",{label}' + ("\r\n" if i % 2 else "\n") for i, (text, label) in enumerate(ROWS))
    assert read("mixed.csv", "text,label\r\n" + mixed).cells("text")[1] == (f"{TEXTS[1]}\nand more",)


def test_json_of_which_every_part_has_a_byte_order_mark(read):
    found = read("joined.json", "".join("\ufeff" + json.dumps({"text": text, "label": label}) + "\n" for text, label in ROWS))
    assert found.is_plain and found.cells("text", "label") == ROWS


def test_bars_in_a_markdown_table_are_escaped_or_named(read):
    rows = [f"| {text} \\| more | {label} |\n" for text, label in ROWS] + ["| use `a | b` | neutral |\n"]
    found = read("table.md", "# Title\n\n| text | label |\n|:---|---:|\n" + "".join(rows))
    assert found.asked == {"title_lines", "ragged"} and found.cells("text", "label")[0] == (f"{TEXTS[0]} | more", "negative")


def test_a_cell_that_reaches_into_the_rows_below_stands_in_each(read):
    groups = [[label, TEXTS[3 * n : 3 * n + 3]] for n, label in enumerate([*LABELS] * 6)]
    rows = "".join(
        f"<tr><td rowspan=3>{label}</td><td>{first}</td></tr>" + "".join(f"<tr><td>{text}</td></tr>" for text in others)
        for label, (first, *others) in groups
    )
    found = read("page.html", f"<table><tr><th>Label</th><th>Text</th></tr>{rows}</table>")
    assert found.is_plain and found.cells("text", "label")[:4] == [(text, LABELS[i // 3]) for i, text in enumerate(TEXTS[:4])]


def test_merged_cells_of_a_sheet_count_for_every_row(tmp_path):
    rows = [[LABELS[i // 3 % 3] if i % 3 == 0 else "", TEXTS[i]] for i in range(60)]
    title = [["Reviews of May", ""], ["Label", "Text"]]
    book_of(tmp_path / "m.xlsx", {"May": title + rows}, merged=["A1:B1", *(f"A{3 + n}:A{5 + n}" for n in range(0, 60, 3))])
    found = Read(tmp_path / "m.xlsx", tmp_path / "out", "classification")
    assert found.asked == {"title_lines"} and found.cells("text", "label") == [(TEXTS[i], LABELS[i // 3 % 3]) for i in range(60)]


# --- What is no table -----------------------------------------------------------------------------------------------------------
WORDS = (
    "# sent_id = {i}\n# text = Ada wrote {i}\n1\tAda\tAda\tPROPN\tNNP\tNumber=Sing\t2\tnsubj\t_\t_\n"
    "2\twrote\twrite\tVERB\tVBD\t_\t0\troot\t_\t_\n3\t{i}\t{i}\tNUM\tCD\t_\t2\tobj\t_\t_\n\n"
)


def test_conllu_is_named_and_its_remarks_are_no_words(read):
    found = read("words.conllu", "".join(WORDS.format(i=i) for i in range(40)))
    assert "token_classification" in found.asked
    assert found.staged("text", "tags")[4] == ("Ada wrote 4", '["PROPN","VERB","NUM"]')


def test_the_marks_between_documents_of_conll_are_no_words(read):
    found = read(
        "iob.txt", "-DOCSTART- -X- -X- O\n\n" + "".join(f"EU NNP B-NP B-ORG\nrejects VBZ B-VP O\n{i} CD B-NP O\n\n" for i in range(40))
    )
    assert "token_classification" in found.asked and found.staged("text")[0] == ("EU rejects 0",)


@pytest.mark.parametrize(
    ("name", "content", "what"),
    [
        ("a.yaml", "".join(f"- text: {text}\n  label: {label}\n" for text, label in ROWS), "YAML"),
        ("a.arff", "% reviews\n@relation r\n@attribute text string\n@data\n" + quoted(ROWS), "ARFF"),
        ("a.po", '#: a.c:1\nmsgid "house"\nmsgstr "maison"\n\n' * 20, "gettext"),
        ("a.srt", "".join(f"{i}\n00:00:{i:02},000 --> 00:00:{i:02},900\nHello there.\n\n" for i in range(1, 50)), "subtitles"),
        ("a.vtt", "WEBVTT\n\n" + "".join(f"00:{i:02}.000 --> 00:{i:02}.900\nHello there.\n\n" for i in range(1, 50)), "subtitles"),
        ("a.txt", "".join(f"{i % 2} 1:0.5 7:0.3 {10 + i}:1\n" for i in range(60)), "LIBSVM"),
    ],
)
@pytest.mark.parametrize("task", ["", "generation"])
def test_other_notations_are_named_with_the_way_out(read, name, content, what, task):
    with pytest.raises(ReadingError, match=what):
        read(name, content, task)


def test_a_zip_in_a_zip_is_named_and_a_tar_in_zstd_is_read(tmp_path):
    csv = "text,label\n" + quoted(ROWS)
    inner = BytesIO()
    with zipfile.ZipFile(inner, "w") as archive:
        archive.writestr("reviews.csv", csv)
    with zipfile.ZipFile(tmp_path / "outer.zip", "w") as archive:
        archive.writestr("inner.zip", inner.getvalue())
    with pytest.raises(ReadingError, match="holds another archive, inner"):
        Read(tmp_path / "outer.zip", tmp_path / "out", "")
    packed = BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as archive:
        for part in ("train", "test"):
            data = ("text,label\n" + quoted([(f"{part}: {text}", label) for text, label in ROWS])).encode()
            member = tarfile.TarInfo(f"data/{part}.csv")
            member.size = len(data)
            archive.addfile(member, BytesIO(data))
    (tmp_path / "all.tar.zst").write_bytes(zstandard.compress(packed.getvalue()))
    found = Read(tmp_path / "all.tar.zst", tmp_path / "out", "")
    assert found.is_plain
    assert all(row["text"].startswith(row["_split"].replace("validation", "train")) for row in found.rows())


# --- Scripts ----------------------------------------------------------------------------------------------------------------------
SCRIPTS = {  # encoding: (header, sentences, labels)
    "cp874": ("ข้อความ,ป้าย", ("ห้องพักสะอาดมาก", "อาหารเย็นชืดและมาช้า"), ("บวก", "ลบ")),
    "cp1256": ("النص;التصنيف", ("كانت الغرفة نظيفة جدا", "وصل الطعام باردا ومتأخرا"), ("إيجابي", "سلبي")),
    "cp1255": ("text,label", ("החדר היה נקי מאוד", "האוכל הגיע קר ומאוחר"), ("חיובי", "שלילי")),
    "cp1254": ("metin\tetiket", ("Oda çok temizdi ve güzeldi şahane", "Yemek soğuk geldi çok yavaştı"), ("olumlu", "olumsuz")),
    "cp949": ("텍스트,라벨", ("방이 아주 깨끗했어요", "음식이 차갑고 늦게 나왔어요"), ("긍정", "부정")),
    "big5": ("文字,標籤", ("房間非常乾淨早餐也很好吃", "服務很差東西又冷又慢"), ("正面", "負面")),
    "utf-16-be": ("वाक्य,लेबल", ("यह कमरा बहुत साफ था", "खाना ठंडा था और देर से आया"), ("सकारात्मक", "नकारात्मक")),
}


@pytest.mark.parametrize("encoding", SCRIPTS)
@pytest.mark.parametrize("ends", ["\r", "\r\n"])
def test_scripts_in_their_old_encodings_with_other_line_ends(read, encoding, ends):
    header, sentences, labels = SCRIPTS[encoding]
    sign = next(each for each in ",;\t" if each in header)
    wanted = [(f"{sentences[i % 2]} {i}", labels[i % 2]) for i in range(60)]
    content = ends.join([header, *(f"{text}{sign}{label}" for text, label in wanted)]) + ends
    found = read("script.csv", (("\ufeff" if encoding.startswith("utf") else "") + content).encode(encoding), "classification")
    assert found.asked <= {"encoding_guessed"} and found.cells("text", "label") == wanted
