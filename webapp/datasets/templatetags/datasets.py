"""How numbers and queries stand on the pages of datasets."""

import json
from typing import Any
from urllib.parse import parse_qsl

from django.template import Library

from worker.nlp import Task, chats
from worker.spec import Role

register = Library()
LONGEST_LIST = 200_000  # characters of a cell that is taken apart


@register.filter
def count(number: Any) -> str:
    """7988 is written 7,988."""
    return f"{number:,}" if isinstance(number, int) else f"{number:,.1f}" if isinstance(number, float) else ""


@register.filter
def pairs(values: dict[str, Any]) -> list[tuple[str, Any]]:
    """For names that people chose: `values.items` in a template would be the column called "items"."""
    return list(values.items())


@register.filter
def readable(value: Any) -> str:
    """A cell for people: a chat as lines, a list of texts as texts; all else as it is."""
    text = "" if value is None else str(value)
    if not text.startswith(("[", "{")) or len(text) > LONGEST_LIST:
        return text
    try:
        messages = None if chats.takes_turns(text) else chats.messages_of(text)  # who speaks in a bare list would be a guess
    except chats.Unclear:
        messages = None
    if messages is not None:
        return "\n".join(f"{message['role']}: {said(message)}" for message in messages)
    try:
        items = json.loads(text)
    except ValueError:
        return text
    return " · ".join(items) if isinstance(items, list) and all(isinstance(item, str) for item in items) else text


def said(message: chats.Message) -> str:
    """What a message says, and the functions that it calls."""
    calls = [
        f"{call['function']['name']}({json.dumps(call['function']['arguments'], ensure_ascii=False)})"
        for call in message.get("tool_calls", [])
    ]
    return " ".join(filter(None, [message["content"], *calls]))


@register.filter
def roles(task: Task) -> list[tuple[Role, bool]]:
    """Each role, and whether one can do without it. Where none is required, some of them together are, as `help` says."""
    some = any(role.required for role in task.roles)
    return [(role, some and not role.required) for role in task.roles]


@register.simple_tag
def with_query(query: Any, **changes: Any) -> str:
    """The page's query with changes; an empty value takes the filter away."""
    kept = query.without(*(name for name, value in changes.items() if value is None or value == ""))
    return str(type(query)(kept_pairs(kept)).with_(**{name: value for name, value in changes.items() if value not in (None, "")}))


def kept_pairs(query: str) -> dict[str, str]:
    return dict(parse_qsl(query.removeprefix("?"), keep_blank_values=True))
