"""Conversations as other programs lay them out: Gemini's contents, trees of replies, two answers of which people chose one."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from webapp.datasets.reading.shapes import LeftOut, Record, Shape, dicts, is_chat
from webapp.datasets.reading.values import as_text

SYSTEM = ("systemInstruction", "system_instruction")
SIDES = {"model_a": ("a", "b"), "a": ("a", "b"), "model_b": ("b", "a"), "b": ("b", "a")}
DEEPEST = 200  # messages in one branch of a tree


class Gemini(Shape):
    """{"systemInstruction": {"parts": [..]}, "contents": [{"role": "user" | "model", "parts": [{"text"}]}]}"""

    title = "chats in the layout of Gemini"

    @staticmethod
    def fits(record: Record) -> bool:
        contents = record.get("contents")
        return isinstance(contents, list) and bool(contents) and all(isinstance(c, dict) and "parts" in c for c in contents)

    def rows(self, record: Any) -> Iterator[Record]:
        if not isinstance(record, dict) or not self.fits(record):
            raise LeftOut("it has no contents")
        said = [message for content in record["contents"] for message in messages_of(content)]
        system = next((text for name in SYSTEM if (text := words_of(record.get(name)))), "")
        others = {name: cell for name, cell in record.items() if name not in {*SYSTEM, "contents"}}
        yield {"messages": [{"role": "system", "content": system}, *said] if system else said, **others}


def parts_of(content: Any) -> list[Any]:
    parts = content.get("parts") if isinstance(content, dict) else content
    return parts if isinstance(parts, list) else [parts] if parts else []


def words_of(content: Any) -> str:
    return "\n".join(as_text(part.get("text")) if isinstance(part, dict) else as_text(part) for part in parts_of(content))


def messages_of(content: Record) -> Iterator[Record]:
    """One content as messages of OpenAI: calls of functions, and what they gave back, are parts among others here."""
    role, said, calls = content.get("role") or "user", list[Any](), list[Record]()
    for part in parts_of(content):
        call, answer = ((part.get(name) if isinstance(part, dict) else None) for name in ("functionCall", "functionResponse"))
        if isinstance(call, dict):
            calls.append({"name": call.get("name"), "arguments": call.get("args") or {}})
        elif isinstance(answer, dict):
            yield {"role": "tool", "name": as_text(answer.get("name")), "content": answer.get("response")}
        elif not (isinstance(part, dict) and part.get("thought")):
            said.append(part)
    if said or calls:
        yield {"role": role, "content": said or None, **({"tool_calls": calls} if calls else {})}


class Tree(Shape):
    """OpenAssistant: {"prompt": {"text", "role", "replies": [{"text", "role", "rank", "replies"}]}}. The best reply goes on."""

    title = "trees of replies (OpenAssistant)"

    def __init__(self, records: Sequence[Record] = ()) -> None:
        super().__init__(records)
        self.passed_over = 0  # replies beside the ones that were taken

    @staticmethod
    def fits(record: Record) -> bool:
        prompt = record.get("prompt")
        return isinstance(prompt, dict) and isinstance(prompt.get("replies"), list) and "text" in prompt

    def rows(self, record: Any) -> Iterator[Record]:
        if not isinstance(record, dict) or not self.fits(record):
            raise LeftOut("it is no tree of replies")
        node, messages = record["prompt"], list[Record]()
        while node and len(messages) < DEEPEST:
            messages.append({"role": node.get("role") or ("assistant" if len(messages) % 2 else "user"), "content": node.get("text")})
            replies = [reply for reply in dicts(node.get("replies")) if not reply.get("deleted")]
            self.passed_over += max(0, len(replies) - 1)
            node = min(replies, key=rank_of, default=None)
        if len(messages) < 2:
            raise LeftOut("nobody has replied")
        yield {"messages": messages, **{name: cell for name, cell in record.items() if name != "prompt"}}

    def counted(self, name: str) -> Iterator[tuple[str, str, int]]:
        yield from super().counted(name)
        text = f"Of several replies the one that people ranked best was taken, else the first; others left out: {self.passed_over:,}."
        yield "other_replies", text, self.passed_over


def rank_of(reply: Record) -> float:
    rank = reply.get("rank")
    return float(rank) if isinstance(rank, int | float) else float("inf")


class Arena(Shape):
    """LMSYS: {"conversation_a": [..], "conversation_b": [..], "winner": "model_a" | "model_b" | "tie"}: what won and what lost."""

    title = "pairs of conversations of which people chose one"

    @staticmethod
    def fits(record: Record) -> bool:
        return "winner" in record and all(is_chat(record.get(f"conversation_{side}")) for side in "ab")

    def rows(self, record: Any) -> Iterator[Record]:
        if not isinstance(record, dict) or not self.fits(record):
            raise LeftOut("it is no pair of conversations")
        if (winner := as_text(record["winner"]).lower()) not in SIDES:
            raise LeftOut(f"neither conversation won ({winner[:40] or 'no winner'})")
        won, lost = SIDES[winner]
        others = {name: cell for name, cell in record.items() if not name.startswith("conversation_")}
        yield {"chosen": record[f"conversation_{won}"], "rejected": record[f"conversation_{lost}"], **others}
