"""The team: who is in it, in which role, and how others come in."""

from typing import Any

from allauth.account.utils import perform_login
from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.db import IntegrityError
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.utils.translation import gettext as _
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_GET, require_POST

from webapp.people.access import MANAGE, SignedIn
from webapp.people.forms import JoinForm, RoleForm, TeamForm
from webapp.people.models import Invitation, LastOwner, Membership, Team, User


@login_required
@require_GET
def page(request: SignedIn) -> HttpResponse:
    return team_page(request)


@login_required
@require_POST
def rename(request: SignedIn) -> HttpResponse:
    form = TeamForm(request.POST, instance=managed_team(request))
    if not form.is_valid():
        return team_page(request, status=422, name_form=form)
    form.save()
    return redirect("people:team")


@login_required
@require_POST
@never_cache
def invite(request: SignedIn) -> HttpResponse:
    team, form = managed_team(request), RoleForm(request.POST)
    if not form.is_valid():
        return team_page(request, status=422, invite_form=form)
    link = request.build_absolute_uri(team.invite(form.cleaned_data["role"], request.user))
    return team_page(request, link=link)


@login_required
@require_POST
def withdraw(request: SignedIn, pk: int) -> HttpResponse:
    get_object_or_404(managed_team(request).invitations, pk=pk).delete()
    messages.success(request, _("The invitation has been withdrawn."))
    return redirect("people:team")


@login_required
@require_POST
def change_role(request: SignedIn, pk: int) -> HttpResponse:
    membership, form = get_object_or_404(managed_team(request).memberships, pk=pk), RoleForm(request.POST)
    if not form.is_valid():
        raise Http404
    try:
        membership.become(form.cleaned_data["role"])
        messages.success(request, _("%(name)s is now: %(role)s.") % {"name": membership.user, "role": membership.get_role_display()})
    except LastOwner:
        messages.error(request, _("A team needs an owner. Make someone else an owner first."))
    return redirect("people:team")


@login_required
@require_POST
def remove(request: SignedIn, pk: int) -> HttpResponse:
    """An owner removes anybody; everybody may remove themselves."""
    actor = request.actor
    membership = get_object_or_404(Membership, pk=pk, team=actor.team_id)
    if membership.user_id != request.user.pk:
        actor.require(MANAGE, membership.team_id)
    try:
        membership.leave()
        messages.success(request, _("%(name)s is no longer in the team.") % {"name": membership.user})
    except LastOwner:
        messages.error(request, _("A team needs an owner. Make someone else an owner first."))
    return redirect("people:team")


@login_required
@require_POST
def found(request: SignedIn) -> HttpResponse:
    form = TeamForm(request.POST)
    if not form.is_valid():
        return team_page(request, status=422, new_form=form)
    team = Team.objects.found(form.cleaned_data["name"], request.user)
    request.session["team"] = str(team.pk)
    messages.success(request, _("You now work in the team “%(name)s”.") % {"name": team})
    return redirect("people:team")


@login_required
@require_POST
def choose(request: SignedIn) -> HttpResponse:
    team = next((t for t in request.actor.team_ids if str(t) == request.POST.get("team")), None)
    if team is None:
        raise Http404
    request.session["team"] = str(team)
    return redirect("/")


@never_cache
@require_GET
def invitation(request: HttpRequest, secret: str) -> HttpResponse:
    return invitation_page(request, secret, JoinForm())


@never_cache
@require_POST
def acceptance(request: HttpRequest, secret: str) -> HttpResponse:
    """Join as who one is, or as somebody new."""
    invited = Invitation.unused(secret)
    if invited is None:
        return invitation_page(request, secret, JoinForm())
    if request.user.is_authenticated:
        if not invited.accept(request.user):
            return invitation_page(request, secret, JoinForm())
        request.session["team"] = str(invited.team_id)
        return redirect("/")
    form = JoinForm(request.POST)
    if not form.is_valid():
        return invitation_page(request, secret, form, status=422)
    try:
        user = invited.accept_newcomer(form.save)
    except IntegrityError:  # the name was taken a moment ago
        form.add_error("username", form.instance.unique_error_message(User, ("username",)))
        return invitation_page(request, secret, form, status=422)
    if user is None:
        return invitation_page(request, secret, JoinForm())
    answer: HttpResponse = perform_login(request, user, redirect_url="/")
    return answer


def invitation_page(request: HttpRequest, secret: str, form: JoinForm, status: int = 200) -> HttpResponse:
    invited = Invitation.unused(secret)
    context = {"invitation": invited, "secret": secret, "form": form}
    answer = render(request, "people/invitation.html", context, status=status if invited else 410)
    answer["Referrer-Policy"] = "same-origin"  # the form needs its origin checked; other sites learn nothing
    return answer


def managed_team(request: SignedIn) -> Team:
    """The team that the person works in, if they may change it."""
    actor = request.actor
    actor.require(MANAGE, actor.team_id)
    assert actor.team_id, "whoever may manage has a team"
    return Team.objects.get(pk=actor.team_id)


def team_page(request: SignedIn, status: int = 200, **shown: Any) -> HttpResponse:
    actor = request.actor
    team = Team.objects.filter(pk=actor.team_id).first() if actor.team_id else None
    context = {
        "team": team,
        "teams": Team.objects.filter(pk__in=actor.team_ids).order_by("name"),
        "may_manage": team is not None and actor.may(MANAGE, team.pk),
        "members": team.memberships.select_related("user").order_by("created_at") if team else [],
        "invitations": Invitation.holding().filter(team=team).order_by("-pk") if team else [],
        "name_form": TeamForm(instance=team, prefix=None),
        "new_form": TeamForm(auto_id="new_%s"),
        "invite_form": RoleForm(auto_id="invite_%s"),
        "role_form": RoleForm(),
    }
    return render(request, "people/team.html", context | shown, status=status)
