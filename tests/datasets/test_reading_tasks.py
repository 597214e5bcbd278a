"""Files for every task: which task they are for, which column is what, and what of them becomes a version."""

import json

import polars as pl
import pytest

from tests.datasets.files import codes, csv_text, publishing, reading, reviews
from webapp.datasets.reading import Limits, ReadingError
from webapp.datasets.reading.baselines import baselines
from worker.nlp import TASKS

WORDS = ["river", "stone", "garden", "window", "letter", "bridge", "coffee", "summer", "market", "engine"]
PASSAGES = [
    f"The {a} near the {b} was built in {1800 + 7 * i} by two people who wanted more."
    for i, (a, b) in enumerate(zip(WORDS, WORDS[3:] + WORDS[:3], strict=True))
]


def sentences(rows=40):
    return [(f"I saw the {WORDS[i % 10]} number {i}.", f"我看见了{i}号{'河石园窗信桥茶夏市机'[i % 10]}。") for i in range(rows)]


def squad(title="A town"):
    """Ten passages with four questions each, of which the last has no answer."""
    paragraphs = []
    for i, passage in enumerate(PASSAGES):
        year = str(1800 + 7 * i)
        answers = [{"text": year, "answer_start": passage.index(year)}, {"text": f"in {year}", "answer_start": passage.index(year) - 3}]
        asked = [{"id": f"{i}-{n}", "question": f"When was thing {i} built, {n}?", "answers": answers} for n in range(3)]
        paragraphs.append({"context": passage, "qas": [*asked, {"question": f"Why {i}?", "answers": [], "is_impossible": True}]})
    return {"version": "v2.0", "data": [{"title": title, "paragraphs": paragraphs}]}


@pytest.fixture
def read(tmp_path):
    """Reads what is given as the content of a file, for no task in particular."""

    def read_content(content, name, task="", **options):
        path = tmp_path / name
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return reading(path, tmp_path / "out", task=task, **options)

    return read_content


def table(header, rows, sign=","):
    quoted = (sign.join(f'"{cell}"' if sign == "," else cell for cell in row) for row in rows)
    return "\n".join(([header] if header else []) + list(quoted)) + "\n"


def lines(*records):
    return "".join(json.dumps(record, ensure_ascii=False) + "\n" for record in records)


# --- Which task -----------------------------------------------------------------------------------------------------------
def test_the_names_of_the_columns_say_what_a_file_is_for(read):
    chat = [{"role": "user", "content": "Hello there"}, {"role": "assistant", "content": "Good day to you"}]
    long, short = " ".join(PASSAGES[:3]), "Some things were built"
    several = range(30)
    cases = {
        "pairs.tsv": (table("en\tzh", sentences(), "\t"), "translation", {"source": "en", "target": "zh"}),
        "german.csv": (table("Deutsch,Englisch", sentences()), "translation", {"source": "Deutsch", "target": "Englisch"}),
        "source.csv": (table("source,target", sentences()), "translation", {"source": "source", "target": "target"}),
        "papers.jsonl": (
            lines(*({"source": f"{long} {i}", "target": f"{short} {i}"} for i in several)),
            "summarization",
            {"document": "source", "summary": "target"},
        ),
        "news.csv": (
            table("article,highlights,id", ((f"{long} {i}", f"{short} {i}", str(i)) for i in several)),
            "summarization",
            {"document": "article", "summary": "highlights"},
        ),
        "tasks.jsonl": (
            lines(*({"instruction": f"Say {i}", "output": f"This is {i}"} for i in several)),
            "generation",
            {"prompt": "instruction", "completion": "output"},
        ),
        "chat.jsonl": (lines(*({"messages": chat, "source": "ab"[i % 2]} for i in several)), "generation", {"text": "messages"}),
        "qa.csv": (
            table("id,title,context,question,answer", ((str(i), "A town", PASSAGES[i % 10], f"What is {i}?", "near") for i in several)),
            "question_answering",
            {"context": "context", "question": "question", "answer": "answer"},
        ),
        "reviews.csv": (csv_text(reviews(40)), "classification", {"text": "text", "label": "label"}),
        "verdicts.csv": (csv_text(reviews(40), "text,verdict"), "classification", {"text": "text", "label": "verdict"}),
        "news topics.csv": (
            table("title,content,category", ((f"{short} {i}", f"{long} {i}", "ab"[i % 2]) for i in several)),
            "classification",
            {"text": "{title}\n\n{content}", "label": "category"},
        ),
        "feedback.csv": (
            table("source,target", ((f"{text} {i}", "01"[i % 2]) for i, (text, _) in enumerate(reviews(40)))),
            "classification",
            {"text": "source", "label": "target"},
        ),
    }
    for name, (content, task, mapping) in cases.items():
        report = read(content, name)
        assert (name, report["task"], report["mapping"], report["fits_better"]) == (name, task, mapping, "")
        asks = {"news topics.csv": {"template_proposed"}, "verdicts.csv": {"columns_guessed"}}  # is the title part of the text?
        assert {f["code"] for f in report["findings"] if f["asks"]} <= asks.get(name, set()), name


