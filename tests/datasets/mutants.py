"""Damaged and recombined files of every kind through the readers, in a process of its own with the limits of the reading child.

python -m tests.datasets.mutants COUNT SEED        one line of JSON for each mutant that misbehaves, then the totals
"""

import ast
import bz2
import contextlib
import gzip
import io
import json
import lzma
import random
import resource
import signal
import sys
import tempfile
import time
import zipfile
from collections import Counter
from pathlib import Path

import polars as pl
import zstandard

from tests.datasets.conftest import CASES
from tests.datasets.files import as_tar, book_of, csv_text, reading, reviews, zip_with
from webapp.datasets.reading import Limits, ReadingError
from worker.nlp import KINDS, TASKS

ROWS = reviews(30, ("negative", "positive"))
PIECES = [b'"', b'""', b",", b"\n", b"\r\n", b"\0", b"\xff", b"\xef\xbb\xbf", b"\t", b"{", b"[", b"]", b"\\", b"\\N", b"\x1f\x8b", b"PK\x03\x04", b"a" * 300,
          b"<", b"</tu>", b"&x;", b"<table>", b"|---|", b"\xe2\x80\x9c", b"version https://git-lfs.github.com/spec/v1\n"]  # fmt: skip
CPU_S = 20  # of one mutant, all of them being small
LARGEST = 64 * 1024  # bytes of a file that is taken from the shared cases


def chat(n):
    return [{"role": "user", "content": f"Question {n}?"}, {"role": "assistant", "content": f"Answer number {n}."}]


def packed(members):
    data = io.BytesIO()
    zip_with(data, members)
    return data.getvalue()


def seeds():
    """{name: content} of files of all kinds."""
    text = csv_text(ROWS)
    objects = [{"text": t, "label": label} for t, label in ROWS]
    lines = "".join(json.dumps(each) + "\n" for each in objects)
    pairs = [(f"I see house number {n}.", f"Ich sehe Haus Nummer {n}.") for n in range(30)]
    units = "".join(f"<tu><tuv xml:lang='en'><seg>{a}</seg></tuv><tuv xml:lang='de'><seg>{b}</seg></tuv></tu>" for a, b in pairs)
    cells = "".join(f"<tr><td>{t}<td>{label}" for t, label in ROWS)
    parquet, nested = io.BytesIO(), io.BytesIO()
    pl.DataFrame(ROWS, schema=["text", "label"], orient="row").write_parquet(parquet)
    pl.DataFrame({"messages": [chat(n) for n in range(30)], "raw": [b"x", b"\xff", b"y"] * 10}).write_parquet(nested)
    with tempfile.TemporaryDirectory() as folder:
        book = Path(folder) / "b.xlsx"
        book_of(book, {"May": [("text", "label"), *ROWS[:15]], "June": [("text", "label"), *ROWS[15:]]})
        workbook = book.read_bytes()
    folders = {f"top/{part}/{label}/{n}.txt": f"text {n}" for n in range(12) for part in ("train", "test") for label in ("pos", "neg")}
    parts = {"data/train.csv": text, "data/dev.jsonl": lines, "data/test.parquet": parquet.getvalue(), "README.md": "about"}
    moses = {"c.en-de.en": "\n".join(a for a, _ in pairs), "c.en-de.de": "\n".join(b for _, b in pairs)}
    made = {
        "rows.csv": text,
        "wide.csv": text.encode("utf-16"),
        "rows.tsv": text.replace('",', '"\t').replace("text,", "text\t"),
        "r.txt": '"text" "label"\n' + "".join(f'"{n}" "{t}" "{label}"\n' for n, (t, label) in enumerate(ROWS, 1)),
        "mysql.csv": "text,label\n" + "".join(f'"a \\"good\\" one, {n}",{label}\n' for n, (_, label) in enumerate(ROWS)),
        "blanks.csv": "text, label\n" + "".join(f'"{t}", "{label}"\n' for t, label in ROWS),
        "curly.csv": "“text”,“label”\n" + "".join(f"“{t}”,“{label}”\n" for t, label in ROWS),
        "table.md": "| text | label |\n|---|---|\n" + "".join(f"| {t} | {label} |\n" for t, label in ROWS),
        "sep.csv": "sep=;\n" + text.replace('",', '";').replace("text,", "text;"),
        "rows.jsonl": lines,
        "rows.json": json.dumps(objects),
        "chats.jsonl": "".join(json.dumps({"messages": chat(n)}) + "\n" for n in range(30)),
        "chats.csv": "text,label\n" + "".join(f'"{json.dumps(chat(n))}",x\n'.replace('"', '""')[1:] for n in range(30)),
        "lists.jsonl": "".join(json.dumps({"text": t, "label": [label, "other"]}) + "\n" for t, label in ROWS),
        "rows.parquet": parquet.getvalue(),
        "nested.parquet": nested.getvalue(),
        "rows.xlsx": workbook,
        "page.html": f"<html><head><meta charset='utf-8'></head><table><tr><th>text<th>label{cells}</table></html>",
        "memory.tmx": f"<?xml version='1.0'?><tmx version='1.4'><header srclang='en'/><body>{units}</body></tmx>",
        "parts.zip": packed(parts),
        "parts.tar": as_tar(parts),
        "folders.zip": packed(folders),
        "moses.tar.gz": gzip.compress(as_tar(moses)),
        "rows.csv.bz2": bz2.compress(text.encode()),
        "rows.csv.xz": lzma.compress(text.encode()),
        "rows.csv.zst": zstandard.compress(text.encode()),
        "book.zip": packed({"train.xlsx": workbook, "test.csv": text}),
        "text.docx": packed({"word/document.xml": "<w:document/>", "[Content_Types].xml": "<Types/>"}),
    }  # fmt: skip
    found = {name: content.encode() if isinstance(content, str) else content for name, content in made.items()}
    if CASES.is_dir():
        found |= {
            f"{p.parent.name}-{p.name}": p.read_bytes() for p in sorted(CASES.glob("*/*")) if p.is_file() and p.stat().st_size <= LARGEST
        }
    return found


