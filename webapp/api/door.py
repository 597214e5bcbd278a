"""What every operation of the API shares: who may come in, how errors look, how lists are paged."""

from __future__ import annotations

import errno
import logging
from collections.abc import Callable
from http import HTTPStatus
from typing import Any
from uuid import UUID

from asgiref.sync import iscoroutinefunction, markcoroutinefunction
from django.core.exceptions import BadRequest, PermissionDenied, RequestDataTooBig, SuspiciousOperation
from django.db.models import QuerySet
from django.http import Http404, HttpRequest, HttpResponse, JsonResponse, UnreadablePostError
from django.http.multipartparser import MultiPartParserError
from django.utils.translation import gettext as _
from ninja import NinjaAPI, Schema
from ninja.errors import AuthenticationError, HttpError, ValidationError
from ninja.security import APIKeyCookie, HttpBearer
from ninja.utils import check_csrf
from pydantic import ConfigDict, field_validator

from webapp import disk
from webapp.people.access import READ, WRITE, Denied
from worker.spec import UNSTORABLE, SpecError

log = logging.getLogger(__name__)
MOST_PER_PAGE = 200
SAFE = ("GET", "HEAD", "OPTIONS")


class Body(Schema):
    """What a client sends: a field that we do not know is an error, not a silence."""

    model_config = ConfigDict(extra="forbid")

    @field_validator("*", mode="after")
    @classmethod
    def _can_be_stored(cls, value: Any) -> Any:
        """PostgreSQL keeps neither NUL nor half characters."""
        if is_unstorable(value):
            raise ValueError(_("A text may not hold NUL or half characters."))
        return value


def is_unstorable(value: Any) -> bool:
    if isinstance(value, dict):
        return any(is_unstorable(part) for pair in value.items() for part in pair)
    return any(map(is_unstorable, value)) if isinstance(value, list) else isinstance(value, str) and bool(UNSTORABLE.search(value))


class Problem(Exception):
    """An error for people, answered as RFC 9457 problem details. `errors` is [{"field", "message"}]."""

    def __init__(self, status: int, title: str, detail: str = "", errors: list[dict[str, Any]] | None = None, **headers: str) -> None:
        super().__init__(detail or title)
        self.status, self.title, self.detail, self.errors = status, title, detail, errors or []
        self.headers = {name.replace("_", "-"): value for name, value in headers.items()}

    def answer(self) -> HttpResponse:
        content: dict[str, Any] = {"type": "about:blank", "title": self.title, "status": self.status, "detail": self.detail}
        if self.errors:
            content["errors"] = self.errors
        return JsonResponse(content, status=self.status, content_type="application/problem+json", headers=self.headers)


class Token(HttpBearer):
    """`Authorization: Bearer tb_...`; the middleware has looked it up, here is asked whether it was good, and made for this.

    What the token must be made for is told by the verb, READ for one that changes nothing and else WRITE; an operation that is
    gentler than its verb says so with `auth=[Token(READ), Session()]`."""

    def __init__(self, act: str = "") -> None:
        super().__init__()
        self.act = act

    def __call__(self, request: HttpRequest) -> Any:
        if token := getattr(request, "token", None):
            request.actor.require_scope(self.act or (READ if request.method in SAFE else WRITE))  # type: ignore[attr-defined]
        return token

    def authenticate(self, request: HttpRequest, token: str) -> Any:
        return self(request)


class Session(APIKeyCookie):
    """The browser's own session: unsafe verbs need the CSRF token, and no other site may ask in its name."""

    param_name = "sessionid"

    def _get_key(self, request: HttpRequest) -> str | None:
        return request.COOKIES.get(self.param_name)

    def authenticate(self, request: HttpRequest, key: str | None) -> Any:
        actor = getattr(request, "actor", None)
        if actor is None or "Authorization" in request.headers:
            return None
        if request.method not in SAFE:
            if request.headers.get("Sec-Fetch-Site", "same-origin") not in ("same-origin", "none"):
                raise Problem(403, _("Forbidden"), _("Another site asked for this in your name."))
            if check_csrf(request):
                raise Problem(403, _("Forbidden"), _("The CSRF token is missing or wrong: reload the page and try again."))
        return actor.user


