"""Chats in every layout that people keep them in: read as one conversation, or refused in words; and which tokens are learnt."""

import json

import polars as pl
import pytest

from tests.worker import toys
from tests.worker.test_nlp_contract import gathered
from worker.nlp import TASKS, chats, language
from worker.nlp.recipe import read_settings

GENERATION = TASKS["generation"]
SAID = [("system", "very"), ("user", "was it good"), ("assistant", "it was")]
OPENAI = [{"role": role, "content": content} for role, content in SAID]
CALL = {"id": "c", "type": "function", "function": {"name": "phone", "arguments": '{"a": 1}'}}


def told(messages):
    return [(m["role"], m["content"]) for m in messages]


def share(record):
    """As ShareGPT has it."""
    return [{"from": who, "value": text} for who, text in record]


LAYOUTS = {
    "openai": OPENAI,
    "openai's newer roles": [{"role": "developer", "content": "very"}, *OPENAI[1:]],
    "capitals and blanks": [{"Role": f" {role.title()} ", "Content": content} for role, content in SAID],
    "share": share([("system", "very"), ("human", "was it good"), ("gpt", "it was")]),
    "oasst": [OPENAI[0], {"role": "prompter", "text": "was it good"}, OPENAI[2]],
    "parts": [{**m, "content": [{"type": "text", "text": m["content"]}]} for m in OPENAI],
    "gemini": [{"role": {"assistant": "model"}.get(m["role"], m["role"]), "parts": [{"text": m["content"]}]} for m in OPENAI],
    "xtuner": [{"system": "very", "input": "was it good", "output": "it was"}],
    "firefly": [{"system": "very"}, {"human": "was it good", "assistant": "it was"}],
    "a record": {"messages": OPENAI, "id": 5},
    "a record with a system prompt": {"system": "very", "conversations": share([("human", "was it good"), ("gpt", "it was")])},
    "columns beside each other": {"role": [role for role, _ in SAID], "content": [content for _, content in SAID]},
}


@pytest.mark.parametrize("written", [json.dumps, repr, lambda value: json.dumps(json.dumps(value))], ids=["json", "python", "json in json"])
@pytest.mark.parametrize("layout", LAYOUTS)
def test_every_layout_is_the_same_conversation(layout, written):
    assert told(chats.messages_of(written(LAYOUTS[layout]))) == SAID


def test_what_numpy_prints_of_a_chat_is_read():
    printed = repr(OPENAI).replace("}, {", "}\n {")
    assert "}, {" not in printed and told(chats.messages_of(printed)) == SAID


def test_functions_that_are_called_and_what_they_gave_back_are_read():
    wanted = [("user", "q", False), ("assistant", "", True), ("tool", '{"c": 18}', False), ("assistant", "warm", False)]
    function = {"name": "phone", "arguments": {"room": 0}}
    openai = [
        {"role": "user", "content": "q"},
        {"role": "assistant", "content": None, "tool_calls": [{"type": "function", "function": {**function, "arguments": '{"room": 0}'}}]},
        {"role": "tool", "tool_call_id": "c", "content": '{"c": 18}'},
        {"role": "assistant", "content": "warm"},
    ]
    older = [openai[0], {"role": "assistant", "content": None, "function_call": function}, {**openai[2], "role": "function"}, openai[3]]
    shared = share([("human", "q"), ("function_call", json.dumps(function)), ("observation", '{"c": 18}'), ("gpt", "warm")])
    use = {"type": "tool_use", "id": "c", "name": "phone", "input": {"room": 0}}
    result = {"type": "tool_result", "tool_use_id": "c", "content": '{"c": 18}'}
    anthropic = [openai[0], {"role": "assistant", "content": [use]}, {"role": "user", "content": [result]}, openai[3]]
    for layout in (openai, older, shared, anthropic):
        messages = chats.messages_of(json.dumps(layout))
        assert [(m["role"], m["content"], "tool_calls" in m) for m in messages] == wanted
        assert messages[1]["tool_calls"][0]["function"] == function


