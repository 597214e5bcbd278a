"""What a file really is, by its first bytes and never by its name; and for what is no table, the way out."""

from __future__ import annotations

import codecs
import re
import tarfile
import zipfile
from dataclasses import dataclass
from pathlib import Path

from webapp.datasets.reading import ReadingError

HEAD = 64 * 1024
COMPRESSED = ("gzip", "bzip2", "xz", "zstd")
ARCHIVES = ("zip", "tar")
READ = ("text", "parquet", "arrow", "workbook", "html", "tmx")
FORMATS = "CSV, TSV, JSON, JSON Lines, Parquet, Arrow, Excel or plain text, as it is or packed as zip, tar, gzip, bzip2, xz or zstd"

PARQUET = "In Python, read it there and save it with to_parquet()."
AS_TEXT = "Copy its text into a CSV file, or save it as plain text."
UNPACK = "Unpack it, and upload the files themselves or a zip of them."


@dataclass(frozen=True)
class Other:
    """Something that is never read: what it is called, and what to do instead."""

    what: str
    way_out: str = ""


PICTURE = Other("a picture")
SOUND = Other("sound or video")
PROGRAM = Other("a program")
PICKLE = Other("a Python pickle, which is never opened because it may run code", PARQUET)
WORD = Other("a Word document", AS_TEXT)
SLIDES = Other("a presentation (PowerPoint)", AS_TEXT)
NOTATIONS = (  # of text, that would be learnt with all their signs
    (re.compile(r"(?:---\n)?- (\w+): .*\n(?:  .*\n)+- \1: "), Other("a list in YAML", "Save it as JSON, or its columns as CSV.")),
    (re.compile(r"(?:%.*\n|\s*\n)*@relation\s", re.IGNORECASE), Other("an ARFF file of Weka", "Save it as CSV there.")),
    (
        re.compile(r'(?:#.*\n|\s*\n)*(?:msgctxt ".*"\n)?msgid "'),
        Other("a catalogue of translations (gettext)", "Convert it to TMX or CSV."),
    ),
    (
        re.compile(r"(?:WEBVTT\b.*\n(?:.*\n)*?|\d+\n)\d{2}:\d{2}(?::\d{2})?[.,]\d{3} --> "),
        Other("a file of subtitles", "Save the lines that are spoken as plain text, or with their translation as CSV."),
    ),
    (re.compile(r"(?:[+-]?\d+(?:\.\d+)?(?: \d+:[-+.\deE]+)+ *\n){3}"), Other("a table of numbers (LIBSVM) without texts")),
)
SIGNS: tuple[tuple[bytes, str | Other], ...] = (
    (b"\x1f\x8b", "gzip"),
    (b"BZh", "bzip2"),
    (b"\xfd7zXZ\x00", "xz"),
    (b"\x28\xb5\x2f\xfd", "zstd"),
    (b"PK\x03\x04", "zip"),
    (b"PK\x05\x06", "zip"),
    (b"PK\x07\x08", "zip"),
    (b"PAR1", "parquet"),
    (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", "ole"),
    (b"7z\xbc\xaf\x27\x1c", Other("a 7-Zip archive", UNPACK)),
    (b"Rar!", Other("a RAR archive", UNPACK)),
    (b"\x04\x22\x4d\x18", Other("an LZ4 archive", UNPACK)),
    (b"\x1f\x9d", Other("an archive of compress (.Z)", UNPACK)),
    (b"MSCF", Other("a Windows cabinet", UNPACK)),
    (b"PARE", Other("an encrypted Parquet file", "Write it without encryption.")),
    (b"ARROW1", "arrow"),
    (b"\xff\xff\xff\xff", "arrow"),
    (b"FEA1", Other("a Feather file", PARQUET)),
    (b"ORC", Other("an ORC file", PARQUET)),
    (b"Obj\x01", Other("an Avro file", PARQUET)),
    (b"\x89HDF", Other("an HDF5 file", PARQUET)),
    (b"\x93NUMPY", Other("a NumPy array", PARQUET)),
    (b"SQLite format 3", Other("a SQLite database", "Export the table as CSV.")),
    (b"\x00\x01\x00\x00Standard", Other("an Access database", "Export the table as CSV.")),
    (b"RDX", Other("an R workspace", "In R, save the data frame with write.csv(rows, file, row.names = FALSE).")),
    (b"X\n\x00\x00\x00", Other("an R object (.rds)", "In R, save it with write.csv(rows, file, row.names = FALSE).")),
    (b"$FL2", Other("an SPSS file", "Save it as CSV.")),
    (b"<stata_dta>", Other("a Stata file", "Save it as CSV.")),
    (b"GGUF", Other("a model (GGUF), not data")),
    (b"%PDF", Other("a PDF document", AS_TEXT)),
    (b"%!PS", Other("a PostScript document", AS_TEXT)),
    (b"{\\rtf", Other("a document in Rich Text Format (RTF)", AS_TEXT)),
    (b"\x89PNG", PICTURE),
    (b"\xff\xd8\xff", PICTURE),
    (b"GIF8", PICTURE),
    (b"II*\x00", PICTURE),
    (b"MM\x00*", PICTURE),
    (b"RIFF", SOUND),
    (b"OggS", SOUND),
    (b"ID3\x03", SOUND),
    (b"ID3\x04", SOUND),
    (b"fLaC", SOUND),
    (b"\x7fELF", PROGRAM),
    (b"MZ\x90\x00", PROGRAM),
    (b"\xca\xfe\xba\xbe", PROGRAM),
    *((b"\x80" + bytes([protocol]), PICKLE) for protocol in (2, 3, 4, 5)),
)
MAIL = {"from", "to", "cc", "subject", "date", "message-id", "mime-version", "received", "return-path", "delivered-to", "reply-to"}
OLD_PICKLE = re.compile(r"\((?:lp|dp|l|d|i)\d*\n|c(?:copy_reg|pandas|numpy|builtins|__builtin__)\b[\w.]*\n")
DUMP = re.compile(r"(?:--|/\*|#) *(?:MySQL|MariaDB|PostgreSQL|SQLite|phpMyAdmin|pg_dump|Adminer|Host:)|PRAGMA foreign_keys", re.IGNORECASE)
STATEMENT = re.compile(
    r"(?>\s|--.*\n|/\*[\s\S]*?\*/;?)*+(?:CREATE TABLE|DROP TABLE|INSERT INTO|LOCK TABLES|SET NAMES|BEGIN TRANSACTION;)[\s`\"]",
    re.IGNORECASE,
)
HTML = re.compile(r"(?><!--[\s\S]*?-->\s*)*+<(?:!doctype html|html|head|body|table|meta)\b", re.IGNORECASE)
ROOT = re.compile(r"(?><\?[\s\S]*?\?>|<!--[\s\S]*?-->|<!DOCTYPE[^>\[]*+(?:\[[^\]]*+\])?[^>]*+>|\s)*+<([A-Za-z_][\w:.-]*+)")


def kind_of(path: Path) -> str | Other:
    """One of COMPRESSED, ARCHIVES or READ; else what it is instead."""
    with path.open("rb") as file:
        head = file.read(HEAD)
    kind = next((kind for sign, kind in SIGNS if head.startswith(sign) and (not sign.isalnum() or is_binary(head))), "")
    if kind == "zip":
        return inside_zip(path)
    if kind == "ole":
        return inside_ole(path, head)
    if kind:
        return kind
    if head[4:8] == b"ftyp":
        return SOUND
    if is_tar(head):
        return "tar"
    return of_text(path, head)


def is_binary(head: bytes) -> bool:
    """Whether the bytes are surely no text. A column may be called ORCID, and a text begin with RIFF."""
    try:
        codecs.getincrementaldecoder("utf-8")().decode(head[:256])
    except UnicodeDecodeError:
        return True
    return b"\0" in head[:256]


def checked(kind: str | Other, name: str) -> str:
    """The kind, if it is one that is read. Raises ReadingError with the way out for all others."""
    if isinstance(kind, Other):
        raise ReadingError("not_data", f"{name} is {kind.what}. {kind.way_out or f'Tunebench reads {FORMATS}.'}", file=name)
    return kind


def is_tar(head: bytes) -> bool:
    """By the checksum of the first header: old archives have no sign of their own."""
    try:
        tarfile.TarInfo.frombuf(head[:512], "utf-8", "surrogateescape")
    except tarfile.TarError:
        return False
    return True


# --- Inside what office programs write ----------------------------------------------------------------------------------
def inside_zip(path: Path) -> str | Other:
    try:
        with zipfile.ZipFile(path) as archive:
            names = set(archive.namelist())
            opened = archive.read("mimetype")[:100].decode("ascii", "replace") if small(archive, "mimetype") else ""
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError, RuntimeError, EOFError):
        return "zip"  # whoever unpacks it says that it is damaged
    tops = {name.split("/", 1)[0] for name in names}
    if names & {"xl/workbook.xml", "xl/workbook.bin"} or "opendocument.spreadsheet" in opened:
        return "workbook"
    if "word/document.xml" in names or "opendocument.text" in opened:
        return WORD
    if "ppt/presentation.xml" in names or "opendocument.presentation" in opened:
        return SLIDES
    if "epub" in opened:
        return Other("a book (EPUB)", AS_TEXT)
    if "opendocument" in opened or "[Content_Types].xml" in names:
        return Other("an office document without a table", AS_TEXT)
    if "Index" in tops and any(name.endswith(".iwa") for name in names):
        return Other("a document of Pages, Numbers or Keynote", "Export it as CSV or Excel.")
    if any(name.endswith("/data.pkl") for name in names):
        return Other("a PyTorch file, which is never opened because it may run code", PARQUET)
    if names and all(name.endswith(".npy") for name in names):
        return Other("a NumPy archive", PARQUET)
    return "zip"