# --- Mutants --------------------------------------------------------------------------------------------------------------
def mutant(all_seeds, chance):
    """(name, content, what was done): a file of one kind, changed one to four times."""
    name = chance.choice(sorted(all_seeds))
    data, done = all_seeds[name], []
    for _ in range(chance.randint(1, 4)):
        way = chance.choice([flipped, cut, pieced, spliced, doubled, members_changed])
        data = way(data, chance, all_seeds)
        done.append(way.__name__)
    return name, data, done


def flipped(data, chance, _seeds):
    out = bytearray(data)
    for _ in range(min(len(out), chance.randint(1, 20))):
        out[chance.randrange(len(out))] ^= 1 << chance.randrange(8)
    return bytes(out)


def cut(data, chance, _seeds):
    first, last = sorted(chance.randint(0, len(data)) for _ in range(2))
    return chance.choice([data[:last], data[first:], data[:first] + data[last:]])


def pieced(data, chance, _seeds):
    for _ in range(chance.randint(1, 5)):
        at = chance.randint(0, len(data))
        data = data[:at] + chance.choice(PIECES) + data[at + chance.randint(0, 40) :]
    return data


def spliced(data, chance, seeds):
    other = seeds[chance.choice(sorted(seeds))]
    first, last = sorted(chance.randint(0, len(other)) for _ in range(2))
    at = chance.randint(0, len(data))
    return data[:at] + other[first:last] + data[at + chance.choice([0, last - first]) :]


def doubled(data, chance, _seeds):
    first, last = sorted(chance.randint(0, len(data)) for _ in range(2))
    return data[:last] + data[first:last] * chance.randint(1, 3) + data[last:]


