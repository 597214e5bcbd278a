"""The chats and prompts that went wrong elsewhere, cell by cell: what a version holds, and what a model learns of it."""

import json

import polars as pl
import pytest

from tests.conftest import DATA
from tests.datasets.files import publishing, reading
from worker.nlp import chats

CASES = DATA.parent / "cases"


@pytest.fixture
def case(tmp_path):
    """(records of the file, report, rows of its version in the file's order)."""

    def case(name, task="generation"):
        path = CASES / name
        if not path.exists():
            pytest.skip("the shared cases (../shared/cases) are not on this machine")
        text = path.read_text()
        records = json.loads(text) if name.endswith(".json") else [json.loads(line) for line in text.splitlines()]
        report = reading(path, tmp_path / "out", task=task)
        published = publishing(report, tmp_path / "out")
        return records, report, pl.read_parquet(published["path"]).sort("_row").to_dicts()

    return case


def said(row):
    return [(m["role"], m["content"]) for m in chats.of_row(row).messages]


def learnt(row):
    return [m["content"] for m in chats.of_row(row).messages if chats.is_learnt(m) and not m.get("tool_calls")]


@pytest.mark.parametrize("name", ["alpaca.json", "one_instruction.json"])
def test_alpaca(case, name):
    records, report, rows = case(f"01_alpaca_input/{name}")
    assert report["plain"] and [r["prompt"] for r in rows] == [f"{r['instruction']}\n\n{r['input']}" for r in records]
    assert [r["completion"] for r in rows] == [r["output"] for r in records]
    assert sum(r["_split"] == "train" for r in rows) == 48


def test_orca(case):
    records, report, rows = case("02_system_column/orca.jsonl")
    assert report["plain"]
    assert [said(r) for r in rows] == [
        [("system", r["system_prompt"]), ("user", r["question"]), ("assistant", r["response"])] for r in records
    ]


def test_a_system_field_beside_the_conversation(case):
    records, report, rows = case("71_system_beside_conversations/lf.json")
    wanted = [
        [("system", r["system"]), *zip(("user", "assistant"), (m["value"] for m in r["conversations"]), strict=True)] for r in records
    ]
    assert report["plain"] and [said(r) for r in rows] == wanted


def test_functions_as_sharegpt_has_them(case):
    records, report, rows = case("03_sharegpt_tools/tools.jsonl")
    for record, row in zip(records, rows, strict=True):
        asked, call, gave, answer = (m["value"] for m in record["conversations"])
        assert said(row) == [("user", asked), ("assistant", ""), ("tool", gave), ("assistant", answer)] and learnt(row) == [answer]
        assert chats.of_row(row).messages[1]["tool_calls"][0]["function"] == json.loads(call)
    assert report["plain"]


@pytest.mark.parametrize(
    "name", ["50_chat_edges/capital_roles.jsonl", "50_chat_edges/developer_role.jsonl", "07_prompter_role/oasst.jsonl"]
)
def test_roles_by_other_names(case, name):
    records, report, rows = case(name)
    names = {"User": "user", "Assistant": "assistant", "developer": "system", "prompter": "user"}
    wanted = [[(names.get(m["role"], m["role"]), m["content"]) for m in r["messages"]] for r in records]
    assert report["plain"] and [said(r) for r in rows] == wanted


def test_a_narrator(case):
    records, report, rows = case("50_chat_edges/two_odd_rows.jsonl")
    assert not report["plain"] and [p["row"] for p in report["problems"]] == [4, 31] and len(rows) == len(records) - 2
    assert all("narrator" in p["message"] for p in report["problems"])


def test_xtuner(case):
    records, report, rows = case("51_xtuner_conversation/single.json")
    wanted = [[("system", t["system"]), ("user", t["input"]), ("assistant", t["output"])] for r in records for t in r["conversation"]]
    assert report["plain"] and [said(r) for r in rows] == wanted


def test_parts(case):
    records, report, rows = case("04_content_parts/parts.jsonl")
    assert report["plain"] and [learnt(r) for r in rows] == [[r["messages"][-1]["content"][0]["text"]] for r in records]
    assert learnt(rows[0]) == ["A short line about it, number 0."]


def test_prompt_and_completion_as_messages(case):
    records, report, rows = case("05_trl_prompt_completion/trl.jsonl")
    assert report["plain"] and [r["completion"] for r in rows] == [r["completion"][0]["content"] for r in records]
    assert [said(r) for r in rows] == [[(m["role"], m["content"]) for m in r["prompt"] + r["completion"]] for r in records]


def test_pairs(case):
    records, report, rows = case("70_prompt_lists_dpo/ultra.jsonl", "")
    assert (report["task"], report["plain"]) == ("preferences", True)
    wanted = [(r["prompt"], r["chosen"][-1]["content"], r["rejected"][-1]["content"]) for r in records]
    assert [(r["prompt"], r["chosen"], r["rejected"]) for r in rows] == wanted


def test_calls_and_then_an_answer(case):
    records, report, rows = case("73_tool_calls_then_answer/openai_tools.jsonl")
    assert report["plain"] and [learnt(r) for r in rows] == [[r["messages"][-1]["content"]] for r in records]


def test_weights(case):
    records, report, rows = case("09_weight_zero/weights.jsonl")
    assert report["plain"] and [learnt(r) for r in rows] == [[r["messages"][-1]["content"]] for r in records]
    assert [said(r) for r in rows] == [[(m["role"], m["content"]) for m in r["messages"]] for r in records]


def test_only_calls(tmp_path):
    if not CASES.is_dir():
        pytest.skip("the shared cases (../shared/cases) are not on this machine")
    report = reading(CASES / "08_openai_tool_calls/calls.jsonl", tmp_path / "out", task="generation")
    assert (report["plain"], report["rows_unusable"]) == (False, 60)
