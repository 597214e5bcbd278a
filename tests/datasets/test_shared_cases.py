"""What people had trouble with elsewhere, read as it is right: contents, not counts. The inputs are shared and not ours to ship."""

import json
from collections import Counter

import polars as pl
import pytest

from tests.conftest import DATA
from tests.datasets.files import publishing, reading
from webapp.datasets.reading import ReadingError
from worker.nlp import chats

CASES = DATA.parent / "cases"
pytestmark = pytest.mark.skipif(not CASES.is_dir(), reason="the shared cases are not on this machine")
FIRST, SECOND = "I would buy this tent again tomorrow. Order 101.", "Nothing but trouble with the lamp. Day 102."


class Case:
    """One input read for a task, and the version that it becomes."""

    def __init__(self, files, task, out, **options):
        paths = CASES / files if isinstance(files, str) else {part: CASES / name for part, name in files.items()}
        self.out, self.report = out, reading(paths, out, task=task, **options)
        self.asked = {finding["code"] for finding in self.report["findings"] if finding["asks"]}
        self.is_plain = self.report["plain"]

    def rows(self, **changes):
        """The rows of the version, in the order of the file."""
        changes = {"kept": self.report["kept"], "labels": self.report["joins"], **changes}
        published = publishing(self.report, self.out / "version", **changes)
        return pl.read_parquet(published["path"]).sort("_row").to_dicts()

    def labels(self, **changes):
        return sorted({row["label"] for row in self.rows(**changes)})


@pytest.fixture
def case(tmp_path):
    """A function that reads a case."""
    return lambda files, task="classification", **options: Case(files, task, tmp_path / "out", **options)


# --- Columns and chats ----------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("name", ["alpaca", "one_instruction"])
def test_01_instruction_and_input_are_one_prompt(case, name):
    found = case(f"01_alpaca_input/{name}.json", "generation")
    source = json.loads((CASES / f"01_alpaca_input/{name}.json").read_text())
    rows = found.rows()
    assert found.is_plain and len(rows) == 60 and Counter(row["_split"] for row in rows)["train"] == 48
    for row, wanted in zip(rows, source, strict=True):
        assert (
            row["prompt"] == "\n\n".join(filter(None, (wanted["instruction"], wanted["input"]))) and row["completion"] == wanted["output"]
        )


def conversations(rows):
    return [chats.of_row(row).messages for row in rows]


def said(messages, role):
    return [message["content"] for message in messages if message["role"] == role]


@pytest.mark.parametrize(
    ("name", "system"), [("02_system_column/orca.jsonl", "system_prompt"), ("71_system_beside_conversations/lf.json", "system")]
)
def test_02_a_system_prompt_beside_the_chat_is_part_of_it(case, name, system):
    found = case(name, "generation")
    assert found.is_plain and len(found.rows()) == 60
    text = (CASES / name).read_text()
    source = json.loads(text) if text.startswith("[") else [json.loads(line) for line in text.splitlines()]
    assert [row["system"] for row in found.rows()] == [each[system] for each in source]


CHATS = {
    "03_sharegpt_tools/tools.jsonl": ("assistant", "It is 18 degrees in room 0."),
    "50_chat_edges/capital_roles.jsonl": ("assistant", None),
    "50_chat_edges/developer_role.jsonl": ("system", None),
    "07_prompter_role/oasst.jsonl": ("user", f"Tell me about {FIRST}"),
    "51_xtuner_conversation/single.json": ("assistant", "Hello 0."),
    "04_content_parts/parts.jsonl": ("assistant", "A short line about it, number 0."),
    "73_tool_calls_then_answer/openai_tools.jsonl": ("assistant", "It is 18 degrees."),
}


@pytest.mark.parametrize("name", sorted(CHATS))
def test_04_to_09_chats_of_every_layout_are_read_as_chats(case, name):
    found, (role, wanted) = case(name, "generation"), CHATS[name]
    rows = found.rows()
    assert found.is_plain and len(rows) == 60
    for messages in conversations(rows):
        assert said(messages, role) and {message["role"] for message in messages} <= {"system", "user", "assistant", "tool"}
        assert not any("'type'" in message["content"] for message in messages)
    assert wanted is None or wanted in said(conversations(rows)[0], role)


def test_05_turns_that_nobody_understands_are_refused_by_name(case):
    report = case("50_chat_edges/two_odd_rows.jsonl", "generation").report
    assert [problem["row"] for problem in report["problems"]] == [4, 31] and "narrator" in report["problems"][0]["message"]


def test_07_prompt_and_completion_as_messages(case):
    found = case("05_trl_prompt_completion/trl.jsonl", "generation")
    assert found.is_plain and len(found.rows()) == 60


def test_07_pairs_of_answers_are_a_dataset_of_their_own_kind(case):
    report = case("70_prompt_lists_dpo/ultra.jsonl", "").report
    assert report["task"] not in {"generation", "classification"} or any("preference" in f["message"].lower() for f in report["findings"])


