"""A model as one zip file, written while it is sent: no temporary file, nothing held in memory but one piece."""

from __future__ import annotations

import zipfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

from asgiref.sync import sync_to_async
from django.http import StreamingHttpResponse
from django.utils.http import content_disposition_header
from django.utils.text import slugify

from webapp.catalog.models import ModelVersion, is_allowed

PIECE = 1024**2  # bytes
PACKED = (".safetensors", ".json", ".txt", ".model", ".spm", ".jinja", ".md")


class Outlet:
    """What a ZipFile writes to: it cannot go back, and what was written is taken away at once."""

    def __init__(self) -> None:
        self.pieces: list[bytes] = []

    def write(self, data: bytes) -> int:
        self.pieces.append(bytes(data))
        return len(data)

    def flush(self) -> None:
        """ZipFile asks for this."""

    def taken(self) -> bytes:
        data, self.pieces = b"".join(self.pieces), []
        return data


def files(folder: Path) -> list[Path]:
    """What belongs to a model: weights, configuration, tokenizer, card. Links that lead out of the folder are left."""
    home = folder.resolve()
    found = (path for path in sorted(folder.rglob("*")) if path.suffix in PACKED and path.is_file())
    return [path for path in found if (place := path.resolve()).is_relative_to(home) or is_allowed(place)]


def zipped(folder: Path, top: str) -> Iterator[bytes]:
    """The bytes of a zip of `folder`, stored as they are (weights do not shrink), below a folder called `top`."""
    outlet = Outlet()
    with zipfile.ZipFile(outlet, "w", zipfile.ZIP_STORED) as pack:  # type: ignore[call-overload]
        for path in files(folder):
            entry = zipfile.ZipInfo(f"{top}/{path.relative_to(folder).as_posix()}", date_time=(2026, 1, 1, 0, 0, 0))
            entry.external_attr = 0o644 << 16
            entry.file_size = path.stat().st_size  # lets ZipFile choose the 64-bit form where it is needed
            with path.open("rb") as source, pack.open(entry, "w") as target:
                while piece := source.read(PIECE):
                    target.write(piece)
                    yield outlet.taken()
    yield outlet.taken()


async def later(pieces: Iterator[bytes]) -> AsyncIterator[bytes]:
    """The same for an asynchronous server, which would else gather the whole file in memory first."""
    take = sync_to_async(lambda: next(pieces, None))
    while (piece := await take()) is not None:
        yield piece


def as_zip(model: ModelVersion) -> StreamingHttpResponse:
    """The download of `model`: an attachment that no browser will run."""
    name = slugify(model.name) or "model"
    response = StreamingHttpResponse(later(zipped(model.path, name)), content_type="application/zip")
    response["Content-Disposition"] = content_disposition_header(True, f"{name}.zip")
    response["X-Content-Type-Options"] = "nosniff"
    response["Content-Security-Policy"] = "sandbox; default-src 'none'"
    response["Cross-Origin-Resource-Policy"] = "same-origin"
    return response
