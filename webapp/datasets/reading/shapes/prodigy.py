"""What Prodigy's db-out writes: {"text", "label" or "accept": [..], "answer": "accept" | "reject" | "ignore", "_task_hash", ..}"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from webapp.datasets.reading.shapes import LeftOut, Record, Shape, dicts, only
from webapp.datasets.reading.shapes.tokens import is_spans
from webapp.datasets.reading.values import as_text

ANSWERS = {"accept", "reject", "ignore"}


class Prodigy(Shape):
    title = "a Prodigy export"

    def __init__(self, records: Sequence[Record] = ()) -> None:
        super().__init__(records)
        self.by_choice = any("options" in record or isinstance(record.get("accept"), list) for record in records)
        self.labels = ("accept",) if self.by_choice else ("label",)
        self.names = {record["label"] for record in records if isinstance(record.get("label"), str)}
        self.turned = 0  # rejected rows that became the other class
        self.spans = any(is_spans(record.get("spans")) for record in records)

    @staticmethod
    def fits(record: Record) -> bool:
        return as_text(record.get("answer")) in ANSWERS and (
            bool({"_input_hash", "_task_hash", "_view_id", "options"} & record.keys()) or isinstance(record.get("accept"), list)
        )

    def rows(self, record: Any) -> Iterator[Record]:
        """Rejected rows say what a text is not; where there is but one label, that is the other class."""
        if not isinstance(record, dict):
            raise LeftOut("it is no record of Prodigy")
        kept = {name: cell for name, cell in record.items() if not name.startswith("_") and name not in {"options", "tokens"}}
        answer = as_text(record.get("answer"))
        if answer == "reject" and not self.by_choice and not self.spans and self.names == {as_text(record.get("label"))}:
            self.turned += 1
            yield {**kept, "label": f"not {record['label']}"}
        elif answer != "accept":
            raise LeftOut(f'its answer is "{answer}"')
        elif self.by_choice:
            if not isinstance(chosen := record.get("accept"), list) or not chosen:
                raise LeftOut("none of the options was chosen")
            options = [(as_text(option.get("id")), option.get("text")) for option in dicts(record.get("options"))]
            names = {number: text for number, text in options if number.isdigit()}  # others are called as they should be
            yield {**kept, "accept": only([names.get(as_text(each)) or each for each in chosen])}
        else:
            yield kept

    def counted(self, name: str) -> Iterator[tuple[str, str, int]]:
        yield from super().counted(name)
        text = f'{name} asks about one label only: rejected rows became the class "not {next(iter(self.names), "")}": {self.turned:,}.'
        yield "rejected_class", text, self.turned