def test_pairs_of_texts_with_a_label_keep_both_texts(read):
    rows = [(text, f"{text} indeed", label) for text, label in reviews(40)]
    report = read(table("sentence1,sentence2,label", rows), "pairs.csv")
    assert report["mapping"] == {"text": "sentence1", "pair": "sentence2", "label": "label"}


def test_another_column_of_texts_is_not_taken_for_an_optional_role(read):
    rows = [(text, label, f"written by hand {i}") for i, (text, label) in enumerate(reviews(40))]
    assert read(table("text,label,remarks", rows), "rows.csv")["mapping"] == {"text": "text", "label": "label"}


def test_sentences_in_two_scripts_without_names_are_offered_as_a_translation(read):
    rows = [(*pair, f"CC-BY 2.0 somebody wrote this one as number {i}") for i, pair in enumerate(sentences())]
    report = read(table("", rows, "\t"), "pairs.tsv")
    assert (report["task"], report["mapping"]) == ("translation", {"source": "column_1", "target": "column_2"})
    assert not report["plain"] and "no_header" in codes(report)


def test_a_file_for_another_task_is_read_all_the_same_and_the_other_task_named(read):
    report = read(table("source,target", sentences()), "pairs.csv", task="summarization")
    assert (report["task"], report["fits_better"]) == ("summarization", "translation")
    assert "other_task" in codes(report)
    report = read("text\n" + "".join(f"{text}\n" for text, _ in reviews(30)).replace(",", " "), "one.csv", task="classification")
    assert (report["fits_better"], report["plain"]) == ("generation", False)
    assert next(f for f in report["findings"] if f["code"] == "one_column")["level"] == "error"


# --- Formats --------------------------------------------------------------------------------------------------------------
def test_squad_becomes_a_row_for_each_question_with_all_its_answers(read):
    report = read(json.dumps(squad()), "squad.json")
    assert report["task"] == "question_answering" and report["plain"]
    assert report["mapping"] == {name: name for name in ("context", "question", "answer", "start", "answers")}
    staged = pl.read_parquet(report["files"][0]["staged"])
    assert staged.columns == ["_row", "context", "question", "answer", "start", "answers", "id", "title"]
    first, last = staged.row(0, named=True), staged.row(3, named=True)
    assert (first["answer"], first["answers"]) == ("1800", '["1800","in 1800"]')
    assert first["context"][int(first["start"]) :].startswith("1800")
    assert (last["answer"], last["start"], last["answers"], last["id"], last["title"]) == ("", "", "[]", "", "A town")


