"""A model card for people: its Markdown as blocks that a template draws, so that nothing of it is ever taken for markup."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from markdown_it import MarkdownIt
from markdown_it.tree import SyntaxTreeNode


@dataclass(frozen=True)
class Block:
    kind: str  # heading | paragraph | list | table | code
    text: str = ""
    rows: list[Any] = field(default_factory=list)  # of a list its items, of a table its rows, the head first


def blocks(card: str) -> list[Block]:
    return list(read(SyntaxTreeNode(MarkdownIt("commonmark", {"html": False}).enable("table").parse(without_head(card)))))


def without_head(card: str) -> str:
    """The YAML before a card says what the page says already: licence, languages."""
    if not card.startswith("---\n") or (end := card.find("\n---\n", 3)) < 0:
        return card
    return card[end + 5 :]


def read(tree: SyntaxTreeNode) -> Iterator[Block]:
    for node in tree.children:
        match node.type:
            case "heading" | "paragraph":
                yield Block(node.type, plain(node))
            case "bullet_list" | "ordered_list":
                yield Block("list", rows=[plain(item) for item in node.children])
            case "table":
                yield Block("table", rows=[[plain(cell) for cell in row.children] for part in node.children for row in part.children])
            case "fence" | "code_block":
                yield Block("code", node.content)
            case "blockquote":
                yield from read(node)


def plain(node: SyntaxTreeNode) -> str:
    """Its words; a picture is its description, a link its words."""
    if node.type in ("text", "code_inline", "html_inline", "fence", "code_block"):
        return node.content
    if node.type in ("softbreak", "hardbreak"):
        return " "
    return "".join(map(plain, node.children)) if node.children else node.content if node.type == "image" else ""