def small(archive: zipfile.ZipFile, member: str) -> bool:
    info = archive.NameToInfo.get(member)
    return info is not None and info.file_size <= 100 and not info.flag_bits & 1


def inside_ole(path: Path, head: bytes) -> str | Other:
    """Old Office files are little file systems; the names in their directory tell which program wrote them."""
    with path.open("rb") as file:
        size = 1 << min(int.from_bytes(head[30:32], "little"), 12)
        file.seek((int.from_bytes(head[48:52], "little") + 1) * size)
        directory = file.read(4 * 4096)
    names = {
        directory[at : at + 64].decode("utf-16-le", "replace").split("\0", 1)[0] for at in range(0, len(directory), 128)
    }  # fmt: skip
    if names & {"Workbook", "Book"}:
        return "workbook"
    if "WordDocument" in names:
        return WORD
    if "PowerPoint Document" in names:
        return SLIDES
    if names & {"EncryptedPackage", "EncryptionInfo"}:
        return Other("an office document that is protected with a password", "Save it without one.")
    if any(name.startswith("__substg1.0") or name.startswith("__properties") for name in names):
        return Other("an e-mail of Outlook", AS_TEXT)
    return "workbook"  # its reader says that it is damaged


# --- What only looks like text ------------------------------------------------------------------------------------------
def of_text(path: Path, head: bytes) -> str | Other:
    text = loosely(head).lstrip("\ufeff \t\r\n")
    start = text[:4_000].replace("\r\n", "\n")
    if start.startswith("version https://git-lfs.github.com/spec/"):
        return Other(
            "a pointer of Git LFS: the file itself was not fetched", "Run “git lfs pull”, or download it from the page of the repository."
        )
    if OLD_PICKLE.match(start):
        return PICKLE
    if HTML.match(start):
        return "html"
    if start.startswith("<"):
        return of_markup(path, text)
    if DUMP.match(start) or STATEMENT.match(start):
        return Other("a dump of a database (SQL)", "Load it there, and export the table as CSV.")
    if is_mail(start):
        return Other("an e-mail", AS_TEXT)
    return next((other for pattern, other in NOTATIONS if pattern.match(start)), "text")