@pytest.mark.parametrize(
    ("cell", "words"),
    [
        ([{"role": "narrator", "content": "Night."}, *OPENAI], "Message 1 has the role “narrator”, which is not known"),
        ([*OPENAI, {"content": "and then"}], "Message 4 does not say who speaks"),
        ([{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "x"}}]}], "Message 1 has a part of the kind “image_url”"),
        ([{"role": "user", "content": {"a": 1}}], "What message 1 says is no text"),
        (
            [*OPENAI, {"role": "assistant", "tool_calls": [{"function": {"arguments": "{}"}}]}],
            "Message 4 calls a function that has no name",
        ),
        (["Hi.", {"a": 1}], "It is a list, but no chat"),
        ([["Hi.", "Hello."]], "It is a list, but no chat"),
        ({"title": "x", "body": "y"}, "It is JSON, but no chat"),
    ],
)
def test_what_is_not_understood_is_refused_by_name(cell, words):
    for written in (json.dumps(cell), repr(cell)):
        ((role, sentence),) = GENERATION.problems({"text": written})
        assert role == "text" and words in sentence


@pytest.mark.parametrize(
    "damage",
    [lambda t: t[:-1], lambda t: t[1:], lambda t: t[:40], lambda t: t[-30:], lambda t: "x" + t, lambda t: t.replace("}, {", "} {")],
)
@pytest.mark.parametrize("written", [json.dumps, repr])
@pytest.mark.parametrize("role", ["text", "prompt", "completion"])
def test_a_damaged_chat_is_refused_and_not_learnt_as_a_text(damage, written, role):
    row = {"prompt": "q", "completion": "a"} if role != "text" else {}
    damaged = damage(written([{"role": "user", "content": "was it good"}, {"role": "assistant", "content": "it was"}]))
    ((named, sentence),) = GENERATION.problems({**row, role: damaged})
    assert named == role and "Export it again" in sentence


QUOTING = 'Use this: client.create(messages=[{"role": "user", "content": "Hello"}]) and then read the answer.'
LETTER = {"from": "Berlin", "to": "Paris", "text": "I am well."}


@pytest.mark.parametrize("role", ["prompt", "completion"])
@pytest.mark.parametrize(
    "text",
    [
        QUOTING,
        f"[The manual] says: {QUOTING}",
        'Send it:\n```json\n[{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello"}]\n```',
        'client.create(messages=[{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello"}])',
        'messages = [{"role": "user", "content": "Hi"}]',
        'A message is {"role": "user", "content": "Hi"}, a record.',
    ],
)
def test_a_text_in_which_a_chat_is_quoted_is_a_text(role, text):
    row = {"prompt": "q", "completion": "a", role: text}
    assert GENERATION.problems(row) == [] == GENERATION.doubts(row)
    assert chats.of_row(row) is None and GENERATION.kept(row) == row


@pytest.mark.parametrize(
    "value", [LETTER, [LETTER], {"author": "Ann", "text": "Well."}, {"role": "user", "content": "x", "permissions": ["read"]}]
)
def test_a_record_that_only_looks_like_a_message_is_json_as_an_answer(value):
    row = {"prompt": "Fill in the form.", "completion": json.dumps(value)}
    assert GENERATION.problems(row) == [] and [role for role, _ in GENERATION.doubts(row)] == ["completion"]
    assert chats.of_row(row) is None and GENERATION.kept(row) == row


def test_texts_that_only_look_a_little_like_json_stay_texts():
    for text in ("[1] a footnote", "[Verse 2] la la la", "{name} said [so]", "[1, 2, 3]", "Use {'a': 1} here", '"quoted"'):
        assert chats.messages_of(text) is None and GENERATION.problems({"text": text}) == [] == GENERATION.doubts({"prompt": text})