def test_10_a_chat_without_anything_to_learn_is_refused(case):
    report = case("08_openai_tool_calls/calls.jsonl", "generation").report
    assert not report["plain"] and report["rows_unusable"] == 60


def test_11_a_message_of_weight_0_is_read_and_not_learnt(case):
    for messages in conversations(case("09_weight_zero/weights.jsonl", "generation").rows()):
        learnt = [message["content"] for message in messages if chats.is_learnt(message)]
        assert len(learnt) == 1 and learnt[0].startswith("Good morning")


# --- Labels ---------------------------------------------------------------------------------------------------------------
def test_14_numbers_with_and_without_a_point_are_one_label(case):
    found = case({part: f"25_label_types_across_parts/{part}.csv" for part in ("train", "validation")})
    assert found.labels() == ["0", "1", "2"] and "label_variants" in found.asked


def test_16_a_class_without_training_rows_is_told(case):
    found = case({part: f"26_class_only_in_validation/{part}.csv" for part in ("train", "validation")})
    assert "untaught_label" in found.asked


def test_17_signs_and_codes(case):
    assert case("27_plus_minus_labels/signs.tsv").labels() == ["+", "-"]
    assert "label_or_none" in case("27_plus_minus_labels/regions.csv").asked


@pytest.mark.parametrize(("name", "missing"), [("mysql_n.tsv", 15), ("pandas_na.csv", 15)])
def test_18_marks_of_other_programs_are_no_class(case, name, missing):
    found = case(f"28_other_missing_marks/{name}")
    assert sum(label["rows"] for label in found.report["labels"] if label["missing"]) == missing
    assert found.labels() == ["negative", "positive"]


SEVERAL = ("12_doccano_multi/admin.jsonl", "53_label_studio_csv_multi/project-5.csv", "60_multi_label_cells/toxic.csv")


@pytest.mark.parametrize("name", [*SEVERAL, "41_parquet_types/list_labels.parquet"])
def test_20_several_labels_in_a_cell_are_asked_about(case, name):
    found = case(name)
    assert "several_labels" in found.asked
    for row in found.rows(several_labels="first"):
        assert not set('[]{}",') & set(row["label"])


def test_22_23_26_labels_of_tools_and_hubs(case):
    for name, labels in {
        "10_label_studio_json/project-4.json": ["Negative", "Positive"],
        "52_argilla_records/records.json": ["negative", "positive"],
        "40_parquet_classlabel/train-00000-of-00001.parquet": ["negative", "positive"],
        "19_fasttext/train.txt": ["negative", "positive"],
    }.items():
        rows = case(name).rows()
        assert (name, sorted({row["label"] for row in rows}), len(rows)) == (name, labels, 60)
        assert rows[0]["text"] == FIRST


# --- Encodings ------------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("name", "first", "plain"),
    [
        ("korean_euckr.csv", "이 주전자는 생각보다 잘 끓어요 1.", True),
        ("polish_cp1250.csv", "Ten czajnik działa lepiej niż myślałem 1.", False),
        ("polish_latin2.csv", "Ten czajnik działa lepiej niż myślałem 1.", False),
    ],
)
def test_29_31_letters_are_right(case, name, first, plain):
    found = case(f"24_encodings/{name}")
    assert found.rows()[0]["text"] == first and found.is_plain == plain


@pytest.mark.parametrize(
    ("name", "encoding"),
    [
        ("czech_cp1250.csv", "cp1250"),
        ("japanese_sjis.csv", "cp932"),
        ("short_sjis.csv", "cp932"),
        ("japanese_eucjp.csv", "euc_jp"),
        ("traditional_big5.csv", "big5"),
        ("russian_cp1251.csv", "cp1251"),
        ("russian_koi8r.csv", "koi8_r"),
        ("greek_cp1253.csv", "cp1253"),
        ("korean_euckr.csv", "euc_kr"),
    ],
)
def test_31_34_every_text_is_as_its_encoding_says(case, name, encoding):
    lines = (CASES / "24_encodings" / name).read_bytes().decode(encoding).splitlines()[1:]
    assert [row["text"] for row in case(f"24_encodings/{name}").rows()] == [line.rsplit(",", 1)[0].strip('"') for line in lines if line]


# --- Dialects and containers ----------------------------------------------------------------------------------------------
@pytest.mark.parametrize("name", ["three.csv", "reviews.csv", "reviews.txt"])
def test_36_a_header_one_name_short_names_the_columns_behind_the_first(case, name):
    row = case(f"14_r_write_table/{name}").rows()[0]
    assert (row["text"], row["label"]) == (FIRST, "positive")


def test_36_pairs_of_r(case):
    row = case("14_r_write_table/pairs.tsv", "translation").rows()[0]
    assert (row["source"], row["target"]) == ("I can see the red house number 0.", "Ich sehe das rote Haus Nummer 0.")


