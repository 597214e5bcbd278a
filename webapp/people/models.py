"""Who there is: users, teams, memberships, and the secrets that let people and programs in."""

from __future__ import annotations

import hashlib
import hmac
import logging
import secrets
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from typing import Any, ClassVar

from django.contrib.auth.models import AbstractUser, UserManager
from django.db import DatabaseError, models, transaction
from django.db.models import Exists, OuterRef, Q
from django.urls import reverse
from django.utils.timezone import now
from django.utils.translation import gettext_lazy as _

from webapp.ids import uuid7

log = logging.getLogger(__name__)


class Users(UserManager["User"]):
    def first_start(self) -> tuple[User, str] | None:
        """The first owner with a team, and the path of a one-time sign-in link; None when somebody is there already."""
        with transaction.atomic():
            if self.exists():
                return None
            user = self.create_user("owner")  # without a password: the link lets them in, the account page sets one
            Team.objects.found(str(_("My team")), user)
        return user, user.sign_in_link()


class User(AbstractUser):
    """A person who signs in."""

    objects: ClassVar[Users] = Users()  # type: ignore[assignment]

    def sign_in_link(self) -> str:
        """The path of a link that signs this person in once, within 15 minutes."""
        secret = SignInLink.draw()
        SignInLink.objects.create(user=self, digest=digest(secret), expires_at=SignInLink.lasting(minutes=15))
        return reverse("people:sign_in", args=[secret])


class Role(models.TextChoices):
    OWNER = "owner", _("Owner")
    EDITOR = "editor", _("Editor")
    VIEWER = "viewer", _("Viewer")


class LastOwner(Exception):
    """The team would be left without an owner."""


class Teams(models.Manager["Team"]):
    def found(self, name: str, owner: User) -> Team:
        """A new team whose first owner is `owner`."""
        with transaction.atomic():
            team = self.create(name=name)
            Membership.objects.create(team=team, user=owner, role=Role.OWNER)
        return team


class Team(models.Model):
    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    name = models.CharField(max_length=80)
    members: models.ManyToManyField[User, Membership] = models.ManyToManyField(User, through="Membership", related_name="teams")
    created_at = models.DateTimeField(auto_now_add=True)

    objects = Teams()

    def __str__(self) -> str:
        return self.name

    def invite(self, role: str, by: User | None) -> str:
        """The path of a link by which one person joins with `role`, within 7 days. Shown once."""
        secret = Invitation.draw()
        Invitation.objects.create(team=self, role=role, created_by=by, digest=digest(secret), expires_at=Invitation.lasting(days=7))
        return reverse("people:invitation", args=[secret])

    @contextmanager
    def keeping_an_owner(self) -> Iterator[None]:
        """A transaction, one at a time per team, that is undone by LastOwner if it leaves no owner."""
        with transaction.atomic():
            Team.objects.select_for_update().get(pk=self.pk)
            yield
            if not self.memberships.filter(role=Role.OWNER).exists():
                raise LastOwner


class Membership(models.Model):
    team = models.ForeignKey(Team, models.CASCADE, related_name="memberships")
    user = models.ForeignKey(User, models.CASCADE, related_name="memberships")
    role = models.CharField(max_length=10, choices=Role.choices, default=Role.EDITOR)
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        constraints = [models.UniqueConstraint(fields=["team", "user"], name="one_membership_per_team")]

    def become(self, role: str) -> None:
        """Change the role. Raises LastOwner rather than leave the team without an owner."""
        with self.team.keeping_an_owner():
            Membership.objects.filter(pk=self.pk).update(role=role)
        self.role = role

    def leave(self) -> None:
        """End the membership. Raises LastOwner rather than leave the team without an owner."""
        with self.team.keeping_an_owner():
            Membership.objects.filter(pk=self.pk).delete()


def digest(secret: str) -> str:
    return hashlib.sha256(secret.encode()).hexdigest()


class TeamQuerySet(models.QuerySet[Any]):
    def visible_to(self, actor: Any) -> TeamQuerySet:
        """The rows of the teams that `actor` (people.access.Actor) belongs to; the one door of every query."""
        return self.filter(team__in=actor.team_ids)


class TeamScoped(models.Model):
    """Something that belongs to one team and is seen by nobody else."""

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    team = models.ForeignKey(Team, models.CASCADE, related_name="+")
    created_by = models.ForeignKey(User, models.SET_NULL, null=True, related_name="+")
    created_at = models.DateTimeField(auto_now_add=True)

    objects = TeamQuerySet.as_manager()

    class Meta:
        abstract = True


class Secret(models.Model):
    """A secret shown once and kept as a hash, for a time."""

    digest = models.CharField(max_length=64, unique=True)
    created_at = models.DateTimeField(auto_now_add=True)
    expires_at = models.DateTimeField(null=True)

    class Meta:
        abstract = True

    @staticmethod
    def lasting(**span: float) -> datetime:
        return now() + timedelta(**span)

    @staticmethod
    def draw() -> str:
        return secrets.token_urlsafe(32)


