"""Chats in whatever layout people keep them, read into one: OpenAI's list of messages.

    {"role": "system" | "user" | "assistant" | "tool", "content": text, "weight": 0 (read, not learnt)?, "tool_calls": [..]?, ..}

A cell is JSON or what Python prints. Whatever looks like a chat and is not understood raises `Unclear`: a model that learnt the
JSON itself would answer in JSON.
"""

from __future__ import annotations

import ast
import contextlib
import json
import re
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from worker.spec import gettext_noop as _

Message = dict[str, Any]
Named = Mapping[str, Any]  # a record whose keys are lower case

CALL = "call"  # an assistant's message that calls a function and says nothing
ROLES = {
    **dict.fromkeys(("system", "developer", "system_prompt", "系统"), "system"),
    **dict.fromkeys(("user", "human", "prompter", "usr", "用户", "人类"), "user"),
    **dict.fromkeys(("assistant", "gpt", "chatgpt", "bot", "chatbot", "model", "ai", "助手", "机器人"), "assistant"),
    **dict.fromkeys(("tool", "function", "observation", "ipython", "environment"), "tool"),
    **dict.fromkeys((f"{what}_{kind}" for what in ("tool", "function") for kind in ("response", "result", "output")), "tool"),
    **dict.fromkeys(("function_call", "function_calls", "tool_call", "tool_calls"), CALL),
}
SPEAKER = ("role", "from", "speaker", "sender", "author")
SAID = ("content", "value", "text", "parts", "message")
LISTS = ("messages", "conversations", "conversation", "dialog", "dialogue", "chat", "turns", "contents")
TURN = {  # of turns that hold question and answer, what each key holds
    "system": "system",
    **dict.fromkeys(("instruction", "input", "question", "prompt", "query", "user", "human", "q"), "user"),
    **dict.fromkeys(("output", "answer", "response", "completion", "assistant", "gpt", "bot", "a"), "assistant"),
}
LEARNT = ("weight", "train", "trainable", "loss", "output_with_loss")  # 0 or false: the message is read, not learnt
KEPT = ("name", "tool_call_id", "reasoning_content")  # texts that chat templates know besides
KEYS = {*SPEAKER, *SAID, *LEARNT, *KEPT, "tool_calls", "function_call", "id", "type", "refusal", "annotations", "audio", "metadata"}
KEY = re.compile(r"""\\?['"](?:role|from|content|value)\\?['"]\s{0,9}:""", re.IGNORECASE)
BESIDE = re.compile(r"""\}\s{0,9},?\s{0,9}\{\s{0,9}\\?['"](?:role|from)\\?['"]""", re.IGNORECASE)
SPEAKS = re.compile(
    rf"""\\?['"](?:role|from)\\?['"]\s{{0,9}}:\s{{0,9}}\\?['"]\s{{0,9}}(?:{"|".join(ROLES)})\s{{0,9}}\\?['"]""", re.IGNORECASE
)
BEGINS = re.compile(  # a chat, whole or damaged; a letter or two may have got before it
    r"""\w{0,2}['"]?\s{0,9}(?:\[\s{0,9}\\?['"{]|\{\s{0,9}\\?['"]|\\?['"](?:role|from|content|value)\\?['"])""", re.IGNORECASE
)
NOTHING = ("", "[]", "{}", "null", "None")
OPENING = 300  # characters in which a chat shows who speaks


class Unclear(ValueError):
    """A chat, or something like it, that is not understood: the sentence says what of it. `role` is the task's, once it is known."""

    role = "text"


class Chat(NamedTuple):
    messages: list[Message]
    tools: list[dict[str, Any]]  # the functions that the assistant may call, as chat templates take them