def test_json_that_a_model_may_be_asked_to_write_is_a_doubt_and_no_chat():
    row = {"prompt": "Who?", "completion": '{"name": "Ann", "age": 5}'}
    assert GENERATION.problems(row) == [] and [role for role, _ in GENERATION.doubts(row)] == ["completion"]
    assert chats.of_row(row) is None and GENERATION.kept(row) == row


def test_an_empty_chat_is_no_text():
    for text in ("[]", " {} "):
        ((role, sentence),) = GENERATION.problems({"text": text})
        assert (role, sentence) == ("text", "It is an empty list.")


def test_a_dialogue_that_does_not_say_who_speaks_is_a_doubt():
    row = {"text": json.dumps(["was it good", "it was", "and the soup", "bad"])}
    assert [role for role, _ in GENERATION.doubts(row)] == ["text"] and GENERATION.problems(row) == []
    assert told(chats.of_row(row).messages) == [
        ("user", "was it good"),
        ("assistant", "it was"),
        ("user", "and the soup"),
        ("assistant", "bad"),
    ]


def test_a_prompt_that_is_not_read_and_an_answer_to_nothing_are_doubts():
    assert [role for role, _ in GENERATION.doubts({"prompt": "good", "text": "bad soup"})] == ["prompt"]
    assert [role for role, _ in GENERATION.doubts({"completion": "bad soup"})] == ["completion"]
    for fine in ({"text": "bad"}, {"prompt": "good", "completion": "bad"}, {"prompt": "was it good", "text": json.dumps(OPENAI)}):
        assert GENERATION.doubts(fine) == []


# --- rows ---------------------------------------------------------------------------------------------------------------------
def test_a_prompt_and_a_completion_of_messages_are_one_conversation():
    row = {"prompt": json.dumps(OPENAI[:2]), "completion": json.dumps(OPENAI[2:])}
    assert told(chats.of_row(row).messages) == SAID
    assert GENERATION.kept(row)["completion"] == "it was"
    whole = {"prompt": "was it good", "completion": json.dumps(OPENAI[1:])}
    assert told(chats.of_row(whole).messages) == SAID[1:], "the question is not asked twice"
    assert GENERATION.kept(whole) == {"prompt": "was it good", "completion": "it was"}


def test_a_system_prompt_and_earlier_turns_come_before_the_question():
    history = json.dumps([["good", "bad"], ["film", "soup"]])
    row = {"system": "very", "history": history, "prompt": "was it good", "completion": "it was"}
    turns = [("user", "good"), ("assistant", "bad"), ("user", "film"), ("assistant", "soup")]
    assert told(chats.of_row(row).messages) == [SAID[0], *turns, *SAID[1:]]
    assert told(chats.of_row({"system": "very", "text": json.dumps(OPENAI[1:])}).messages) == SAID
    assert told(chats.of_row({"system": "very", "text": json.dumps(OPENAI)}).messages) == SAID, "twice the same is said once"


def test_a_plain_row_with_empty_extras_stays_plain():
    assert chats.of_row({"system": "", "history": "[]", "tools": "[]", "prompt": "q", "completion": "a"}) is None


def test_a_version_keeps_each_chat_in_one_layout_and_keeping_twice_changes_nothing():
    for layout in LAYOUTS.values():
        once = GENERATION.kept({"text": repr(layout)})
        assert json.loads(once["text"]) == OPENAI and GENERATION.kept(once) == once


# --- what is learnt -------------------------------------------------------------------------------------------------------------
@pytest.fixture(scope="module")
def decoder(tmp_path_factory):
    settings = read_settings(GENERATION.settings, {"window": 64}, "full")
    model, tokenizer = GENERATION.load(str(toys.base_model(tmp_path_factory.mktemp("base"), "llama")), (), settings, "full", {})
    model.config.tunebench = {"instruct": True}
    return model.eval(), tokenizer, settings


