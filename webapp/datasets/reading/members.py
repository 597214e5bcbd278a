"""What the files of an archive are to each other: parts, shards, sheets of one table, a folder for each class, two sides of a translation."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field

from webapp.datasets.reading import PARTS, ReadingError
from webapp.datasets.reading.columns import PART_NAMES
from webapp.datasets.reading.container import Member
from webapp.datasets.reading.roles import LANGUAGES
from webapp.datasets.reading.signs import FORMATS

TABLES = (*(".csv", ".tsv", ".tab", ".psv", ".txt", ".text", ".dat", ".data", ".json", ".jsonl", ".ndjson", ".parquet", ".pq"),
          *(".xlsx", ".xls", ".xlsm", ".xlsb", ".ods", ".md", ".tmx", ".htm", ".html", ".arrow", ".feather", ".orc", ".avro"))  # fmt: skip
PACKED = (".zip", ".tar", ".tgz", ".gz", ".bz2", ".xz", ".zst", ".7z", ".rar")
WRITTEN = (".txt", ".text", "")  # endings of files that hold one text
LAID_OUT = tuple(ending for ending in TABLES if ending not in WRITTEN)
BESIDE = re.compile(
    r"(readme|license|licence|copying|notice|authors|citation|changelog|changes|contributing|manifest|checksums?|version|sources?_?list)"
    r"\b[^/]*|(dataset_infos?|dataset_dict|state|datapackage|croissant|metadata|meta|schema|config|package|label2id|id2label)\.json"
    r"|_success|_metadata|_common_metadata|requirements\.txt|(labels|classes|label_names|vocab)\.(txt|names)",
    re.IGNORECASE,
)
NO_TABLES = (*(".py", ".ipynb", ".r", ".sh", ".bat", ".yaml", ".yml", ".toml", ".ini", ".cfg", ".lock", ".log", ".sha256", ".md5", ".crc"),
             *(".pdf", ".png", ".jpg", ".jpeg", ".gif", ".svg", ".css", ".js", ".url", ".bib", ".names", ".gitattributes"))  # fmt: skip
UNLABELLED = {"unsup", "unlabeled", "unlabelled", "unsupervised"}
SIDES = {"src": 0, "source": 0, "tgt": 1, "trg": 1, "target": 1}
MOST_CHOICES = 200
TONGUES = LANGUAGES | SIDES.keys() | {"no", "id"}
TONGUE = re.compile(r"(?:(.*?)[._-])?([a-z]{2,3}[_-][A-Z]{2,4}|[A-Za-z]{2,10})")


@dataclass(frozen=True)
class Pair:
    """Two files whose lines belong together."""

    part: str
    sides: tuple[Member, Member]
    columns: tuple[str, str]
    is_said: bool  # which is the source; else they stand in the archive's order


@dataclass
class Plan:
    """How the members are read: as tables or pairs, or all together as texts with their classes."""

    tables: list[tuple[str, Member]] = field(default_factory=list)  # with the part
    texts: list[tuple[str, str, Member]] = field(default_factory=list)  # with part and label
    pairs: list[Pair] = field(default_factory=list)
    beside: list[str] = field(default_factory=list)  # hold no rows
    unread: list[str] = field(default_factory=list)  # might hold some
    missing: str = ""  # a shard that the others count but that is not there
    choices: list[str] = field(default_factory=list)  # files of which one may be read instead


def plan(members: list[Member], wanted: str, name: str, most: int) -> Plan:
    """Raises ReadingError when nothing in the archive could hold rows."""
    if not members:
        raise ReadingError("nothing_inside", f"There is no file in {name} that could be read. Tunebench reads {FORMATS}.", file=name)
    data = [member for member in members if not holds_no_rows(member)]
    found = Plan(beside=[member.name for member in members if holds_no_rows(member)] if data else [])
    packed = [member for member in data if member.last.lower().endswith(PACKED)]
    data = [member for member in data if not member.last.lower().endswith(PACKED)] if data else members
    choices = sorted(member.name for member in data)[:MOST_CHOICES]
    if chosen := [member for member in members if member.name == wanted]:
        return Plan(tables=[("file", chosen[0])], choices=choices)
    if wanted:
        text = f"{name} has no file called {wanted[:200]}. There are: {', '.join(choices[:20])}."
        raise ReadingError("no_member", text, file=name)
    if packed and not data:
        text = f"{name} holds another archive, {packed[0].last}. Upload that one by itself, or its files packed once."
        raise ReadingError("nested", text, file=name)
    found.unread, found.choices = [member.name for member in packed], choices
    found.texts, rest = of_classes(data)
    if not found.texts:
        found.pairs, rest = of_pairs(data)
    if found.texts or found.pairs:
        found.unread += [member.name for member in rest if not member.last.endswith((".ids", ".xml"))]
        found.choices = found.unread if found.texts else choices
        return found
    tables = [member for member in data if member.last.lower().endswith(TABLES)] or data
    if len(tables) > most:
        text = f"{name} holds {len(tables):,} tables; at most {most:,} can be read. Join them into fewer files."
        raise ReadingError("too_many_members", text, file=name)
    parts = [part_of(member) for member in tables]
    found.tables = in_order([(part or "file", member) for part, member in zip(parts, tables, strict=True) if part or not any(parts)])
    read = {member.name for _, member in found.tables}
    found.unread += [member.name for member in data if member.name not in read]
    found.missing = missing_shard(member for _, member in found.tables)
    return found


def in_order(found: list[tuple[str, Member]]) -> list[tuple[str, Member]]:
    """By part, then by name with its numbers counted."""
    places = {part: place for place, part in enumerate(PARTS)}
    return sorted(
        found, key=lambda each: (places.get(each[0], 9), [int(p) if p.isdigit() else p for p in re.split(r"(\d+)", each[1].name)])
    )


def holds_no_rows(member: Member) -> bool:
    return bool(BESIDE.fullmatch(member.last)) or member.last.lower().endswith(NO_TABLES)


def stem_of(member: Member) -> str:
    """The name without what its ending says: "train" of "data/train.csv"."""
    ending = next((end for end in TABLES if member.last.lower().endswith(end)), "")
    return member.last[: len(member.last) - len(ending)]


def part_of(member: Member) -> str:
    """train, validation or test, as the name says or else the nearest folder; empty when neither does."""
    return next(filter(None, map(part_named, (stem_of(member), *reversed(member.folders)))), "")


def part_named(name: str) -> str:
    words = {re.sub(r"\d+$", "", word) for word in re.split(r"[\W_]+", name.lower())}
    parts = {PART_NAMES[word] for word in words & PART_NAMES.keys()}
    return parts.pop() if len(parts) == 1 else ""


def shard_of(member: Member) -> str:
    """The same for files that are one table in pieces: "train-00000-of-00002.parquet"."""
    return re.sub(r"\d+", "#", member.name)


def missing_shard(members: Iterable[Member]) -> str:
    there: dict[tuple[str, int], set[int]] = defaultdict(set)
    for member in members:
        if numbered := re.search(r"(\d{2,6})-of-(\d{2,6})", member.last):
            there[member.name[: -len(member.last)] + member.last[: numbered.start()], int(numbered[2])].add(int(numbered[1]))
    for (stem, total), has in there.items():
        if lacking := min(set(range(min(total, 10_000))) - has, default=None) if len(has) < total else None:
            return f"{stem}{lacking:05}-of-{total:05}"
    return ""


# --- A folder for each class ----------------------------------------------------------------------------------------------
def of_classes(data: list[Member]) -> tuple[list[tuple[str, str, Member]], list[Member]]:
    """(part, label, member) of each text, if these are texts in folders that are called as their classes; then the other files."""
    folders = [[folder for folder in member.folders if not part_named(folder)] if is_text(member) else [] for member in data]
    deep = [f for f in folders if f]
    shared = 0
    while deep and all(len(f) > shared for f in deep) and len({f[shared] for f in deep}) == 1:
        shared += 1
    labels = ["/".join(f[shared:]) for f in folders]
    texts = [(label, member) for label, member in zip(labels, data, strict=True) if label]
    named = sum(bool(part_named(stem_of(member))) for _, member in texts)
    classes = {label for label, _ in texts}
    if len(texts) < 0.9 * len(data) or len(classes) < 2 or len(texts) < 2 * len(classes) or named > len(texts) / 2:
        return [], data
    found = [(part_of_folders(m), "" if label.lower() in UNLABELLED else label, m) for label, m in texts]
    return found, [member for label, member in zip(labels, data, strict=True) if not label]


def is_text(member: Member) -> bool:
    ending = member.last[member.last.rfind(".") :].lower() if "." in member.last else ""
    return ending in WRITTEN or ending[1:].isdigit()


def part_of_folders(member: Member) -> str:
    return next(filter(None, map(part_named, reversed(member.folders))), "")


# --- Two sides of a translation -------------------------------------------------------------------------------------------
def of_pairs(data: list[Member]) -> tuple[list[Pair], list[Member]]:
    """train.en beside train.de, corpus.en-de.en beside corpus.en-de.de, source.txt beside target.txt; then the other files."""
    groups: dict[str, dict[str, Member]] = defaultdict(dict)
    for member in data:
        found = TONGUE.fullmatch(re.sub(r"\.(txt|text|tok|snt)$", "", member.last, flags=re.IGNORECASE))
        if found and is_tongue(found[2]) and not member.last.lower().endswith(LAID_OUT):
            groups["/".join((*member.folders, found[1] or ""))][found[2].lower()] = member
    pairs = [pair_of(sides) for sides in groups.values() if len(sides) == 2]
    if not pairs or len({pair.part for pair in pairs}) < len(pairs):
        return [], data
    taken = {member.name for pair in pairs for member in pair.sides}
    return pairs, [member for member in data if member.name not in taken]


def is_tongue(word: str) -> bool:
    return re.split(r"[_-]", word.lower())[0] in TONGUES


def pair_of(sides: dict[str, Member]) -> Pair:
    (one, first), (two, second) = sides.items()
    part = part_of(first) or "file"
    if one in SIDES or two in SIDES:
        turned = SIDES.get(one) == 1 or SIDES.get(two) == 0
        return Pair(part, (second, first) if turned else (first, second), ("source", "target"), True)
    a, b = re.escape(one), re.escape(two)
    between = r"(?:[-_.]|2|[-_]?to[-_]?)"
    if said := re.search(rf"(?<![a-z])(?:({a}){between}{b}|{b}{between}{a})(?![a-z])", first.name.lower()):
        return Pair(part, (first, second) if said[1] else (second, first), ("source", "target"), True)
    return Pair(part, (first, second), (one, two), False)
