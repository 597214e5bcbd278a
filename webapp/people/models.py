"""Who there is: users, teams, memberships, invitations, API tokens, one-time sign-in links."""

from __future__ import annotations

import hashlib
import secrets
from datetime import timedelta
from typing import Any

from django.contrib.auth.models import AbstractUser
from django.db import models
from django.utils.timezone import now
from django.utils.translation import gettext_lazy as _

from webapp.ids import uuid7


class User(AbstractUser):
    """A person who signs in."""


class Role(models.TextChoices):
    OWNER = "owner", _("Owner")
    EDITOR = "editor", _("Editor")
    VIEWER = "viewer", _("Viewer")


class Team(models.Model):
    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    name = models.CharField(max_length=80)
    members: models.ManyToManyField[User, Membership] = models.ManyToManyField(User, through="Membership", related_name="teams")
    created_at = models.DateTimeField(auto_now_add=True)

    def __str__(self) -> str:
        return self.name


class Membership(models.Model):
    team = models.ForeignKey(Team, models.CASCADE, related_name="memberships")
    user = models.ForeignKey(User, models.CASCADE, related_name="memberships")
    role = models.CharField(max_length=10, choices=Role.choices, default=Role.EDITOR)
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        constraints = [models.UniqueConstraint(fields=["team", "user"], name="one_membership_per_team")]


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
    def lasting(**span: float) -> Any:
        return now() + timedelta(**span)

    @staticmethod
    def draw() -> str:
        return secrets.token_urlsafe(32)
