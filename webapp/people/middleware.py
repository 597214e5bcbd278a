"""Puts `request.actor` on every request of a signed-in person; the team they work in is kept in the session."""

from collections.abc import Callable

from django.http import HttpRequest, HttpResponse
from django.utils.functional import SimpleLazyObject

from webapp.people.access import actor_of


class ActorMiddleware:
    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        request.actor = None  # type: ignore[attr-defined]
        if request.user.is_authenticated:
            user, team = request.user, request.session.get("team")
            request.actor = SimpleLazyObject(lambda: actor_of(user, team))  # type: ignore[attr-defined]
        return self.get_response(request)
