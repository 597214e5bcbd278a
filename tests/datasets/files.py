"""Files as people send them, good and hostile, made on the spot."""

import gzip
import io
import json
import struct
import tarfile
import zipfile
from dataclasses import asdict

import polars as pl

from webapp.datasets.reading import Limits
from webapp.datasets.reading.publish import publish
from webapp.datasets.reading.read import read

WORDS = [
    "the",
    "room",
    "was",
    "quiet",
    "and",
    "clean",
    "but",
    "breakfast",
    "came",
    "late",
    "so",
    "we",
    "left",
    "early",
    "and",
    "found",
    "a",
    "better",
    "place",
]


def reviews(rows=60, labels=("negative", "neutral", "positive")):
    """Different texts with labels in turn."""
    return [(f"{' '.join(WORDS[i % 7 : i % 7 + 8])}, visit {i * 7919 % 10007}", labels[i % len(labels)]) for i in range(rows)]


def csv_text(rows, header="text,label"):
    quoted = ('"' + text.replace('"', '""') + f'",{label}' for text, label in rows)
    return "\n".join(([header] if header else []) + list(quoted)) + "\n"


def reading(path, out, part="file", name=None, task="classification", **options):
    """What the child would answer, without the child: the same code, and JSON all the way."""
    files = [{"part": part, "name": name or path.name, "path": str(path)}] if not isinstance(path, dict) else []
    if isinstance(path, dict):
        files = [{"part": part, "name": p.name, "path": str(p)} for part, p in path.items()]
    job = {"files": files, "task": task, "options": options, "out": str(out)}
    return json.loads(json.dumps(read(job, Limits(), lambda *_: None)))


def workbook_of(path, rows):
    """The smallest workbook that holds these cells; a row without cells is not in the file at all."""
    write_book(path, {"data": rows})


def book_of(path, sheets, merged=()):
    """A workbook of {sheet: rows}; `merged` are ranges such as "A2:A4" of each sheet."""
    write_book(path, {name: list(enumerate(rows, 1)) for name, rows in sheets.items()}, merged)


def write_book(path, sheets, merged=()):
    main = "http://schemas.openxmlformats.org/spreadsheetml/2006/main"
    links = "http://schemas.openxmlformats.org/officeDocument/2006/relationships"
    packed = "http://schemas.openxmlformats.org/package/2006"
    kind = "application/vnd.openxmlformats-officedocument.spreadsheetml"
    numbers = range(1, len(sheets) + 1)
    with zipfile.ZipFile(path, "w") as book:
        book.writestr(
            "[Content_Types].xml",
            f'<Types xmlns="{packed}/content-types"><Default Extension="rels" ContentType="application/vnd.openxmlformats-package.'
            f'relationships+xml"/><Override PartName="/xl/workbook.xml" ContentType="{kind}.sheet.main+xml"/>'
            + "".join(f'<Override PartName="/xl/worksheets/sheet{n}.xml" ContentType="{kind}.worksheet+xml"/>' for n in numbers)
            + "</Types>",
        )
        for name, targets, what in (
            ("_rels/.rels", ["xl/workbook.xml"], "officeDocument"),
            ("xl/_rels/workbook.xml.rels", [f"worksheets/sheet{n}.xml" for n in numbers], "worksheet"),
        ):
            each = "".join(f'<Relationship Id="r{n}" Type="{links}/{what}" Target="{t}"/>' for n, t in enumerate(targets, 1))
            book.writestr(name, f'<Relationships xmlns="{packed}/relationships">{each}</Relationships>')
        listed = "".join(f'<sheet name="{name}" sheetId="{n}" r:id="r{n}"/>' for n, name in enumerate(sheets, 1))
        book.writestr("xl/workbook.xml", f'<workbook xmlns="{main}" xmlns:r="{links}"><sheets>{listed}</sheets></workbook>')
        for n, rows in enumerate(sheets.values(), 1):
            ranges = "".join(f'<mergeCell ref="{each}"/>' for each in merged)
            body = f"<sheetData>{row_xml(rows)}</sheetData>" + (f"<mergeCells>{ranges}</mergeCells>" if merged else "")
            book.writestr(f"xl/worksheets/sheet{n}.xml", f'<worksheet xmlns="{main}">{body}</worksheet>')


