"""Question answering as SQuAD has it, and as those have it who took it from there."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain, repeat
from typing import Any

from webapp.datasets.reading import Finding
from webapp.datasets.reading.layouts import as_record
from webapp.datasets.reading.shapes import LeftOut, Record, Shape, dicts
from webapp.datasets.reading.values import as_text, opened

UNKNOWN = "unknown"  # an answer of CoQA that the passage does not give
STARTS = ("answer_start", "start", "answer_starts", "starts", "span_start")


class Squad(Shape):
    title = "questions about passages (SQuAD)"

    @staticmethod
    def fits(record: Record) -> bool:
        return isinstance(record.get("qas"), list) or has_passages(record) or has_answers(record)

    def rows(self, record: Any) -> Iterator[Record]:
        """A row for each question, with its passage, the first answer that fits it, and all answers; no answer: empty."""
        if not isinstance(record, dict):
            return
        if has_passages(record):
            for paragraph in dicts(record["paragraphs"]):
                yield from questions_of(paragraph, {"title": record.get("title")})
        elif isinstance(record.get("qas"), list):
            yield from questions_of(record, {"title": record["title"]} if "title" in record else {})
        elif "answers" in record or has_answers(record):
            key = "answers" if "answers" in record else "answer"
            answers = [] if is_impossible(record) else record[key]
            others = {name: cell for name, cell in record.items() if name not in {key, "answer"} or (name == "answer" and bare(cell))}
            yield {**others, **answer_of(answers, passage_of(record))}
        else:
            yield as_record(record)


class Coqa(Shape):
    """{"story", "questions": [..], "answers": [..]}: a conversation about a passage, one question after the other."""

    title = "conversations about passages (CoQA)"

    @staticmethod
    def fits(record: Record) -> bool:
        asked = record.get("questions")
        if not isinstance(asked, list) or passage_of(record) is None:
            return False
        return len(asked) == len(list(answers_in_turn(record.get("answers")))) > 0

    def rows(self, record: Any) -> Iterator[Record]:
        if not isinstance(record, dict) or not self.fits(record):
            raise LeftOut("it has not an answer for each question")
        passage = passage_of(record)
        others = {name: record[name] for name in ("id", "source", "filename", "name") if name in record}
        for question, (said, span) in zip(record["questions"], answers_in_turn(record["answers"]), strict=True):
            asked = question.get("input_text") if isinstance(question, dict) else question
            literal = next((text for text in (said, span) if text and text in passage), "")
            yield {"context": passage, "question": asked, **answer_of([literal or said] if said != UNKNOWN else [], passage), **others}

    def findings(self, name: str) -> list[Finding]:
        text = f"The questions of {name} follow each other: one that only says “And then?” is learnt without the ones before it."
        return [*super().findings(name), Finding("follow_up_questions", text, asks="confirmation")]


def answers_in_turn(answers: Any) -> Iterator[tuple[str, str]]:
    """(the answer, the words of the passage that it rests on) for each question; lists may stand beside each other."""
    if isinstance(answers, dict):
        lists = {name: cells for name, cells in answers.items() if isinstance(cells, list)}
        answers = [dict(zip(lists, cells, strict=False)) for cells in zip(*lists.values(), strict=False)]
    for each in answers if isinstance(answers, list) else []:
        if isinstance(each, dict):
            yield as_text(each.get("input_text", each.get("text"))).strip(), as_text(each.get("span_text")).strip()
        else:
            yield as_text(each).strip(), ""


def has_passages(record: Record) -> bool:
    paragraphs = record.get("paragraphs")
    return isinstance(paragraphs, list) and (not paragraphs or any(isinstance(p, dict) and "qas" in p for p in paragraphs))


def questions_of(paragraph: Record, more: Record) -> Iterator[Record]:
    passage = passage_of(paragraph)
    for asked in dicts(paragraph.get("qas")):
        answers = [] if is_impossible(asked) else asked.get("answers", asked.get("answer"))
        yield {"context": passage, "question": asked.get("question"), **answer_of(answers, passage), "id": asked.get("id"), **more}


def passage_of(record: Record) -> Any:
    return next(
        (record[name] for name in ("context", "passage", "paragraph", "text", "document", "story") if isinstance(record.get(name), str)),
        None,
    )


def is_impossible(record: Record) -> bool:
    return as_text(record.get("is_impossible")).lower() in {"true", "1"}


def bare(cell: Any) -> bool:
    return not isinstance(cell, dict | list)


def has_answers(record: Record) -> bool:
    """Answers with their places, or a list of texts beside a question; in a cell also as text."""
    answers = record.get("answers", record.get("answer"))
    if isinstance(answers, str):
        answers = opened(answers)
    if isinstance(answers, dict):
        return "text" in answers and (any(name in answers for name in STARTS) or "question" in record)
    if not isinstance(answers, list) or "question" not in record or passage_of(record) is None:
        return False
    return all((isinstance(a, dict) and "text" in a) or isinstance(a, str) for a in answers)


def answer_of(answers: Any, passage: Any) -> Record:
    """One answer, the first that the passage holds, and the texts of all. Places that do not fit are searched for later on."""
    pairs = list(pairs_of(answers))
    passage = as_text(passage)
    fits = (
        next((pair for pair in pairs if is_at(pair, passage)), None)
        or next((pair for pair in pairs if pair[0].strip() and pair[0] in passage), None)
        or (pairs[0] if pairs else ("", ""))
    )
    return {"answer": fits[0], "start": fits[1], "answers": list(dict.fromkeys(text for text, _ in pairs if text.strip()))}


def is_at(pair: tuple[str, Any], passage: str) -> bool:
    text, start = pair
    return bool(text.strip()) and isinstance(start, int) and start >= 0 and passage[start : start + len(text)] == text


def pairs_of(answers: Any) -> Iterator[tuple[str, Any]]:
    """(text, start) of a list of objects, an object of lists, a single object, texts, or any of these as text in a cell."""
    if isinstance(answers, str):
        inside = opened(answers)
        answers = [answers] if inside is None and answers.strip() else inside
    if isinstance(answers, dict):
        start = next((answers[name] for name in STARTS if name in answers), None)
        texts = answers.get("text")
        starts = start if isinstance(start, list) else [start] * (len(texts) if isinstance(texts, list) else 1)
        for text, at in zip(texts if isinstance(texts, list) else [texts], chain(starts, repeat("")), strict=False):
            yield as_text(text), "" if at is None or as_text(text) == "" else at
        return
    for answer in answers if isinstance(answers, list) else []:
        if isinstance(answer, dict):
            at = next((answer[name] for name in STARTS if name in answer), "")
            yield as_text(answer.get("text")), "" if at is None else at
        elif answer is not None:
            yield as_text(answer), ""
