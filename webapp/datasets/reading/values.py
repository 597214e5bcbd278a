"""Values written down as JSON, as JSON that only nearly is, or as Python's own notation; and values as text again."""

from __future__ import annotations

import ast
import json
import re
from typing import Any

import numpy as np

from webapp.datasets.reading import MIB

STRING = re.compile(rb'"[^"\\]*+(?:\\.[^"\\]*+)*+"?', re.DOTALL)
LOOSE_COMMA = re.compile(rb'("[^"\\]*+(?:\\.[^"\\]*+)*+"?)|,(?=\s*[\]}])', re.DOTALL)
TOO_MANY = re.compile(rb",\s*[\]}]")
COMMENT = re.compile(r"//|/\*|#")
DEPTH = 8  # of lists and objects in a cell
PYTHON = 8 * MIB  # bytes of Python's notation, whose tree takes a hundred times its size
TEXT = re.compile(rb"""'[^'\\]*+(?:\\.[^'\\]*+)*+'?|"[^"\\]*+(?:\\.[^"\\]*+)*+"?""", re.DOTALL)
JOINED = re.compile(r"""['"]\s+[bBuUrR]{0,2}['"]""")  # numpy writes ['a' 'b'], which Python would take for one text
TOKEN = re.compile(
    r"""(?P<text>[bBuUrR]{0,2}(?:'[^'\\]*+(?:\\.[^'\\]*+)*+'|"[^"\\]*+(?:\\.[^"\\]*+)*+"))"""
    r"""|(?P<array>\barray\()|(?P<dtype>,\s*dtype=[\w.<>'"]+\s*\))|(?P<number>[-+]?\d[\d_.]*(?:[eE][-+]?\d+)?)"""
    r"|(?P<word>[-+]?[A-Za-z_][\w.]*)|(?P<blank>\s+)|(?P<sign>[\[\](){},:])",
    re.DOTALL,
)
ENDS, OPENING = {"text", "number", "word", "end", "]", "}"}, {"[", "{"}
WORDS = {"nan": "None", "NaN": "None", "inf": "None", "null": "None", "true": "True", "false": "False", "NaT": "None", "NA": "None"}


def parse(text: bytes | str, depth: int) -> Any:
    """The value of a JSON text. NaN and Infinity, which JSON does not know, are nothing; a comma too many is passed over.

    Raises ValueError with a short reason for what is no JSON, or too deep.
    """
    data = text if isinstance(text, bytes) else text.encode("utf-8", "replace")
    if depth_of(data) > depth:
        raise ValueError(f"it is nested more than {depth} levels deep")
    try:
        return json.loads(data, parse_constant=lambda _: None)
    except RecursionError:
        raise ValueError("it is nested too deep") from None
    except json.JSONDecodeError as error:
        found = reason(error, data)
    if not TOO_MANY.search(data):
        raise ValueError(found)
    try:
        return json.loads(LOOSE_COMMA.sub(lambda m: m[1] or b"", data), parse_constant=lambda _: None)
    except (json.JSONDecodeError, RecursionError):
        raise ValueError(found) from None


def reason(error: json.JSONDecodeError, data: bytes) -> str:
    place = f"in column {error.colno}" if b"\n" not in data.strip() else f"in line {error.lineno}"
    if COMMENT.match(error.doc[error.pos :].lstrip()[:2]):
        return f"there is a comment {place}, which JSON does not know; take comments out"
    return f"{error.msg} {place}"


def depth_of(data: bytes, strings: re.Pattern[bytes] = STRING) -> int:
    """Levels of brackets outside strings."""
    if sum(data.count(sign) for sign in (b"[", b"{", b"(")) <= 8:
        return 8
    marks = np.frombuffer(strings.sub(b"", data), np.uint8)
    steps = np.isin(marks, (40, 91, 123)).astype(np.int8) - np.isin(marks, (41, 93, 125)).astype(np.int8)
    return int(np.cumsum(steps, dtype=np.int32).max(initial=0))