TOOLS = (  # a template that knows tools
    "{% if tools %}the {% for t in tools %}{{ t.function.name }} {% endfor %}{% endif %}"
    "{% for m in messages %}{{ m.role == 'assistant' and 'they' or 'we' }} {{ m.content }} "
    "{% for c in m.tool_calls or [] %}a {{ c.function.name }} {% endfor %}[SEP] {% endfor %}"
    "{% if add_generation_prompt %}they {% endif %}"
)
NO_TOOLS = "{% for m in messages %}{{ m.role == 'assistant' and 'they' or 'we' }} {{ m.content }} [SEP] {% endfor %}{% if add_generation_prompt %}they {% endif %}"
NO_SYSTEM = (
    "{% for m in messages %}{% if m.role == 'system' %}{{ raise_exception('no') }}{% endif %}"
    "{{ m.role == 'assistant' and 'they' or 'we' }} {{ m.content }} [SEP] {% endfor %}{% if add_generation_prompt %}they {% endif %}"
)


@pytest.fixture
def learn(decoder):
    """(what is read, what is learnt) of a row, as words."""
    model, tokenizer, settings = decoder

    def learn(row, template=None):
        tokenizer.chat_template = template
        try:
            examples = GENERATION.encode(pl.DataFrame([row]), model, tokenizer, (), settings)
        finally:
            tokenizer.chat_template = None
        ids = [token for e in examples for token in e["input_ids"]]
        labels = [token for e in examples for token in e["labels"]]
        return tokenizer.decode(ids).split(), tokenizer.decode([token for token in labels if token != language.LEFT_OUT]).split()

    return learn


@pytest.mark.parametrize("template", [None, NO_TOOLS])
def test_an_answer_of_weight_0_is_read_and_not_learnt(learn, template):
    for off in ({"weight": 0}, {"train": False}, {"loss": False}):
        said = [{"role": "user", "content": "good"}, {"role": "assistant", "content": "awful soup", **off}, *OPENAI[1:]]
        row = GENERATION.kept({"text": json.dumps(said)})
        read, learnt = learn(row, template)
        assert "awful" in read and learnt == ["it", "was", "[SEP]"]


CALLING = [
    {"role": "user", "content": "good"},
    {"role": "assistant", "content": None, "tool_calls": [CALL]},
    {"role": "tool", "content": "film"},
    {"role": "assistant", "content": "it was"},
]


@pytest.mark.parametrize("template", [None, NO_TOOLS])
def test_silence_is_not_learnt_where_a_tool_was_called(learn, template):
    read, learnt = learn(GENERATION.kept({"text": json.dumps(CALLING)}), template)
    assert "film" in read and learnt == ["it", "was", "[SEP]"]


def test_a_call_is_learnt_in_the_form_of_a_template_that_knows_tools(learn):
    row = GENERATION.kept({"text": json.dumps(CALLING), "tools": json.dumps([{"name": "phone", "parameters": {}}])})
    read, learnt = learn(row, TOOLS)
    assert read[:2] == ["the", "phone"] and learnt == ["a", "phone", "[SEP]", "it", "was", "[SEP]"]


def test_an_empty_answer_is_never_learnt(learn):
    said = [{"role": "user", "content": "good"}, {"role": "assistant", "content": " "}, *OPENAI[1:]]
    assert learn({"text": json.dumps(said)})[1] == learn({"text": json.dumps(said)}, NO_TOOLS)[1] == ["it", "was", "[SEP]"]


def test_a_system_prompt_of_a_column_is_read(learn):
    row = {"system": "very", "prompt": "was it good", "completion": "it was"}
    for template in (None, NO_TOOLS):
        read, learnt = learn(row, template)
        assert "very" in read and learnt == ["it", "was", "[SEP]"]


def test_a_template_without_a_place_for_a_system_prompt_reads_it_with_the_question(learn):
    read, learnt = learn({"system": "very", "prompt": "was it good", "completion": "it was"}, NO_SYSTEM)
    assert read == ["we", "very", "was", "it", "good", "[SEP]", "they", "it", "was", "[SEP]"] and learnt == ["it", "was", "[SEP]"]