def row_xml(rows):
    cells = ["".join(f'<c r="{"ABC"[i]}{n}" t="inlineStr"><is><t>{cell}</t></is></c>' for i, cell in enumerate(row)) for n, row in rows]
    return "".join(f'<row r="{n}">{each}</row>' for (n, _), each in zip(rows, cells, strict=True))


def publishing(report, out, **changes):
    job = {"staged": report["staged"], "task": report["task"], "mapping": report["mapping"], "out": str(out), "accept_rejected": True}
    return json.loads(json.dumps(publish({**job, **changes}, Limits(), lambda *_: None)))


def codes(report):
    return {finding["code"] for finding in report["findings"]}


def gzip_bomb(path, megabytes):
    """Zeros by the gigabyte in a file of a few hundred kilobytes."""
    with gzip.open(path, "wb") as file:
        block = b"a,b\n" * 262_144
        for _ in range(megabytes):
            file.write(block)


def tight_gzip_bomb(path, gigabytes=4):
    """About 42 kB: gzip inside out, the same megabyte of zeros repeated as members that share no state."""
    member = gzip.compress(bytes(64 * 1024 * 1024), 9)
    path.write_bytes(member * gigabytes)


def zip_with(path, members):
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in members.items():
            archive.writestr(name, data)


def as_tar(members):
    data = io.BytesIO()
    with tarfile.open(fileobj=data, mode="w") as archive:
        for name, content in members.items():
            info = tarfile.TarInfo(name)
            content = content.encode() if isinstance(content, str) else content
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return data.getvalue()


def compact(fields):
    """A struct in Thrift's compact protocol: [(id, kind, bytes)]."""
    out, last = b"", 0
    for number, kind, data in fields:
        out += bytes([(number - last) << 4 | kind]) + data
        last = number
    return out + b"\0"


def varint(n):
    out = b""
    while n > 127:
        out, n = out + bytes([n & 127 | 128]), n >> 7
    return out + bytes([n])


def zigzag(n):
    return varint(n << 1)


def lying_parquet(path, rows=2**31, unfolded=2**20):
    """Some hundred bytes that declare `rows` rows of one text column."""
    root = compact([(4, 8, varint(6) + b"schema"), (5, 5, zigzag(1))])
    column = compact([(1, 5, zigzag(6)), (4, 8, varint(4) + b"text")])
    group = compact([(1, 9, b"\x0c"), (2, 6, zigzag(unfolded)), (3, 6, zigzag(rows))])
    footer = compact(
        [(1, 5, zigzag(2)), (2, 9, bytes([2 << 4 | 12]) + root + column), (3, 6, zigzag(rows)), (4, 9, bytes([1 << 4 | 12]) + group)]
    )
    path.write_bytes(b"PAR1" + bytes(64) + footer + struct.pack("<I", len(footer)) + b"PAR1")


def limits(**changes):
    return {**asdict(Limits()), **changes}


def zip_link(path):
    """A zip whose only member is a symbolic link."""
    info = zipfile.ZipInfo("rows.csv")
    info.external_attr = 0o120777 << 16
    data = io.BytesIO()
    with zipfile.ZipFile(data, "w") as archive:
        archive.writestr(info, "/etc/passwd")
    path.write_bytes(data.getvalue())


def cells(report, *columns):
    """What was staged, in order, of all files."""
    frames = [pl.read_parquet(file["staged"]) for file in report["files"]]
    return [row for frame in frames for row in frame.select(columns).iter_rows()]