def members_changed(data, chance, seeds):
    """A zip whose members changed places, names or contents, with sums that are right again; flipped where it is no zip."""
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            members = [(name, archive.read(name)) for name in archive.namelist()]
    except Exception:  # whatever the library says about what the changes before left
        members = []
    if not members:
        return flipped(data, chance, seeds)
    names, contents = [list(side) for side in zip(*members, strict=True)]
    at, other = chance.randrange(len(members)), chance.randrange(len(members))
    kind = chance.randrange(4)
    if kind == 0:
        contents[at], contents[other] = contents[other], contents[at]
    elif kind == 1:
        contents[at] = chance.choice([flipped, cut, pieced])(contents[at], chance, seeds)
    elif kind == 2:
        contents[at] = seeds[chance.choice(sorted(seeds))]
    else:
        names[at] = chance.choice(
            ["../" + names[at], "/" + names[at], "train.en", "train.de", "x/y", names[at] + ".gz", "train-00000-of-00002.csv"]
        )
    return packed(dict(zip(names, contents, strict=True)))


# --- What becomes of them ---------------------------------------------------------------------------------------------------
class Hang(BaseException):
    """More time than any file of this size may take."""


def look(name, data, task, folder):
    """What became of it: "ready", "asked" or "refused". Raises AssertionError for what must not be."""
    path, out = folder / name, folder / "out"
    path.write_bytes(data)
    try:
        report = reading(path, out, task=task)
    except ReadingError as error:
        told, report = error, {}
    finally:
        path.unlink()
    assert not list(out.glob("plain*")), "left something unpacked behind"
    if not report:
        assert len(told.message) > 10, f"says nothing: {told.code}"
        return "refused"
    assert report["rows"] == report["rows_read"] + report["rows_rejected"] + report["rows_blank"], "rows do not add up"
    frames = [pl.read_parquet(file["staged"]) for file in report["files"]]
    assert sum(frame.height for frame in frames) == report["rows_read"], "staged rows do not add up"
    assert not any(sum(frame.null_count().row(0)) for frame in frames), "nulls were staged"
    if report["plain"]:
        learnt_as_text(report, frames)
    return "ready" if report["plain"] else "asked"


def learnt_as_text(report, frames):
    for role in KINDS[report["task"]].roles:
        column = report["mapping"].get(role.name)
        if column and not role.takes_records:
            for frame in frames:
                records = [cell for cell in frame[column] if is_record(cell)]
                assert not records, f"ready with a list or chat as {role.name}: {records[0][:80]}"


def is_record(cell):
    """Whether it is a list or an object in JSON's or Python's notation."""
    if cell[:1] not in ("[", "{") or len(cell) < 3:
        return False
    for known in (json.loads, ast.literal_eval):
        with contextlib.suppress(ValueError, SyntaxError, RecursionError, MemoryError):
            return isinstance(known(cell), list | dict)
    return False


def main(count, seed):
    limits, files, totals, slowest = Limits(), seeds(), Counter(), (0.0, "")
    resource.setrlimit(resource.RLIMIT_DATA, (limits.memory, limits.memory))

    def late(*_):
        raise Hang

    signal.signal(signal.SIGPROF, late)
    with tempfile.TemporaryDirectory() as folder:
        for number in range(count):
            chance = random.Random(f"{seed}.{number}")
            name, data, done = mutant(files, chance)
            task = chance.choice(["", *TASKS])
            began = time.process_time()
            print(f"{number} {name}", file=sys.stderr, flush=True)  # the last line names the one that a crash is due to
            signal.setitimer(signal.ITIMER_PROF, CPU_S)
            try:
                totals[look(name, data, task, Path(folder))] += 1
            except (Exception, Hang) as error:
                totals["wrong"] += 1
                told = {
                    "mutant": f"{seed}.{number}",
                    "file": name,
                    "task": task,
                    "done": done,
                    "error": f"{type(error).__name__}: {error}"[:400],
                }
                print(json.dumps(told), flush=True)
            finally:
                signal.setitimer(signal.ITIMER_PROF, 0)
            slowest = max(slowest, (time.process_time() - began, f"{seed}.{number} {name}"))
            if number % 500 == 499:
                print(f"{number + 1}: {dict(totals)}", file=sys.stderr, flush=True)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
    print(
        json.dumps(
            {"mutants": count, **totals, "peak_mb": peak, "slowest_s": round(slowest[0], 2), "slowest": slowest[1], "files": len(files)}
        )
    )


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]))
