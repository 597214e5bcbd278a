"""Damaged files of chats: whatever becomes a version by itself, no chat in it is learnt as the JSON that it was written in."""

import csv
import io
import json
import random
import re

import polars as pl
import pytest

from tests.datasets.files import publishing, reading
from webapp.datasets.reading import ReadingError
from worker.nlp import chats

MUTANTS = 8  # of each layout
LEAK = re.compile(r"""["'](role|from|content|value|human|gpt|user|assistant)\\?["']\s*:|tool_calls|\[\[|\}\s*,?\s*\{""")


def openai(i):
    return {"messages": [{"role": "user", "content": f"Say {i}"}, {"role": "assistant", "content": f"So {i}, he's done."}]}


def shared(i):
    return {"conversations": [{"from": "human", "value": f"Say {i}"}, {"from": "gpt", "value": f"So {i}, done."}], "system": "Be kind."}


def parts(i):
    return {"messages": [{"role": "user", "content": [{"type": "text", "text": f"Say {i}"}]}, {"role": "assistant", "content": f"So {i}."}]}


def trl(i):
    return {"prompt": [{"role": "user", "content": f"Say {i}"}], "completion": [{"role": "assistant", "content": f"So {i}."}]}


def tools(i):
    call = {"type": "function", "function": {"name": "f", "arguments": '{"a": 1}'}}
    asked = {"role": "user", "content": f"Say {i}"}
    turns = [{"role": "assistant", "content": None, "tool_calls": [call]}, {"role": "tool", "content": "18"}]
    return {"messages": [asked, *turns, {"role": "assistant", "content": f"So {i}."}]}


def turns(i):
    return {"conversation": [{"system": "Be kind.", "input": f"Say {i}", "output": f"So {i}."}]}


LAYOUTS = [openai, shared, parts, trl, tools, turns]
WRITTEN = {"jsonl": None, "json": None, "json in csv": json.dumps, "python in csv": repr}


def written(layout, how, rows=24):
    records = [layout(i) for i in range(rows)]
    if how == "jsonl":
        return "".join(json.dumps(record) + "\n" for record in records)
    if how == "json":
        return json.dumps(records)
    text = io.StringIO()
    writer = csv.DictWriter(text, records[0].keys())
    writer.writeheader()
    writer.writerows([{k: v if isinstance(v, str) else WRITTEN[how](v) for k, v in record.items()} for record in records])
    return text.getvalue()


def damaged(text, pick):
    for _ in range(pick.choice([1, 1, 2, 5])):
        at = pick.randrange(len(text))
        kind = pick.randrange(6)
        if kind == 0:
            text = text[:at] + text[at + pick.choice([1, 1, 3, 20]) :]
        elif kind == 1:
            text = text[:at] + pick.choice("\"'[]{},:\\\n x\0") + text[at:]
        elif kind == 2:
            text = text[:at] + text[at : at + 40] + text[at:]
        elif kind == 3:
            key = pick.choice(["role", "from", "content", "value", "assistant", "gpt", "user", "messages", "input", "output"])
            text = text.replace(key, pick.choice(["", "Role", "x" + key, key.upper(), "5"]), pick.choice([1, 3, -1]))
        elif kind == 4:
            text = text[:at] if at > len(text) // 2 else text[at:]
        else:
            text = text.replace('"', "'", pick.choice([1, 2]))
    return text


def learnt(row):
    """Every text of a version's row that a model would learn to say."""
    if chat := chats.of_row(row):
        return [m["content"] for m in chat.messages if chats.is_learnt(m)]
    return [row.get("completion") or row.get("text") or ""]


def mutants(how, layout, count, folder, seed=1):
    """(how many were ready by themselves, what leaked)."""
    pick, ready, leaked = random.Random(f"{seed} {how} {layout.__name__}"), 0, []
    whole = written(layout, how)
    for number in range(count):
        text = damaged(whole, pick)
        path = folder / f"{number}.{how.rsplit(' ', 1)[-1]}"
        path.write_text(text, "utf-8")
        try:
            report = reading(path, folder / "out", task=pick.choice(["", "generation"]))
        except ReadingError:
            continue
        if report["plain"] and report["task"] == "generation":
            ready += 1
            try:
                rows = pl.read_parquet(publishing(report, folder / "out")["path"])
            except ReadingError:
                continue
            leaked += [(number, said) for row in rows.iter_rows(named=True) for said in learnt(row) if LEAK.search(said)]
    return ready, leaked


@pytest.mark.parametrize("layout", LAYOUTS, ids=[each.__name__ for each in LAYOUTS])
@pytest.mark.parametrize("how", WRITTEN)
def test_no_damaged_chat_is_learnt_as_it_is_written(tmp_path, how, layout):
    _ready, leaked = mutants(how, layout, MUTANTS, tmp_path)
    assert leaked == []
