"""Tags of words and spans of characters, which are named for what they are: there is no task for them yet."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from webapp.datasets.reading.shapes import Record, Shape
from webapp.datasets.reading.values import as_text

WORDS = ("tokens", "words")
PLACES = ({"start", "end"}, {"start_offset", "end_offset"}, {"start", "stop"}, {"begin", "end"})
KINDS = {"label", "labels", "entity", "entity_group", "type", "tag", "class", "entity_type", "ner"}


class Tags(Shape):
    """{"tokens": ["Ada", "wrote"], "ner_tags": [1, 0]}: the text is put together, the tags stay a list."""

    title = "words with a tag for each"
    spans = True

    @staticmethod
    def fits(record: Record) -> bool:
        return bool(tags_of(record))

    def rows(self, record: Any) -> Iterator[Record]:
        if not isinstance(record, dict) or not (words := words_of(record)):
            yield from super().rows(record)
            return
        name = next(name for name in WORDS if name in record)
        others = {key: cell for key, cell in record.items() if key != name}
        yield {"text": " ".join(words), name: words, **others} if "text" not in record else {**others, name: words}


def words_of(record: Record) -> list[str]:
    words: list[Any] = next((record[name] for name in WORDS if isinstance(record.get(name), list)), [])
    return [as_text(word.get("text")) if isinstance(word, dict) else as_text(word) for word in words]


def tags_of(record: Record) -> list[str]:
    """Columns with one tag for each word."""
    words = words_of(record)
    lists = {key: cell for key, cell in record.items() if key not in WORDS and isinstance(cell, list)}
    return [key for key, cell in lists.items() if words and len(cell) == len(words) and all(isinstance(tag, str | int) for tag in cell)]


class Spans(Shape):
    """{"text": "Ada wrote", "entities": [[0, 3, "PER"]]}, as doccano, spaCy and others have it."""

    title = "texts with labelled spans"
    spans = True

    @classmethod
    def of(cls, records: list[Any]) -> Spans | None:
        some = [record for record in records if isinstance(record, dict) and any(isinstance(cell, list | dict) for cell in record.values())]
        spanned = sum(map(has_spans, some))
        plain = sum(any(is_plain_list(cell) for cell in record.values()) for record in some)
        return cls() if spanned and spanned > plain else None


def is_plain_list(cell: Any) -> bool:
    return isinstance(cell, list) and bool(cell) and all(isinstance(each, str) for each in cell)


def has_spans(record: Record) -> bool:
    return any(is_spans(cell) or (isinstance(cell, dict) and any(map(is_spans, cell.values()))) for cell in record.values())


def is_spans(cell: Any) -> bool:
    return isinstance(cell, list) and bool(cell) and all(map(is_span, cell))


def is_span(span: Any) -> bool:
    """[start, end, label], or an object that has these by any of their usual names."""
    if isinstance(span, dict):
        return any(places <= span.keys() for places in PLACES) and bool(KINDS & span.keys())
    return isinstance(span, list) and len(span) == 3 and all(type(place) is int for place in span[:2]) and isinstance(span[2], str)