@pytest.mark.parametrize("shape", ["json lines", "parquet"])
def test_squad_as_the_hub_has_it_becomes_the_same_columns(tmp_path, shape):
    asked = [
        {"context": passage, "question": f"When was {i} built?", "answers": {"text": ["1800", "in 1800"], "answer_start": [3, 0]}}
        for i, passage in enumerate(PASSAGES * 2)
    ]
    asked[0]["answers"] = {"text": [], "answer_start": []}
    path = tmp_path / "squad"
    if shape == "parquet":
        pl.DataFrame(
            asked, schema_overrides={"answers": pl.Struct({"text": pl.List(pl.String), "answer_start": pl.List(pl.Int64)})}
        ).write_parquet(path)
    else:
        path.write_text(lines(*asked))
    report = reading(path, tmp_path / "out", task="question_answering")
    rows = pl.read_parquet(report["files"][0]["staged"]).select("answer", "start", "answers").rows()
    assert rows[:2] == [("", "", "[]"), ("1800", "3", '["1800","in 1800"]')]


def test_damaged_squad_is_read_as_far_as_it_is_whole(read):
    data = squad()
    data["data"] += [
        "nonsense",
        {"title": 7, "paragraphs": [None, {"qas": None}, {"context": "x", "qas": ["y", {"question": None, "answers": "z"}]}]},
    ]
    report = read(json.dumps(data), "squad.json")
    assert report["rows"] == 41 and report["rows_unusable"] == 1
    assert "missing_question" in codes(report)


def test_a_chat_stays_whole_as_compact_json(read):
    chat = [{"role": "user", "content": "Wie geht’s?"}, {"role": "assistant", "content": "Gut, danke."}]
    report = read(lines(*({"messages": chat} for _ in range(12))), "chat.jsonl", task="generation")
    cell = pl.read_parquet(report["files"][0]["staged"])["messages"][0]
    assert json.loads(cell) == chat and "’" in cell and ": " not in cell


def test_sentences_in_lists_become_one_text_and_verse_keeps_its_lines(read):
    papers = [
        {"source": [p + " It was long and it was hard." for p in PASSAGES[: 2 + i % 3]], "target": ["We saw it."] * (1 + i % 2)}
        for i in range(20)
    ]
    cells = pl.read_parquet(read(lines(*papers), "papers.jsonl", task="summarization")["files"][0]["staged"])
    assert cells["source"][0] == " ".join(papers[0]["source"])
    poems = [{"title": f"No. {i}", "paragraphs": ["床前明月光，疑是地上霜。", "舉頭望明月，低頭思故鄉。"] * (1 + i % 2)} for i in range(20)]
    report = read(json.dumps(poems), "poems.json", task="generation")
    assert report["mapping"] == {"text": "{title}\n\n{paragraphs}"} and "template_proposed" in codes(report)
    assert pl.read_parquet(report["files"][0]["staged"])["paragraphs"][0] == "床前明月光，疑是地上霜。\n舉頭望明月，低頭思故鄉。"
    tagged = [{"text": text, "tags": ["a", "b", "c"][: 1 + i % 3], "label": label} for i, (text, label) in enumerate(reviews(20))]
    assert pl.read_parquet(read(lines(*tagged), "tagged.jsonl")["files"][0]["staged"])["tags"][2] == '["a","b","c"]'


def test_texts_between_blank_lines_are_rows_with_their_line_breaks(read, tmp_path):
    speeches = [f"SPEAKER {i}:\nSo much, and {WORDS[i % 10]} too.\nThat is all" for i in range(30)]
    report = read("\n\n".join(speeches) + "\n", "play.txt")
    assert (report["task"], report["files"][0]["format"], report["rows"]) == ("generation", "documents", 30)
    staged = pl.read_parquet(report["files"][0]["staged"])
    assert (staged["column_1"].to_list(), staged["_row"].to_list()[:3]) == (speeches, [1, 5, 9])
    assert not report["plain"]  # nobody said what it is for
    assert read("\n\n".join(speeches), "play.txt", task="generation")["plain"]


def test_a_list_of_lines_is_a_row_a_line_even_with_a_blank_one_in_it(read):
    prose = [f"The {WORDS[i % 10]} stood there for {i} years" for i in range(60)]
    report = read("\n".join([*prose[:30], "", *prose[30:]]), "prose.txt")
    assert (report["task"], report["files"][0]["format"], report["rows_read"]) == ("generation", "lines", 60)


