"""The tus 1.0 protocol (core, creation, checksum, expiration, termination): an upload goes on where it was cut."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable
from functools import wraps
from typing import Any

from django.conf import settings
from django.db import DatabaseError
from django.http import Http404, HttpRequest, HttpResponse
from django.urls import reverse
from django.utils.http import http_date
from django.utils.translation import gettext as _
from django.views.decorators.csrf import csrf_exempt
from ninja.utils import check_csrf

from webapp import disk
from webapp.datasets.models import ChecksumMismatch, TooLarge, Upload, WrongOffset
from webapp.people.access import WRITE, Denied, find

VERSION = "1.0.0"
EXTENSIONS = "creation,checksum,expiration,termination"
ALGORITHMS = ("sha1", "sha256")
OFFSET_TYPE = "application/offset+octet-stream"
View = Callable[..., HttpResponse]


class Refusal(Exception):
    """A status of the protocol and a sentence for people."""

    def __init__(self, status: int, text: str = "") -> None:
        super().__init__(text)
        self.status = status


def speaks_tus(view: View) -> View:
    """Asks who it is, which version they speak, and turns what goes wrong into statuses with a sentence."""

    @csrf_exempt  # asked below instead: a token needs none
    @wraps(view)
    def answer(request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
        try:
            response = admit(request) or view(request, *args, **kwargs)
        except Refusal as refusal:
            response = said(refusal.status, str(refusal))
        except Denied as denied:
            response = said(403, str(denied))
        except Http404:
            response = said(404, _("There is no such upload; it may have expired. Start again."))
        except TooLarge as error:
            response = said(413, str(error))
        except WrongOffset:
            response = said(409, _("Another window is sending this file too, or some bytes came twice."))
        except ChecksumMismatch:
            response = said(460, _("The bytes were changed on the way. They are sent again."))
        except (disk.DiskFull, OSError, DatabaseError) as error:
            if not (remedy := disk.remedy(error)):
                raise
            response = said(507, remedy)
        response["Tus-Resumable"] = VERSION
        response["Cache-Control"] = "no-store"
        return response

    return answer


def admit(request: HttpRequest) -> HttpResponse | None:
    if request.method == "OPTIONS":
        return None
    if getattr(request, "actor", None) is None:
        return said(401, _("Sign in again, then go on with the upload."))
    if not getattr(request, "token", None) and request.method not in ("GET", "HEAD") and check_csrf(request):
        return said(403, _("This page is too old. Reload it, then go on with the upload."))
    request.actor.require_scope(WRITE)  # type: ignore[attr-defined]
    if request.headers.get("Tus-Resumable") != VERSION:
        response = said(412, _("This server speaks tus %(version)s.") % {"version": VERSION})
        response["Tus-Version"] = VERSION
        return response
    return None


def said(status: int, text: str = "") -> HttpResponse:
    return HttpResponse(text, status=status, content_type="text/plain; charset=utf-8")


@speaks_tus
def uploads(request: HttpRequest) -> HttpResponse:
    """OPTIONS: what we speak. POST: a new upload."""
    if request.method == "OPTIONS":
        response = said(204)
        response["Tus-Version"] = VERSION
        response["Tus-Extension"] = EXTENSIONS
        response["Tus-Max-Size"] = str(settings.UPLOAD_LIMIT)
        response["Tus-Checksum-Algorithm"] = ",".join(ALGORITHMS)
        return response
    if request.method != "POST":
        return not_allowed("OPTIONS, POST")
    upload = Upload.begin(request.actor, metadata(request).get("filename", ""), number(request, "Upload-Length"))  # type: ignore[attr-defined]
    response = said(201)
    response["Location"] = reverse("datasets:upload", args=[upload.pk])
    return with_state(response, upload)


@speaks_tus
def upload(request: HttpRequest, pk: str) -> HttpResponse:
    """HEAD: how far it is. PATCH: more bytes. DELETE: no more of it."""
    found: Upload = find(request.actor, Upload, pk, WRITE)  # type: ignore[attr-defined]
    if request.method == "HEAD":
        found.settle()
        return with_state(said(200), found)
    if request.method == "PATCH":
        if request.content_type != OFFSET_TYPE:
            raise Refusal(415, f"Content-Type: {OFFSET_TYPE}")
        algorithm, digest = checksum(request)
        found.receive(number(request, "Upload-Offset"), request, digest, algorithm)
        return with_state(said(204), found)
    if request.method == "DELETE":
        found.discard()
        return said(204)
    return not_allowed("HEAD, PATCH, DELETE")


def not_allowed(allowed: str) -> HttpResponse:
    response = said(405)
    response["Allow"] = allowed
    return response


def with_state(response: HttpResponse, upload: Upload) -> HttpResponse:
    response["Upload-Offset"] = str(upload.offset)
    response["Upload-Length"] = str(upload.length)
    response["Upload-Expires"] = http_date(upload.expires_at.timestamp())
    return response


def number(request: HttpRequest, header: str) -> int:
    value = request.headers.get(header, "")
    if not (value.isascii() and value.isdigit() and len(value) < 19):
        raise Refusal(400, _("The header %(name)s must be a whole number of bytes.") % {"name": header})
    return int(value)


def checksum(request: HttpRequest) -> tuple[str, str]:
    """(algorithm, digest in hexadecimal), both empty when none was sent."""
    algorithm, _space, encoded = request.headers.get("Upload-Checksum", "").partition(" ")
    if not algorithm:
        return "", ""
    if algorithm not in ALGORITHMS:
        raise Refusal(400, _("Checksums may be %(names)s.") % {"names": ", ".join(ALGORITHMS)})
    return algorithm, decoded(encoded).hex()


def metadata(request: HttpRequest) -> dict[str, str]:
    pairs = (pair.strip().partition(" ") for pair in request.headers.get("Upload-Metadata", "").split(","))
    return {key: decoded(value).decode("utf-8", "replace") for key, _space, value in pairs if key}


def decoded(text: str) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except binascii.Error:
        raise Refusal(400, _("A header is not base64.")) from None