def test_38_backslashes_before_quotes(case):
    sparse = case("30_backslash_quotes/sparse.csv").rows()
    assert len(sparse) == 60 and 'A "good" one.' in {row["text"] for row in sparse}
    dump = case("30_backslash_quotes/dump.csv").rows()
    assert dump[0]["text"] == f'She said "{FIRST[:-1]}", then left, 0.' and {row["label"] for row in dump} == {"positive", "negative"}


def test_39_40_41_lines_that_are_no_rows(case):
    for name in ("32_excel_sep_line/export.csv", "32_excel_sep_line/export_comma.csv", "33_markdown_table/table.md"):
        rows = case(name).rows()
        assert (name, len(rows), {row["label"] for row in rows}) == (name, 60, {"positive", "negative"})
        assert all(row["text"] == row["text"].strip() for row in rows)
    both = case("68_concatenated_bom/both.csv")
    rows = both.rows()
    assert len(rows) == 60 and "label" not in {row["label"] for row in rows} and both.report["rows_rejected"] == 1


@pytest.mark.parametrize(
    ("name", "task", "word"),
    [
        ("36_word_document/texts.docx", "generation", "Word"),
        ("35_not_the_file/train.csv", "classification", "page"),
    ],
)
def test_45_47_what_is_no_table_is_named_for_what_it_is(case, name, task, word):
    with pytest.raises(ReadingError, match=word):
        case(name, task)


def test_46_51_archives_are_read_member_by_member(case):
    tarball, folders = case("37_tarball/reviews.tar.gz").rows(), case("20_folder_per_class_zip/reviews.zip").rows()
    assert len(tarball) == 3_600 and {row["label"] for row in tarball} == {"positive", "negative"}
    assert len(folders) == 60 and {row["label"] for row in folders} == {"pos", "neg"}
    two = case("37_tarball/two.tar")
    assert "label" not in {label["name"] for label in two.report["labels"]}
    parts = case("39_zip_train_test/data.zip").rows()
    assert {row["_split"] for row in parts} >= {"train", "test"}
    pairs = case("21_moses_zip/corpus.zip", "translation").rows()
    assert pairs[0]["source"] and pairs[0]["target"]


def test_47_markup_that_holds_rows_is_read(case):
    pairs = case("22_tmx/memory.tmx", "translation").rows()
    assert len(pairs) == 60 and "<" not in pairs[0]["source"] + pairs[0]["target"]
    assert len(case("34_html_as_xls/report.xls").rows()) == 60


def test_49_50_hub_folders_and_sheets(case):
    assert len(case("66_workbook_two_sheets/months.xlsx").rows()) == 60
    for name in ("38_save_to_disk_zip/ds.zip", "38_save_to_disk_zip/data-00000-of-00001.arrow"):
        rows = case(name).rows()
        assert (name, len(rows), rows[0]["text"]) == (name, 60, FIRST)


def test_52_53_parquet_of_every_type(case):
    for name in ("binary_strings", "binary_spam_ham"):
        rows = case(f"41_parquet_types/{name}.parquet").rows()
        assert rows[0]["text"] == FIRST and len(rows) == 60
    assert case("41_parquet_types/binary_spam_ham.parquet").labels() == ["ham", "spam"]
    for name in ("dictionary", "struct", "bool"):
        assert len(case(f"41_parquet_types/{name}.parquet").rows()) == 60


def test_56_57_58_json_of_other_programs(case):
    for name in (
        "13_pandas_columns_json/frame.json",
        "18_nan_in_jsonl/data.jsonl",
        "16_jsonl_trailing_commas/data.jsonl",
        "17_concatenated_json/data.json",
        "15_python_dict_lines/data.jsonl",
    ):
        rows = case(name).rows()
        assert (name, len(rows), rows[0]["text"]) == (name, 60, FIRST)


@pytest.mark.parametrize("name", ["42_simpletransformers_qa/train.json", "45_qa_extra_key/extra.jsonl"])
def test_60_62_questions_in_other_layouts(case, name):
    rows = case(name, "question_answering").rows()
    assert len(rows) == 72 and sum(not row["answer"] for row in rows) == 24
    assert all(row["answer"] in row["context"] for row in rows)


def test_65_the_order_of_the_file_is_the_direction_of_a_translation(case):
    for name in ("wmt_de_en", "de_fr", "wmt"):
        first = json.loads((CASES / f"23_translation_dict/{name}.jsonl").read_text().splitlines()[0])["translation"]
        row = case(f"23_translation_dict/{name}.jsonl", "translation").rows()[0]
        assert (row["source"], row["target"]) == tuple(first.values())


def test_66_summaries_longer_than_documents_are_told(case):
    assert "proportions" in case("47_swapped_summary/swapped.csv", "summarization").asked