def one_after_another(text: str, depth: int) -> list[Any]:
    """The values of JSON texts that follow each other, with nothing or a comma in between. Raises ValueError."""
    if depth_of(text.encode("utf-8", "replace")) > depth:
        raise ValueError(f"it is nested more than {depth} levels deep")
    decoder, at, found = json.JSONDecoder(parse_constant=lambda _: None), 0, list[Any]()
    gap = re.compile(r"[\s,;\x1e\ufeff]*")
    while (at := gap.match(text, at).end()) < len(text):  # type: ignore[union-attr]
        try:
            value, at = decoder.raw_decode(text, at)
        except RecursionError:
            raise ValueError("it is nested too deep") from None
        found.append(value)
    return found


def python_value(text: str, depth: int) -> Any:
    """The value of Python's notation for it, numpy's arrays included. Nothing is run. Raises ValueError."""
    if len(text) > PYTHON:
        raise ValueError(f"it is Python's notation, of which at most {PYTHON // MIB} MB can be read; write it with json.dump")
    if depth_of(text.encode("utf-8", "replace"), TEXT) > depth:
        raise ValueError(f"it is nested more than {depth} levels deep")
    for rewrite in (str.strip, without_numpy) if not JOINED.search(text) else (without_numpy,):
        try:
            return plain(ast.literal_eval(rewrite(text)))
        except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
            continue
    raise ValueError("it is neither JSON nor Python's notation")


def without_numpy(text: str) -> str:
    """The same without what numpy and pandas put into Python's notation: array(..., dtype=...), nan, and blanks for commas."""
    kept, before, at, open_ = list[str](), "", 0, list[str]()
    while match := TOKEN.match(text, at):
        kind, piece, at = str(match.lastgroup), match[0], match.end()
        if kind == "array" or piece == "(":
            open_.append(kind)
        if (piece == ")" or kind == "dtype") and open_ and open_.pop() == "array":
            kind, piece = "end", ""
        if before in ENDS and kept[-1].isspace() and (kind in {"text", "number", "word", "array"} or piece in OPENING):
            kept.append(",")
        kept.append("" if kind == "array" else WORDS.get(piece.lstrip("+-"), piece))
        before = before if kind == "blank" else piece if kind == "sign" else kind
    if at < len(text):
        raise ValueError(f"unknown sign in character {at + 1}")
    return "".join(kept).strip()


def plain(value: Any) -> Any:
    """Tuples and sets as lists, names of keys as texts: what JSON could say."""
    if isinstance(value, dict):
        return {as_text(key): plain(item) for key, item in value.items()}
    if isinstance(value, set | frozenset):
        return [plain(item) for item in sorted(value, key=str)]
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else value


def opened(cell: str, depth: int = DEPTH) -> Any:
    """The list or object that a cell writes down, in JSON or in Python's notation; None for any other text."""
    bare = cell.strip()
    if len(bare) < 2 or (bare[0], bare[-1]) not in {("[", "]"), ("{", "}")}:
        return None
    for notation in (parse, python_value):
        try:
            value = notation(bare, depth)
        except ValueError:
            continue
        return value if isinstance(value, list | dict) else None
    return None


# --- As text ----------------------------------------------------------------------------------------------------------------
def as_text(cell: Any) -> str:
    if cell is None:
        return ""
    if isinstance(cell, str):
        return cell.replace("\0", "").encode("utf-8", "replace").decode()
    if isinstance(cell, bool):
        return "true" if cell else "false"
    if isinstance(cell, list | dict):
        return as_json(cell) if cell else ""
    return written(cell)


def as_json(cell: Any) -> str:
    return json.dumps(cell, ensure_ascii=False, separators=(",", ":"), default=written).encode("utf-8", "replace").decode()


def written(value: Any) -> str:
    """What only Parquet has inside a cell: dates and the like, and bytes, which are empty unless they are text."""
    if not isinstance(value, bytes):
        return str(value)
    try:
        return value.decode()
    except UnicodeDecodeError:
        return ""