def of_row(row: Mapping[str, Any]) -> Chat | None:
    """The whole conversation of a row; None for a plain text, or a plain completion of a plain prompt. Raises Unclear."""
    system, prompt, completion, text = (str(row.get(name) or "") for name in ("system", "prompt", "completion", "text"))
    before = asked = said = None
    if (history := str(row.get("history") or "").strip()) not in NOTHING:
        before = _cell("history", history)
    if completion.strip():
        asked, said = _cell("prompt", prompt), _cell("completion", completion)
    else:
        said = _cell("text", text)
    tools = _tools(str(row.get("tools") or ""))
    if not (before or asked or said or (completion.strip() and (system.strip() or tools))):
        return None
    if completion.strip():
        asked = [_unlearnt(m) for m in asked] if asked else [{"role": "user", "content": prompt}] if prompt.strip() else []
        said = said or [{"role": "assistant", "content": completion}]
        repeated = bool(asked) and [(m["role"], m["content"]) for m in said[: len(asked)]] == [(m["role"], m["content"]) for m in asked]
        said = said[len(asked) :] if repeated else said
    elif not said:
        raise _of("text", Unclear(_("There are earlier turns, but no chat that they belong to.")))
    return Chat(_with_system([*(before or []), *(asked or []), *said], system), tools)


def kept(row: Mapping[str, Any]) -> dict[str, Any]:
    """The row as a version keeps it: every chat that `of_row` reads in OpenAI's layout, and a single question or answer as the text
    that it is. What is not read stays as it came."""
    found = dict(row)
    cells = {name: str(row.get(name) or "") for name in ("prompt", "completion", "text", "history")}
    is_text = bool(cells["text"].strip()) and not cells["completion"].strip()  # then the prompt is not read
    for name in ("text", "history") if is_text else ("prompt", "completion", "history"):
        if cells[name].strip() not in NOTHING and (messages := _cell(name, cells[name])):
            found[name] = _dumped(messages)
    asked, said = (None if is_text else _cell(name, cells[name]) for name in ("prompt", "completion"))
    if said:
        before = asked or [{"role": "user", "content": str(row.get("prompt") or "")}]
        if [(m["role"], m["content"]) for m in said[: len(before)]] == [(m["role"], m["content"]) for m in before]:
            found["completion"] = _dumped(said := said[len(before) :])
    for name, messages, role in (("prompt", asked, "user"), ("completion", said, "assistant")):
        if messages and len(messages) == 1 and messages[0].keys() == {"role", "content"} and messages[0]["role"] == role:
            alone = messages[0]["content"]
            found[name] = alone if not is_record(alone) else found[name]
    if tools := _tools(str(row.get("tools") or "")):
        found["tools"] = _dumped(tools)
    return found


def is_learnt(message: Message) -> bool:
    """Whether an answer is there to be learnt. Silence never is, and neither is a call in words of our own."""
    return message["role"] == "assistant" and message.get("weight") != 0 and bool(message["content"].strip() or message.get("tool_calls"))


def is_record(text: str) -> bool:
    """Whether the text is JSON, or what Python prints of a list or record."""
    try:
        return _value(text, is_answer=True) is not None
    except Unclear:
        return True


def takes_turns(text: str) -> bool:
    """Whether the cell is a dialogue that does not say who speaks."""
    return text.lstrip()[:1] == "[" and is_unsigned(_value(text))


def messages_of(text: str, is_answer: bool = False) -> list[Message] | None:
    """The messages of a cell; None where it is a text. A prompt or a completion (`is_answer`) may be other JSON, which is a text
    too; of a whole text that is not understood. Raises Unclear."""
    value = _value(text, is_answer)
    if value is None and not is_answer and text.strip() in ("[]", "{}"):
        raise Unclear(_("It is an empty list."))
    if value is None or (is_answer and not _is_chat(value)):
        return None
    return list(_messages(value))


# --- cells ------------------------------------------------------------------------------------------------------------------
def _cell(role: str, text: str) -> list[Message] | None:
    try:
        if role == "history" and isinstance(value := _value(text), list) and all(_is_pair(item) for item in value):
            return [m for asked, said in value for m in ({"role": "user", "content": asked}, {"role": "assistant", "content": said})]
        return messages_of(text, role in ("prompt", "completion"))
    except Unclear as error:
        raise _of(role, error) from None