class OneUse(Secret):
    """A secret that opens one door once."""

    used_at = models.DateTimeField(null=True)

    class Meta:
        abstract = True

    @classmethod
    def holding(cls) -> models.QuerySet[Any]:
        """Those that still open something."""
        return cls._default_manager.filter(used_at=None, expires_at__gt=now())

    @classmethod
    def unused(cls, secret: str) -> Any:
        """The row of this secret while it still opens something, or None."""
        return cls.holding().filter(digest=digest(secret)).first()

    def use(self) -> bool:
        """Whether we were the one who used it."""
        return bool(self.holding().filter(pk=self.pk).update(used_at=now()))


class SignInLink(OneUse):
    user = models.ForeignKey(User, models.CASCADE, related_name="+")

    @classmethod
    def holding(cls) -> models.QuerySet[Any]:
        return super().holding().filter(user__is_active=True)


class Invitation(OneUse):
    team = models.ForeignKey(Team, models.CASCADE, related_name="invitations")
    role = models.CharField(max_length=10, choices=Role.choices)
    created_by = models.ForeignKey(User, models.CASCADE, null=True, related_name="+")  # null: the operator, by manage.py
    used_by = models.ForeignKey(User, models.SET_NULL, null=True, related_name="+")

    @classmethod
    def holding(cls) -> models.QuerySet[Any]:
        """Nobody gives what they may not give any more: whoever invited must still be an owner of the team."""
        owners = Membership.objects.filter(team=OuterRef("team"), user=OuterRef("created_by"), user__is_active=True, role=Role.OWNER)
        return super().holding().filter(Q(created_by=None) | Exists(owners))

    def accept(self, user: User) -> bool:
        """Join the team; who is in it already keeps their role. Whether the invitation still held."""
        with transaction.atomic():
            if not self.use():
                return False
            Membership.objects.get_or_create(team=self.team, user=user, defaults={"role": self.role})
            Invitation.objects.filter(pk=self.pk).update(used_by=user)
        return True

    def accept_newcomer(self, make: Callable[[], User]) -> User | None:
        """Join as the user that `make` makes. None, and nobody is made, if somebody else was faster."""
        with transaction.atomic():
            user = make()
            if not self.accept(user):
                transaction.set_rollback(True)
                return None
        return user


class ApiTokens(models.Manager["ApiToken"]):
    def holding(self, secret: str) -> ApiToken | None:
        """The living token that `secret` is, marked as used now; None if there is none. Its user is loaded."""
        if not ApiToken.well_formed(secret):
            return None
        candidates = self.select_related("user").filter(
            Q(expires_at=None) | Q(expires_at__gt=now()), prefix=secret[:10], user__is_active=True
        )
        token = next((each for each in candidates if hmac.compare_digest(each.digest, digest(secret))), None)
        if token:
            token.touch()
        return token


class ApiToken(Secret):
    """Lets a program in, in the name of a person: only while the person is, never with more than the person may."""

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    user = models.ForeignKey(User, models.CASCADE, related_name="tokens")
    team = models.ForeignKey(Team, models.CASCADE, null=True, related_name="+")  # null: every team of the user
    name = models.CharField(max_length=80)
    prefix = models.CharField(max_length=10, db_index=True)  # what people recognise it by
    scopes: Any = models.JSONField(default=list)  # people.access.READ, WRITE
    last_used_at = models.DateTimeField(null=True)

    objects = ApiTokens()

    @classmethod
    def make(cls, user: User, name: str, scopes: list[str], days: int | None = 90, team: Team | None = None) -> tuple[ApiToken, str]:
        """A token and its secret, which is nowhere kept."""
        secret = cls.draw()
        expires = cls.lasting(days=days) if days else None
        token = cls.objects.create(
            user=user, name=name, scopes=scopes, team=team, expires_at=expires, prefix=secret[:10], digest=digest(secret)
        )
        return token, secret

    @staticmethod
    def draw() -> str:
        """tb_, 32 random bytes, a checksum: scanners know it at sight, and a mistyped one costs no query."""
        body = base62(secrets.token_bytes(32), 43)
        return f"tb_{body}{checksum(body)}"

    @staticmethod
    def well_formed(secret: str) -> bool:
        return len(secret) == 52 and secret.isascii() and secret.startswith("tb_") and secret[46:] == checksum(secret[3:46])

    def touch(self) -> None:
        """Remember the use, at most once a minute. Never raises: whoever reads is served on a full or busy disk too."""
        stale = now() - timedelta(minutes=1)
        if self.last_used_at is None or self.last_used_at < stale:
            try:
                with transaction.atomic():
                    ApiToken.objects.filter(Q(last_used_at=None) | Q(last_used_at__lt=stale), pk=self.pk).update(last_used_at=now())
            except DatabaseError as error:
                log.warning("could not note the use of the token %s: %s", self.prefix, error)

    @property
    def has_expired(self) -> bool:
        return self.expires_at is not None and self.expires_at <= now()


DIGITS = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"


def base62(raw: bytes, width: int) -> str:
    number, digits = int.from_bytes(raw, "big"), ""
    while number:
        number, rest = divmod(number, 62)
        digits = DIGITS[rest] + digits
    return digits.rjust(width, "0")


def checksum(body: str) -> str:
    return base62(zlib.crc32(body.encode()).to_bytes(4, "big"), 6)