def test_a_text_that_is_too_long_is_named_and_not_cut(tmp_path):
    path = tmp_path / "long.txt"
    path.write_text("\n\n".join(["one line\nand another"] * 29 + ["\n".join(["a long line of a long text"] * 200)]))
    from webapp.datasets.reading.read import read as read_verb

    job = {"files": [{"name": "long.txt", "path": str(path)}], "task": "generation", "out": str(tmp_path / "out"), "limits": {}}
    report = read_verb(job, Limits(cell=2_000), lambda *_: None)
    assert (report["rows_read"], report["rows_rejected"]) == (29, 1)
    assert report["problems"][0]["row"] == 88


def test_a_sentence_in_the_first_line_is_not_taken_for_the_name_of_a_column(read):
    rows = [("Go!", "走吧！"), *sentences()]
    assert read(table("", rows, "\t"), "pairs.tsv", task="translation")["rows"] == 41


# --- What becomes of the rows ---------------------------------------------------------------------------------------------
def test_questions_about_one_passage_stay_on_one_side_and_the_empty_answers_are_kept(read, tmp_path):
    report = read(json.dumps(squad()), "squad.json")
    published = publishing(report, tmp_path / "out")
    version = pl.read_parquet(published["path"])
    assert version.columns == ["_row", "_split", "context", "question", "answer", "start", "answers", "x_id", "x_title"]
    assert (published["rows"], published["rejected"], published["labels"]) == (40, 0, [])
    assert version.group_by("context").agg(pl.col("_split").n_unique())["_split"].max() == 1
    assert published["splits"] == {"train": 32, "validation": 4, "test": 4}
    assert version["answer"].null_count() == 0 and (version["answer"] == "").sum() == 10
    assert not {"one_sided_class", "conflicting_labels", "missing_answer"} & {
        f["code"] for f in [*published["findings"], *report["findings"]]
    }
    assert "conflicts" not in published["statistics"]
    assert set(published["statistics"]["texts"]) == {"context", "question", "answer", "answers"}


def test_only_rows_that_agree_in_every_role_are_duplicates(read):
    asked = [(PASSAGES[0], f"What is thing {i}?", "built") for i in range(20)]
    report = read(table("context,question,answer", [*asked, asked[0]]), "qa.csv")
    assert report["statistics"]["duplicates"] == 1


def test_every_row_that_the_task_refuses_is_counted_and_named_with_its_column(read, tmp_path):
    asked = [(PASSAGES[i % 10], f"What is {i}?", "built", "5") for i in range(30)]
    asked[4] = (PASSAGES[4], "Who?", "a giant", "0")
    asked[6] = (PASSAGES[6], "", "built", "5")
    asked[8] = ("", "", "built", "5")
    report = read(table("context,question,answer,start", asked), "qa.csv")
    assert report["rows_unusable"] == 3 and not report["plain"]
    assert [(p["row"], p["column"]) for p in report["problems"]] == [(6, "answer"), (8, "question"), (10, "context")]
    counts = {f["code"]: (f["count"], f["column"]) for f in report["findings"] if f["level"] == "warning"}
    assert counts == {"missing_context": (1, "context"), "missing_question": (2, "question"), "bad_answer": (1, "answer")}
    with pytest.raises(ReadingError, match="3 rows cannot be used"):
        publishing(report, tmp_path / "out", accept_rejected=False)
    assert publishing(report, tmp_path / "out")["rejected"] == 3


@pytest.mark.parametrize("mapping", [{}, {"source": "en"}, {"prompt": "en"}])
def test_a_mapping_that_lacks_a_role_is_refused_in_the_words_of_the_task(read, tmp_path, mapping):
    slug = "generation" if "prompt" in mapping else "translation"
    report = read(table("en,zh", sentences()), "pairs.csv", task=slug)
    with pytest.raises(ReadingError) as refused:
        publishing(report, tmp_path / "out", mapping=mapping)
    assert refused.value.code == "missing_column"