def loosely(head: bytes) -> str:
    if head.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return head.decode("utf-16", "replace")
    if head[1:8:2] == b"\0\0\0\0":
        return head.decode("utf-16-le", "replace")
    return head.decode("utf-8", "replace")


def of_markup(path: Path, text: str) -> str | Other:
    """XML, if it says so at the beginning or ends as it began; a table of texts may begin with a tag as well."""
    root = ROOT.match(text)
    name = root[1] if root else ""
    if not text.startswith(("<?xml", "<!DOCTYPE")) and not (name and closes(path, name)):
        return "text"
    if name == "tmx":
        return "tmx"
    if name.lower() == "html":
        return "html"
    if "Excel.Sheet" in text[:1_000] or name.endswith("Workbook"):
        return Other("a workbook in the XML format of Excel 2003", "Open it in Excel, and save it as .xlsx or CSV.")
    if name == "svg":
        return PICTURE
    return Other(f"XML markup ({name[:40]})" if name else "XML markup", "Export it as CSV, or as TMX if it holds translations.")


def closes(path: Path, name: str) -> bool:
    with path.open("rb") as file:
        file.seek(max(0, path.stat().st_size - 300))
        return file.read().replace(b"\0", b"").rstrip().endswith(f"</{name}>".encode())


def is_mail(start: str) -> bool:
    lines = start.split("\n")
    if re.match(r"From \S+@\S+ .*\d{4}$", lines[0]):
        return True
    named = [line.split(":", 1)[0].lower() for line in lines[:25] if re.match(r"[A-Za-z-]+: ", line)]
    first = named[0] if named and lines[0].lower().startswith(named[0] + ":") else ""
    return first in MAIL and len(MAIL & set(named)) >= 4