def page(things: QuerySet[Any], after: UUID | str | None, limit: int, render: Callable[[Any], Any]) -> dict[str, Any]:
    """One page of `things`, newest first; `next` is what `after` must be for the following one, or None at the end."""
    limit = max(1, min(limit, MOST_PER_PAGE))
    if after:
        try:
            things = things.filter(pk__lt=UUID(str(after)))
        except ValueError:
            raise Problem(
                422, _("Unprocessable"), _("`after` is not a cursor of this list."), field_error("after", _("not a cursor"))
            ) from None
    found = list(things.order_by("-pk")[: limit + 1])
    more = len(found) > limit
    return {"items": [render(thing) for thing in found[:limit]], "next": str(found[limit - 1].pk) if more else None}


def field_error(field: str, message: str) -> list[dict[str, Any]]:
    return [{"field": field, "message": message}]


def title(status: int) -> str:
    return HTTPStatus(status).phrase


def as_problem(error: Exception) -> Problem:
    """What went wrong, in words for people; nothing of the inside shows."""
    match error:
        case Problem():
            return error
        case AuthenticationError():
            detail = _("Send a valid token: Authorization: Bearer tb_... Make one on your account page.")
            return Problem(401, title(401), detail, WWW_Authenticate='Bearer realm="Tunebench"')
        case Denied():
            return Problem(403, title(403), str(error))
        case Http404():
            return Problem(404, title(404), _("There is no such thing, or it belongs to another team."))
        case SpecError():
            return Problem(422, title(422), str(error), field_error(error.field, str(error)))
        case ValidationError():
            errors = [{"field": where(each["loc"]), "message": each["msg"]} for each in error.errors]
            return Problem(422, title(422), _("Some fields are invalid."), errors)
        case RequestDataTooBig():
            return Problem(413, title(413), _("The request is larger than this server takes."))
        case PermissionDenied():
            return Problem(403, title(403), _("This is not allowed."))
        case BadRequest() | SuspiciousOperation() | MultiPartParserError() | UnreadablePostError():
            return Problem(400, title(400), _("The request could not be understood."))
        case HttpError():
            return Problem(error.status_code, title(error.status_code), str(error))
        case _ if remedy := disk.remedy(error):
            log.error("the disk is full: %s", error)
            return Problem(507, title(507), remedy)
        case _:
            log.error("API operation failed", exc_info=error)
            return Problem(500, title(500), _("Something went wrong. It is in the log; try again, then tell an administrator."))


def where(location: tuple[Any, ...]) -> str:
    """A field as the client wrote it: ("body", "payload", "settings", "epochs") is settings.epochs."""
    skip = 2 if location and location[0] in ("body", "form", "query", "file") and len(location) > 2 else 1
    return ".".join(str(part) for part in location[skip:]) or str(location[-1])


def guard(api: NinjaAPI) -> None:
    """Every error of `api` becomes a problem."""
    for kind in (Problem, Denied, Http404, SpecError, ValidationError, HttpError, AuthenticationError, Exception):
        api.add_exception_handler(kind, answer_problem)


def answer_problem(request: HttpRequest, error: Any) -> HttpResponse:
    return as_problem(error).answer()


class ProblemMiddleware:
    """Below /api/ every error is a problem, also those that no operation saw: unknown path, wrong verb, too large."""

    sync_capable = async_capable = True

    def __init__(self, get_response: Callable[[HttpRequest], Any]) -> None:
        self.get_response = get_response
        self.is_async = iscoroutinefunction(get_response)
        if self.is_async:
            markcoroutinefunction(self)

    def __call__(self, request: HttpRequest) -> Any:
        if self.is_async:
            return self.later(request)
        return told(request, self.get_response(request))

    async def later(self, request: HttpRequest) -> HttpResponse:
        return told(request, await self.get_response(request))


def told(request: HttpRequest, response: HttpResponse) -> HttpResponse:
    if response.status_code < 400 or not request.path.startswith("/api/") or "json" in response.get("Content-Type", ""):
        return response
    details = {
        404: _("There is no such address. The operations stand at /api/v1/docs."),
        405: _("This address does not know that verb. It knows: %(verbs)s.") % {"verbs": response.get("Allow", "")},
        507: disk.remedy(OSError(errno.ENOSPC, "")),
    }
    kept = {name: response[name] for name in ("Allow", "Retry-After") if name in response}
    problem = Problem(response.status_code, title(response.status_code), details.get(response.status_code, ""))
    problem.headers = kept
    return problem.answer()
