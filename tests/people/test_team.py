"""The team page: owners change, others look; a team is never without an owner."""

import threading

import pytest
from django.db import connection

from webapp.people.models import Invitation, LastOwner, Membership, Team


def test_an_owner_makes_an_invitation_link_that_is_shown_once(alice, team, signed_in, client):
    page = signed_in(alice).post("/team/invitations/", {"role": "viewer"})
    link = page.context["link"]
    assert link.startswith("http://testserver/invitations/") and link in page.content.decode()
    assert link not in signed_in(alice).get("/team/").content.decode()
    assert Invitation.objects.get().role == "viewer"


@pytest.mark.parametrize("act", ["invitations/", "name/", "members/{pk}/role/", "members/{pk}/removal/"])
def test_an_editor_and_a_viewer_change_nothing_about_the_team(act, alice, bob, vera, team, signed_in):
    owner = team.memberships.get(user=alice)
    for user in (bob, vera):
        answer = signed_in(user).post("/team/" + act.format(pk=owner.pk), {"role": "viewer", "name": "Mine"})
        assert answer.status_code == 403 and "An owner of the team can change your role" in answer.content.decode()
    team.refresh_from_db()
    assert team.name == "alice's team" and team.memberships.get(user=alice).role == "owner" and not Invitation.objects.exists()


def test_a_stranger_reaches_no_member_of_the_team(bob, team, charlie, signed_in):
    membership = team.memberships.get(user=bob)
    for act in ("role/", "removal/"):
        assert signed_in(charlie).post(f"/team/members/{membership.pk}/{act}", {"role": "owner"}).status_code == 404
    assert team.memberships.get(user=bob).role == "editor"


def test_an_owner_changes_a_role_and_removes_a_member(alice, bob, team, signed_in):
    membership = team.memberships.get(user=bob)
    signed_in(alice).post(f"/team/members/{membership.pk}/role/", {"role": "viewer"})
    assert team.memberships.get(user=bob).role == "viewer"
    signed_in(alice).post(f"/team/members/{membership.pk}/removal/")
    assert not team.memberships.filter(user=bob).exists()


def test_anybody_may_leave(vera, team, signed_in):
    membership = team.memberships.get(user=vera)
    signed_in(vera).post(f"/team/members/{membership.pk}/removal/")
    assert not team.memberships.filter(user=vera).exists()
    assert "You are in no team yet" in signed_in(vera).get("/team/").content.decode()
    assert signed_in(vera).get("/").status_code == 200


def test_the_last_owner_can_neither_leave_nor_step_down(alice, bob, team, signed_in):
    membership = team.memberships.get(user=alice)
    for act, sent in (("removal/", {}), ("role/", {"role": "editor"})):
        answer = signed_in(alice).post(f"/team/members/{membership.pk}/{act}", sent, follow=True)
        assert "A team needs an owner" in answer.content.decode()
        assert team.memberships.get(user=alice).role == "owner"


@pytest.mark.django_db(transaction=True)
def test_of_two_owners_who_leave_at_once_one_stays():
    from tests.conftest import person

    team = person("alice").teams.get()
    person("dora", team, "owner")
    left, start = [], threading.Barrier(2)

    def leave(pk):
        membership = Membership.objects.select_related("team").get(pk=pk)
        start.wait()
        try:
            membership.leave()
            left.append(pk)
        except LastOwner:
            pass
        connection.close()

    threads = [threading.Thread(target=leave, args=[pk]) for pk in team.memberships.values_list("pk", flat=True)]
    [thread.start() for thread in threads]
    [thread.join() for thread in threads]
    assert len(left) == 1 and team.memberships.get().role == "owner"


def test_a_person_founds_a_team_and_switches_between_theirs(alice, team, signed_in):
    client = signed_in(alice)
    client.post("/teams/", {"name": "Second"})
    assert client.get("/team/").context["team"].name == "Second"
    client.post("/teams/choice/", {"team": str(team.pk)})
    assert client.get("/team/").context["team"] == team


def test_nobody_switches_into_a_team_of_others(charlie, team, signed_in):
    client = signed_in(charlie)
    assert client.post("/teams/choice/", {"team": str(team.pk)}).status_code == 404
    assert client.get("/team/").context["team"] != team


def test_an_owner_withdraws_an_invitation_but_not_that_of_another_team(alice, team, charlie, signed_in):
    team.invite("editor", alice)
    invitation = Invitation.objects.get()
    assert signed_in(charlie).post(f"/team/invitations/{invitation.pk}/withdrawal/").status_code == 404
    assert Invitation.objects.exists()
    signed_in(alice).post(f"/team/invitations/{invitation.pk}/withdrawal/")
    assert not Invitation.objects.exists()


def test_a_name_of_the_team_enters_the_page_as_text(alice, team, signed_in):
    signed_in(alice).post("/team/name/", {"name": "<script>alert(1)</script>"})
    assert Team.objects.get(pk=team.pk).name == "<script>alert(1)</script>"
    page = signed_in(alice).get("/team/").content.decode()
    assert "<script>alert" not in page and "&lt;script&gt;alert" in page