@pytest.mark.parametrize("layout", LAYOUTS)
def test_nothing_of_a_layout_is_learnt(learn, layout):
    _read, learnt = learn({"text": repr(LAYOUTS[layout])})
    assert learnt == ["it", "was", "[SEP]"]


def test_held_out_conversations_are_answered_and_told_as_people_read_them(decoder):
    model, tokenizer, settings = decoder
    rows = pl.DataFrame([{"text": json.dumps(CALLING)}, {"text": json.dumps([*CALLING, {"role": "user", "content": "soup"}])}])
    assert GENERATION.facts(rows, settings) == {"instruct": True}
    _steps, (metrics, evaluation) = gathered(GENERATION.trial(model, tokenizer, (), rows, settings))
    assert {s["reference"] for s in evaluation["samples"]} == {"it was"} and "rouge_l" in metrics
    assert {s["inputs"]["prompt"] for s in evaluation["samples"]} == {"User: good\nTool: film"}


def test_only_calls_or_only_answers_without_weight_leave_nothing_to_learn():
    ((_, sentence),) = GENERATION.problems({"text": json.dumps(CALLING[:2])})
    assert "No message of the assistant has a text" in sentence
    ((_, sentence),) = GENERATION.problems({"text": json.dumps([OPENAI[1], {**OPENAI[2], "weight": 0}])})
    assert "weight 0" in sentence


def test_a_row_of_an_old_version_that_is_not_understood_stops_the_run_with_a_sentence(learn):
    from worker.spec import Trouble

    with pytest.raises(Trouble, match="narrator"):
        learn({"text": json.dumps([{"role": "narrator", "content": "Night."}, *OPENAI])})


@pytest.mark.parametrize("template", [None, NO_TOOLS, NO_SYSTEM])
def test_a_system_prompt_that_all_rows_share_is_said_before_every_question(decoder, template):
    from worker.nlp.generation import _prompt_row

    model, tokenizer, settings = decoder
    rows = pl.DataFrame([{"system": "very", "prompt": f"{word} soup", "completion": "it was"} for word in ("good", "bad")])
    facts = GENERATION.facts(rows, settings)
    assert facts == {"instruct": True, "system": "very"}
    before, model.config.tunebench, tokenizer.chat_template = model.config.tunebench, facts, template
    try:
        (example, _other) = GENERATION.encode(rows, model, tokenizer, (), settings)
        ids, cut = _prompt_row(model, tokenizer, "good soup", 8)
        _steps, (_metrics, evaluation) = gathered(GENERATION.trial(model, tokenizer, (), rows, settings))
    finally:
        model.config.tunebench, tokenizer.chat_template = before, None
    assert "very" in tokenizer.decode(ids).split() and example["input_ids"][: len(ids)] == ids and cut == 0
    assert evaluation["examples"] == [{"prompt": "good soup"}, {"prompt": "bad soup"}]
    others = pl.DataFrame([{"system": word, "prompt": "soup", "completion": "it was"} for word in ("good", "bad")])
    assert GENERATION.facts(others, settings) == {"instruct": True}


@pytest.mark.parametrize("cell", ["[1, 2]", '[{"role": "narrator", "content": "x"}]', '[{"role": "user", "content": "x"', "{}", ""])
@pytest.mark.parametrize("read", [{"completion": "plain"}, {"text": "plain"}, {"text": json.dumps(OPENAI)}])
def test_a_cell_that_is_not_read_stops_nobody(read, cell):
    for other in {"prompt", "completion", "text"} - {*read}:
        row = {**read, other: cell}
        if not GENERATION.problems(row):
            GENERATION.doubts(row)
            kept = GENERATION.kept(row)
            assert chats.of_row(kept) == chats.of_row(row)
    assert not GENERATION.problems({**read, "text" if "completion" in read else "prompt": cell})