@pytest.mark.parametrize("slug", TASKS)
def test_baselines_are_computed_for_every_task_that_has_some(read, tmp_path, slug):
    content = {
        "classification": csv_text(reviews(40)),
        "translation": table("en,zh", sentences()),
        "summarization": table("document,summary", ((" ".join(PASSAGES[:4]) + f" {i}.", f"Things {i}") for i in range(30))),
        "question_answering": json.dumps(squad()),
        "generation": lines(*({"prompt": f"Say {i}", "completion": f"This is {i}"} for i in range(30))),
    }[slug]
    published = publishing(read(content, "rows", task=slug), tmp_path / "out")
    found = baselines({"path": published["path"], "task": slug}, Limits(), lambda *_: None)
    known = {metric.name for metric in TASKS[slug].metrics}
    assert found["rows"] == published["splits"]["test"]
    assert all(scores.keys() <= known for scores in found["scores"].values())
    assert found["intervals"].keys() == found["scores"].keys()


# --- The sets that people know ----------------------------------------------------------------------------------------------
MAIN = [
    ("sentiment/goemotions3/dev.csv", "classification", {"text": "text", "label": "label"}, True),
    ("classification/banking77/train.csv", "classification", {"text": "text", "label": "category"}, True),
    ("sentence_tasks/rte/train.tsv", "classification", {"text": "sentence1", "pair": "sentence2", "label": "label"}, True),
    ("qa/squad2_small/dev.json", "question_answering", {n: n for n in ("context", "question", "answer", "start", "answers")}, True),
    ("qa/cmrc2018_small/dev.json", "question_answering", {n: n for n in ("context", "question", "answer", "start", "answers")}, False),
    ("translation/tatoeba_en_zh/dev.tsv", "translation", {"source": "column_1", "target": "column_2"}, False),
    ("summarization/scitldr_a/dev.jsonl", "summarization", {"document": "source", "summary": "target"}, True),
    ("summarization/dialogsum_dev/dialogsum.dev.jsonl", "summarization", {"document": "dialogue", "summary": "summary"}, True),
    ("summarization/csl_titles/dev.tsv", "summarization", {"document": "column_2", "summary": "column_3"}, False),
    ("generation/gsm8k_part/train.jsonl", "generation", {"prompt": "question", "completion": "answer"}, True),
    ("generation/tinyshakespeare/input.txt", "generation", {"text": "column_1"}, False),
]


@pytest.mark.parametrize(("name", "task", "mapping", "plain"), MAIN, ids=[each[0] for each in MAIN])
def test_the_main_set_of_each_task_is_known_by_itself_or_leads_to_a_clear_question(shared_data, tmp_path, name, task, mapping, plain):
    report = reading(shared_data / name, tmp_path, task="")
    assert (report["task"], report["mapping"], report["plain"]) == (task, mapping, plain)
    if not plain:
        assert {f["code"] for f in report["findings"]} & {"no_header", "missing_question", "texts_alone"}
    published = publishing(report, tmp_path)
    assert published["rows"] > 100 and min(published["splits"].values()) > 0
    assert pl.read_parquet(published["path"]).columns[2 : 2 + len(mapping)] == [r.name for r in TASKS[task].roles if r.name in mapping]


@pytest.mark.parametrize("name", ["tang300.json", "songci300.json", "mengzi.json"])
def test_chinese_poems_are_read_for_generation_line_by_line(shared_data, tmp_path, name):
    report = reading(shared_data / "generation" / "chinese_poetry" / name, tmp_path, task="generation")
    titled = name == "tang300.json"
    assert report["mapping"] == {"text": "{title}\n\n{paragraphs}" if titled else "paragraphs"} and report["plain"] == (not titled)
    texts = pl.read_parquet(report["files"][0]["staged"])["paragraphs"]
    assert not texts.str.starts_with('["').any() and texts.str.contains("\n").sum() > 0.9 * len(texts)


def test_words_of_texts_without_blanks_are_counted_by_a_dictionary(read):
    rows = [("สวัสดีครับผมชื่อสมชาย", "ดี"), ("The tent is good, I think", "ดี"), ("दिल की बात", "बुरा")] * 12
    found = read(table("text,label", [(f"{text} {number}", label) for number, (text, label) in enumerate(rows)]), "a.csv")
    assert found["statistics"]["words"] == {"p50": 6, "p95": 7, "max": 7}
