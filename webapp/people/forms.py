"""What people fill in about themselves and their team; every limit is said beside the field."""

from __future__ import annotations

from typing import Any

from django import forms
from django.contrib.auth.forms import BaseUserCreationForm
from django.utils.translation import gettext_lazy as _

from webapp.people.access import READ, WRITE
from webapp.people.models import Role, Team, User

SCOPES = {"read": [READ], "write": [READ, WRITE]}


class TeamForm(forms.ModelForm):
    class Meta:
        model = Team
        fields = ("name",)
        labels = {"name": _("Name of the team")}
        help_texts = {"name": _("At most 80 characters.")}


class RoleForm(forms.Form):
    role = forms.ChoiceField(label=_("Role"), choices=Role.choices, initial=Role.EDITOR)


class TokenForm(forms.Form):
    name = forms.CharField(label=_("Name"), max_length=80, help_text=_("For your own reference, e.g. “nightly import”."))
    scope = forms.ChoiceField(label=_("Scope"), choices=[("write", _("Read and write")), ("read", _("Read only"))])
    days = forms.TypedChoiceField(
        label=_("Expires after"),
        coerce=int,
        initial=90,
        choices=[(7, _("7 days")), (30, _("30 days")), (90, _("90 days")), (365, _("1 year"))],
    )
    team = forms.ModelChoiceField(label=_("Team"), queryset=Team.objects.none(), required=False, empty_label=_("All my teams"))

    def __init__(self, user: User, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.fields["team"].queryset = user.teams.order_by("name")  # type: ignore[attr-defined]

    @property
    def scopes(self) -> list[str]:
        return SCOPES[self.cleaned_data["scope"]]


class JoinForm(BaseUserCreationForm):
    class Meta:
        model = User
        fields = ("username",)
