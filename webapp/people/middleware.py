"""Puts `request.actor` on every request: the person of the session, or on the API's paths the person of a token."""

from collections.abc import Callable
from typing import Any

from django.contrib.auth.models import AnonymousUser
from django.core.exceptions import BadRequest
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.utils.cache import patch_cache_control

from webapp.people.access import Denied, actor_of, holder_of, token_of

TOKEN_PATHS = ("/api/", "/datasets/uploads/")  # a token opens no page: it cannot make tokens or change a password


class ActorMiddleware:
    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response

    def __call__(self, request: Any) -> HttpResponse:
        request.actor = request.token = None
        if "Authorization" in request.headers and request.path.startswith(TOKEN_PATHS):
            self.admit(request)
        elif request.user.is_authenticated:
            request.actor = actor_of(request.user, request.session.get("team"))
        response = self.get_response(request)
        if request.actor:  # what a person sees is kept by no proxy, and by no browser beyond their sign-out
            patch_cache_control(response, private=True, no_store=True)
        return response

    def admit(self, request: Any) -> None:
        """Who sends a token is nobody else: the cookie does not count beside it, nor does it need a CSRF token."""
        token = token_of(request.headers["Authorization"])
        user = token.user if token else AnonymousUser()

        async def auser() -> Any:
            return user

        request.user, request.auser = user, auser
        if token:
            request.token, request.actor = token, holder_of(token)
            request._dont_enforce_csrf_checks = True

    def process_view(self, request: HttpRequest, *_view: Any) -> None:
        """PostgreSQL neither keeps NUL nor looks for it, and no browser sends it. Bodies of the API are looked at by the API."""
        sent = request.GET if request.path.startswith(TOKEN_PATHS) else request.POST
        if any("\0" in text for _name, texts in sent.lists() for text in texts):
            raise BadRequest("A text may not hold NUL characters.")

    def process_exception(self, request: HttpRequest, error: Exception) -> HttpResponse | None:
        if isinstance(error, Denied):
            return render(request, "403.html", {"reason": str(error)}, status=403)
        return None