def _of(role: str, error: Unclear) -> Unclear:
    error.role = role
    return error


def _is_pair(item: Any) -> bool:
    return isinstance(item, list) and len(item) == 2 and all(isinstance(each, str) for each in item)


def _tools(text: str) -> list[dict[str, Any]]:
    if not text.strip():
        return []
    try:
        value = _value(text)
        value = [value] if isinstance(value, dict) else value or []
        if not value and text.strip() not in NOTHING:
            raise Unclear(_("The tools are no JSON list of functions."))
        return [_tool(each) for each in value]
    except Unclear as error:
        raise _of("tools", error) from None


def _tool(given: Any) -> dict[str, Any]:
    if isinstance(given, dict) and isinstance(given.get("function"), dict):
        return {**given, "type": "function"}
    if isinstance(given, dict) and isinstance(given.get("name"), str):
        return {"type": "function", "function": given}
    raise Unclear(_("A tool has no name."))


def _value(text: str, is_answer: bool = False) -> Any | None:
    """The list or record that a cell is written as; None for a text. A question or an answer may hold a piece of a chat, as code does."""
    bare = text.strip()
    if bare[:1] in "[{" and bare[-1:] in "]}" and bare:
        try:
            value = _parsed(bare)
        except (ValueError, SyntaxError, TypeError):
            value = None
        except (RecursionError, MemoryError):
            raise Unclear(_("The cell is nested too deep to be read.")) from None
        if isinstance(value, dict) and value:
            return value
        if isinstance(value, list) and any(isinstance(item, dict | list | str) for item in value):
            return value
    elif bare[:3] in ('"[{', '"{\\', "'[{") and bare[-1:] == bare[:1]:
        try:
            inner = json.loads(bare) if bare[0] == '"' else ast.literal_eval(bare)
        except (ValueError, SyntaxError, RecursionError, MemoryError):
            inner = ""
        if isinstance(inner, str) and inner != text and (value := _value(inner)) is not None:
            return value
    is_quoted = is_answer and not BEGINS.match(bare) and bare.count("[") >= bare.count("]")  # the end of a chat closes more than it opens
    if not is_quoted and _is_broken(bare):
        raise Unclear(_("It looks like a chat, but can be read neither as JSON nor as a list of Python. Export it again."))
    return None


def _is_broken(text: str) -> bool:
    """Whether this is left of a chat that can no longer be read: its beginning or its end, or two messages beside each other."""
    opens, closes = text.lstrip("'\" \n"), text.rstrip("'\" \n")
    is_list = (opens[:1] == "[" and opens[1:].lstrip()[:1] == "{") or (closes[-1:] == "]" and closes[:-1].rstrip()[-1:] == "}")
    return bool(SPEAKS.search(text[:OPENING]) or BESIDE.search(text) or (is_list and KEY.search(text)))


