"""The one door: pages, API, sockets and downloads all ask here who may see and do what."""

from __future__ import annotations

from dataclasses import dataclass
from importlib import import_module
from types import SimpleNamespace
from typing import Any
from uuid import UUID

from django.conf import settings
from django.contrib.auth import get_user
from django.core.exceptions import ValidationError
from django.db.models import Model, QuerySet
from django.http import Http404, HttpRequest
from django.utils.translation import gettext as _

from webapp.people.models import ApiToken, Role, User

READ, WRITE, MANAGE = "read", "write", "manage"
ACTS_OF = {Role.VIEWER: {READ}, Role.EDITOR: {READ, WRITE}, Role.OWNER: {READ, WRITE, MANAGE}}


class Denied(Exception):
    """The thing may be seen but not touched in this way; the message says who can help."""


@dataclass(frozen=True)
class Actor:
    """Somebody who asks: a user in a session, or a token that may be narrower than its user."""

    user: User
    roles: dict[UUID, str]  # team id -> role
    scopes: frozenset[str] = frozenset({READ, WRITE, MANAGE})
    team_id: UUID | None = None  # the team whose lists are shown; new things go here

    @property
    def team_ids(self) -> list[UUID]:
        return list(self.roles)

    def may(self, act: str, team_id: UUID | None) -> bool:
        return act in self.scopes and team_id in self.roles and act in ACTS_OF[Role(self.roles[team_id])]

    def require_scope(self, act: str) -> None:
        """Raises Denied unless the token, if it is one, was made for this act."""
        if act not in self.scopes:
            only_reads = _("This token may only read. Make one that may also write on your account page.")
            raise Denied(
                only_reads if READ in self.scopes else _("This token was made for nothing. Make another one on your account page.")
            )

    def require(self, act: str, team_id: UUID | None) -> None:
        self.require_scope(act)
        if not self.may(act, team_id):
            raise Denied(_("Your role does not allow this. An owner of the team can change your role."))


class SignedIn(HttpRequest):
    """A request that passed `login_required`: the middleware has put its actor on it."""

    user: User  # type: ignore[assignment]
    actor: Actor


def actor_of(user: User, team_id: UUID | str | None = None) -> Actor:
    """The actor that `user` is, working in team `team_id` (one of theirs) or else in their first team."""
    roles = dict(user.memberships.order_by("created_at").values_list("team_id", "role"))
    chosen = next((t for t in roles if str(t) == str(team_id)), next(iter(roles), None))
    return Actor(user, roles, team_id=chosen)


def token_of(authorization: str) -> ApiToken | None:
    """The living token that this header holds: `Bearer tb_...`."""
    scheme, _space, secret = authorization.partition(" ")
    return ApiToken.objects.holding(secret.strip()) if scheme.lower() == "bearer" else None


def holder_of(token: ApiToken) -> Actor:
    """The actor that a token is: its user, narrowed to the token's scopes and, if it names one, to its team."""
    actor, scopes = actor_of(token.user, token.team_id), frozenset(token.scopes)
    roles = {team: role for team, role in actor.roles.items() if token.team_id in (None, team) and READ in scopes}
    team_id = actor.team_id if actor.team_id in roles else None
    return Actor(token.user, roles, scopes=scopes, team_id=team_id)


def user_of_session(key: str) -> User | None:
    """Whose session this is now, asked anew of the database: nobody's after a sign-out, a new password or a deactivation."""
    store = import_module(settings.SESSION_ENGINE).SessionStore(key)
    user = get_user(SimpleNamespace(session=store))  # type: ignore[arg-type]
    return user if isinstance(user, User) else None


def find(actor: Actor, things: QuerySet[Any] | type[Model], pk: Any, act: str = READ) -> Any:
    """The thing with this key. Raises Http404 if the actor may not see it, Denied if they may not `act` on it."""
    query = things._default_manager.all() if isinstance(things, type) else things
    try:
        thing = query.visible_to(actor).filter(pk=pk).first()  # type: ignore[union-attr]
    except (ValueError, TypeError, ValidationError):  # no key at all
        thing = None
    if thing is None:
        raise Http404
    actor.require_scope(act)
    if act != READ:
        actor.require(act, thing.team_id)
    return thing