def _parsed(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        if "'" not in text and "None" not in text and "True" not in text and "False" not in text:
            raise
    lists = re.sub(r"\}[ \t]*\n\s*\{", "}, {", text)  # NumPy prints no commas; within a text Python writes \n, never a line break
    return json.loads(json.dumps(ast.literal_eval(lists)))  # tuples become lists; what JSON has no word for raises TypeError


# --- layouts ----------------------------------------------------------------------------------------------------------------
def _named(record: dict[str, Any]) -> Named:
    return {str(key).strip().lower(): value for key, value in record.items()}


def is_unsigned(value: Any) -> bool:
    """A dialogue of which only the texts were kept: people take turns, the user begins. Whoever brought it should confirm that."""
    return isinstance(value, list) and len(value) > 1 and all(isinstance(item, str) for item in value)


def _is_chat(value: Any) -> bool:
    """Messages with speakers, alone or as part of a record; a list of other things is not taken for a chat, nor a letter from
    Berlin to Paris."""
    if isinstance(value, dict):
        named = _named(value)
        within = any(_is_chat(named[key]) for key in LISTS if isinstance(named.get(key), list))
        return within or (_is_message(named) and _role(named) is not None and named.keys() <= KEYS)
    messages = [named for item in value if isinstance(item, dict) and _is_message(named := _named(item))]
    return any(_role(named) is not None for named in messages)


def _is_message(named: Named) -> bool:
    return any(key in named for key in SPEAKER) and any(key in named for key in (*SAID, "tool_calls", "function_call"))


def _speaker(named: Named) -> Any:
    """Whoever speaks, in the words of the record; None where it does not say."""
    speaker = next((named[key] for key in SPEAKER if key in named), None)
    if speaker is None and str(named.get("type")).lower() in ROLES:  # LangChain
        speaker = named["type"]
    return speaker.get("role") if isinstance(speaker, dict) else speaker  # {"author": {"role": "user"}}


def _role(named: Named) -> str | None:
    """One of ROLES; None where nobody known speaks."""
    return ROLES.get(re.sub(r"[\s_\-]+", "_", str(_speaker(named)).strip(" \t\n:").lower()))


def _messages(value: Any) -> Iterator[Message]:
    if isinstance(value, dict):
        named = _named(value)
        lists = [key for key in LISTS if isinstance(named.get(key), list)]
        if len(lists) == 1:
            yield from _with_system(list(_messages(named[lists[0]])), _text(named.get("system") or "", "system"))
            return
        if _is_message(named) and not any(isinstance(named.get(key), list) for key in SPEAKER):
            value = [value]
        elif len({len(v) for v in value.values() if isinstance(v, list)}) == 1 and all(isinstance(v, list) for v in value.values()):
            value = [dict(zip(value, cells, strict=True)) for cells in zip(*value.values(), strict=True)]  # columns beside each other
        else:
            raise Unclear(_("It is JSON, but no chat: no message has a role."))
    if is_unsigned(value):
        value = [{"role": ("user", "assistant")[number % 2], "content": said} for number, said in enumerate(value)]
    if not all(isinstance(item, dict) for item in value):
        raise Unclear(_("It is a list, but no chat: nothing says who speaks."))
    for number, item in enumerate(value, 1):
        yield from _message(_named(item), number)


def _message(named: Named, number: int) -> Iterator[Message]:
    """The messages of one turn; mostly it is one."""
    speaker, role = _speaker(named), _role(named)
    if speaker is None:
        yield from _turn(named, number)
        return
    if role is None:
        told = f"“{str(speaker)[:40]}”"
        raise Unclear(f"Message {number} has the role {told}, which is not known. Known are system, user, assistant and tool.")
    weight = _weight(named)
    more = {key: named[key] for key in KEPT if isinstance(named.get(key), str)}
    content = next((named[key] for key in SAID if key in named), None)
    calls = _calls(named.get("tool_calls") or ([named["function_call"]] if named.get("function_call") else []), number)
    if role == CALL:
        calls = _calls_in(content)
        content, role = "" if calls else content, "assistant"
        weight = weight if calls else {"weight": 0}  # a call in words of its own is read only
    if isinstance(content, list):  # the parts of a message may hold calls and their results
        parts = [part for part in content if isinstance(part, dict)]
        calls += _calls(
            [{"id": p.get("id"), "name": p.get("name"), "arguments": p.get("input")} for p in parts if p.get("type") == "tool_use"], number
        )
        for part in parts:
            if part.get("type") == "tool_result":
                yield {"role": "tool", "content": _text(part.get("content"), "tool")}
        content = [p for p in content if not (isinstance(p, dict) and p.get("type") in ("tool_use", "tool_result"))]
        if not content and not calls and parts:
            return
    yield {"role": role, "content": _text(content, role, number), **({"tool_calls": calls} if calls else {}), **more, **weight}


def _turn(named: Named, number: int) -> Iterator[Message]:
    """A turn of question and answer: {"system", "input", "output"}, {"human", "assistant"} and the like."""
    said: dict[str, list[str]] = {"system": [], "user": [], "assistant": []}
    for key, role in TURN.items():
        if key in named:
            said[role].append(_text(named[key], role, number))
    if not any(said.values()):
        raise Unclear(f"Message {number} does not say who speaks.")
    for role, texts in said.items():
        if content := "\n\n".join(filter(str.strip, texts)):
            yield {"role": role, "content": content, **(_weight(named) if role == "assistant" else {})}


def _weight(named: Named) -> dict[str, int]:
    off = any(key in named and named[key] in (0, False, "0", "false", "False") for key in LEARNT)
    return {"weight": 0} if off else {}


def _unlearnt(message: Message) -> Message:
    return {**message, "weight": 0} if message["role"] == "assistant" else message


def _text(content: Any, role: str, number: int = 1) -> str:
    """What a message says. What a tool gave back is data and may be anything."""
    if content is None:
        return ""
    if isinstance(content, str):
        return content
    if isinstance(content, int | float):
        return json.dumps(content)
    if isinstance(content, dict) and isinstance(content.get("parts"), list):
        content = content["parts"]
    parts = content if isinstance(content, list) else [content]
    if all(isinstance(part, str) or _part(part) is not None for part in parts):
        return "\n".join(part if isinstance(part, str) else str(_part(part)) for part in parts)
    if role == "tool":
        return json.dumps(content, ensure_ascii=False)
    kind = next((str(p.get("type")) for p in parts if isinstance(p, dict) and p.get("type") and _part(p) is None), "")
    if kind:
        raise Unclear(f"Message {number} has a part of the kind “{kind[:40]}”; only text can be learnt.")
    raise Unclear(f"What message {number} says is no text.")


def _part(part: Any) -> str | None:
    """The text of one part of a message."""
    if not isinstance(part, dict) or part.get("type", "text") not in ("text", "input_text", "output_text", "refusal"):
        return None
    text = next((part[key] for key in ("text", "content", "value", "refusal") if key in part), None)
    if isinstance(text, dict):
        text = text.get("value")
    return text if isinstance(text, str) else None


# --- functions that are called ----------------------------------------------------------------------------------------------
def _calls(given: Any, number: int) -> list[dict[str, Any]]:
    if isinstance(given, str):  # sets on the hub write them as JSON
        given = _value(given) or given
    calls = [_call(each) for each in (given if isinstance(given, list) else [given])]
    if None in calls:
        raise Unclear(f"Message {number} calls a function that has no name.")
    return [call for call in calls if call]


def _call(given: Any) -> dict[str, Any] | None:
    """A call as chat templates take it, with its arguments as a record."""
    if not isinstance(given, dict):
        return None
    function = given["function"] if isinstance(given.get("function"), dict) else given
    if not isinstance(function.get("name"), str) or not function["name"].strip():
        return None
    arguments = function.get("arguments", function.get("parameters", {}))
    if isinstance(arguments, str):
        with contextlib.suppress(ValueError, RecursionError):
            arguments = json.loads(arguments or "{}")
    call = {"type": "function", "function": {"name": function["name"], "arguments": arguments or {}}}
    return {"id": str(given["id"]), **call} if given.get("id") else call


def _calls_in(content: Any) -> list[dict[str, Any]]:
    """ShareGPT writes calls as JSON where others write texts; [] where they are words."""
    value = content
    if isinstance(content, str):
        try:
            value = _value(content)
        except Unclear:
            value = None
    calls = [_call(each) for each in (value if isinstance(value, list) else [value])]
    return [call for call in calls if call] if None not in calls else []


# --- small things -----------------------------------------------------------------------------------------------------------
def _with_system(messages: list[Message], system: str) -> list[Message]:
    """What a column or a field says to all of the conversation goes first; twice the same is said once."""
    if not system.strip():
        return messages
    if messages and messages[0]["role"] == "system":
        own = messages[0]["content"]
        both = own if system.strip() in own else f"{system}\n\n{own}" if own.strip() else system
        return [{**messages[0], "content": both}, *messages[1:]]
    return [{"role": "system", "content": system}, *messages]


def _dumped(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))
