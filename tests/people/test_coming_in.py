"""How people come in: the first start, one-time links, invitations, passwords. Registration is closed."""

import threading
from datetime import timedelta
from io import StringIO

import pytest
from django.core.management import call_command
from django.db import connection
from django.utils.timezone import now

from tests.conftest import person
from webapp.people.models import Invitation, Membership, SignInLink, Team, User


def test_the_first_start_makes_an_owner_with_a_team_and_a_link_that_works(db, client):
    user, link = User.objects.first_start()
    assert user.username == "owner" and user.memberships.get().role == "owner"
    answer = client.get(link)
    assert answer.status_code == 302 and answer["Location"] == "/" and answer["Referrer-Policy"] == "no-referrer"
    assert client.get("/").wsgi_request.user == user


def test_the_second_start_makes_nobody(db):
    User.objects.first_start()
    assert User.objects.first_start() is None
    assert User.objects.count() == 1


def test_a_sign_in_link_works_once(alice, client):
    link = alice.sign_in_link()
    client.get(link)
    client.logout()
    answer = client.get(link)
    assert answer.status_code == 410 and "works once" in answer.content.decode()
    assert not answer.wsgi_request.user.is_authenticated


def test_a_sign_in_link_ends_after_15_minutes(alice, client):
    link = alice.sign_in_link()
    assert SignInLink.objects.get().expires_at - now() <= timedelta(minutes=15)
    SignInLink.objects.update(expires_at=now() - timedelta(seconds=1))
    assert client.get(link).status_code == 410


def test_the_secret_of_a_link_is_not_in_the_database(alice):
    link = alice.sign_in_link()
    assert link.split("/")[-2] not in str(list(SignInLink.objects.values()))


@pytest.mark.django_db(transaction=True)
def test_of_two_who_use_a_link_at_once_one_comes_in():
    person("alice").sign_in_link()
    link, won, start = SignInLink.objects.get(), [], threading.Barrier(2)

    def use():
        start.wait()
        won.append(link.use())
        connection.close()

    threads = [threading.Thread(target=use) for _ in range(2)]
    [thread.start() for thread in threads]
    [thread.join() for thread in threads]
    assert sorted(won) == [False, True]


def test_the_link_of_somebody_else_asks_before_it_replaces_a_session(alice, bob, signed_in):
    client, link = signed_in(alice), bob.sign_in_link()
    page = client.get(link)
    assert (
        page.status_code == 200
        and "You are signed in as alice" in page.content.decode()
        and "Sign in as bob instead" in page.content.decode()
    )
    assert client.get("/").wsgi_request.user == alice, "to look changes nothing, and uses nothing up"
    client.session.update({"team": "of alice"})
    assert client.post(link).status_code == 302
    assert client.get("/").wsgi_request.user == bob and "team" not in client.session


def test_no_other_site_sends_that_form(alice, bob):
    from django.test import Client

    client = Client(enforce_csrf_checks=True)
    client.force_login(alice)
    assert client.post(bob.sign_in_link()).status_code == 403
    assert client.get("/").wsgi_request.user == alice


def test_ones_own_link_is_used_up_while_signed_in_too(alice, signed_in):
    client, link = signed_in(alice), alice.sign_in_link()
    assert client.get(link)["Location"] == "/" and client.get("/").wsgi_request.user == alice
    assert SignInLink.unused(link.split("/")[-2]) is None


def test_a_second_factor_is_asked_before_another_session_takes_over(alice, bob, signed_in):
    from allauth.mfa.totp.internal.auth import TOTP

    TOTP.activate(bob, "JBSWY3DPEHPK3PXP")
    client = signed_in(alice)
    assert client.post(bob.sign_in_link())["Location"].startswith("/accounts/mfa/authenticate/")
    assert not client.get("/accounts/login/").wsgi_request.user.is_authenticated


def test_the_link_of_somebody_switched_off_opens_nothing(alice, client):
    link = alice.sign_in_link()
    User.objects.filter(pk=alice.pk).update(is_active=False)
    assert client.get(link).status_code == 410


def test_the_commands_print_links_that_work(alice, team, client):
    out = StringIO()
    call_command("sign_in_link", user="alice", stdout=out)
    assert client.get(out.getvalue().strip()).status_code == 302
    out = StringIO()
    call_command("invite", role="viewer", stdout=out)
    assert client.get(out.getvalue().strip()).status_code == 200


def test_an_invitation_lets_somebody_new_in_once_with_its_role(alice, team, client):
    link = team.invite("viewer", alice)
    page = client.get(link).content.decode()
    assert "alice invites you" in page and "Viewer" in page
    new = {"username": "dora", "password1": "correct horse battery", "password2": "correct horse battery"}
    answer = client.post(f"{link}acceptance/", new)
    assert answer.status_code == 302 and answer["Location"] == "/"
    dora = User.objects.get(username="dora")
    assert Membership.objects.get(user=dora).role == "viewer" and client.get("/").wsgi_request.user == dora
    client.logout()
    again = client.post(f"{link}acceptance/", new | {"username": "eve"})
    assert again.status_code == 410 and not User.objects.filter(username="eve").exists()


def test_an_invitation_lets_somebody_known_into_a_second_team(team, alice, charlie, signed_in):
    link = team.invite("editor", alice)
    client = signed_in(charlie)
    assert "Join as charlie" in client.get(link).content.decode()
    client.post(f"{link}acceptance/")
    assert team.memberships.get(user=charlie).role == "editor"
    assert client.get("/team/").context["team"] == team


def test_an_invitation_does_not_change_the_role_of_a_member(team, alice, signed_in):
    signed_in(alice).post(f"{team.invite('viewer', alice)}acceptance/")
    assert team.memberships.get(user=alice).role == "owner"


def test_an_expired_or_withdrawn_invitation_says_so(team, alice, client):
    expired, withdrawn = team.invite("editor", alice), team.invite("editor", alice)
    first, second = Invitation.objects.order_by("pk")
    assert first.expires_at - now() <= timedelta(days=7)
    Invitation.objects.filter(pk=first.pk).update(expires_at=now())
    second.delete()
    for link in (expired, withdrawn):
        answer = client.get(link)
        assert answer.status_code == 410 and "This invitation has expired" in answer.content.decode()


@pytest.mark.parametrize("fate", ["removed", "demoted", "switched off", "deleted"])
def test_who_may_not_invite_any_more_has_not_invited(fate, team, alice, bob, client, signed_in):
    """An owner who was removed does not come back by an invitation that they made for themselves."""
    dora = person("dora", team, "owner")
    link = team.invite("owner", dora)
    membership = team.memberships.get(user=dora)
    match fate:
        case "removed":
            membership.leave()
        case "demoted":
            membership.become("editor")
        case "switched off":
            User.objects.filter(pk=dora.pk).update(is_active=False)
        case "deleted":
            dora.delete()
    answer = client.get(link)
    assert answer.status_code == 410 and "This invitation has expired" in answer.content.decode()
    client.force_login(dora if fate in ("removed", "demoted") else bob)
    assert client.post(f"{link}acceptance/").status_code == 410
    assert list(team.memberships.filter(role="owner", user__is_active=True).values_list("user__username", flat=True)) == ["alice"]
    assert not signed_in(alice).get("/team/").context["invitations"]


def test_an_invitation_of_the_operator_needs_nobody_in_the_team(team, charlie, signed_in):
    assert signed_in(charlie).post(f"{team.invite('owner', None)}acceptance/").status_code == 302
    assert team.memberships.get(user=charlie).role == "owner"


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("names", [("dora", "eve"), ("dora", "dora")])
def test_of_two_who_take_an_invitation_at_once_one_joins_and_one_is_told(names):
    from django.test import Client

    team = person("alice").teams.get()
    link, start = team.invite("editor", team.members.get()), threading.Barrier(2)
    answers: list[tuple[int, str]] = []

    def take(name):
        new = {"username": name, "password1": "correct horse battery", "password2": "correct horse battery"}
        client = Client(raise_request_exception=False)
        start.wait()
        answer = client.post(f"{link}acceptance/", new)
        answers.append((answer.status_code, answer.content.decode()))
        connection.close()

    threads = [threading.Thread(target=take, args=[name]) for name in names]
    [thread.start() for thread in threads]
    [thread.join() for thread in threads]
    (won, _), (lost, said) = sorted(answers)
    assert won == 302 and lost in (410, 422)
    assert "This invitation has expired" in said or "already exists" in said
    assert team.memberships.count() == 2 and User.objects.count() == 2


@pytest.mark.django_db(transaction=True)
def test_who_is_late_by_the_time_the_form_is_sent_is_told_and_not_made(client, monkeypatch):
    """The moment between the look at the invitation and its use, held open."""
    team = person("alice").teams.get()
    link = team.invite("editor", None)
    monkeypatch.setattr(Invitation, "use", lambda invitation: False)
    new = {"username": "dora", "password1": "correct horse battery", "password2": "correct horse battery"}
    for user in (None, person("charlie")):
        if user:
            client.force_login(user)
        answer = client.post(f"{link}acceptance/", new)
        assert answer.status_code == 200 and "Join" in answer.content.decode()
    assert not User.objects.filter(username="dora").exists() and team.memberships.count() == 1


def test_a_weak_password_is_refused_with_the_reason(team, alice, client):
    link = team.invite("editor", alice)
    answer = client.post(f"{link}acceptance/", {"username": "dora", "password1": "short", "password2": "short"})
    assert answer.status_code == 422 and "at least 10 characters" in answer.content.decode()
    assert not User.objects.filter(username="dora").exists()


def test_nobody_can_register_unasked(db, client):
    assert "by invitation" in client.get("/accounts/signup/").content.decode()
    new = {"username": "eve", "password1": "correct horse battery", "password2": "correct horse battery"}
    client.post("/accounts/signup/", new)
    assert not User.objects.exists()
    assert "Create an account" not in client.get("/accounts/login/").content.decode()


def test_where_registration_is_open_a_newcomer_gets_a_team(db, client, settings):
    settings.REGISTRATION_OPEN = True
    assert "Create an account" in client.get("/accounts/login/").content.decode()
    new = {"username": "dora", "password1": "correct horse battery", "password2": "correct horse battery"}
    client.post("/accounts/signup/", new)
    assert User.objects.get(username="dora").memberships.get().role == "owner" and Team.objects.count() == 1


def test_a_password_signs_in_and_a_wrong_one_does_not(alice, client):
    assert client.post("/accounts/login/", {"login": "alice", "password": "wrong"}).status_code == 200
    assert not client.get("/accounts/login/").wsgi_request.user.is_authenticated
    answer = client.post("/accounts/login/", {"login": "alice", "password": "correct horse battery"})
    assert answer.status_code == 302 and client.get("/").wsgi_request.user == alice


def test_the_way_after_signing_in_leads_to_no_other_site(alice, client):
    for way in ("//evil.test", "/\\evil.test", "https://evil.test/", "https:evil.test"):
        answer = client.post("/accounts/login/", {"login": "alice", "password": "correct horse battery", "next": way})
        assert answer["Location"] == "/"
        client.logout()


def test_guessing_passwords_is_slowed_down(alice, client):
    from django.core.cache import cache

    cache.clear()
    answers = [client.post("/accounts/login/", {"login": "alice", "password": f"wrong {n}"}) for n in range(12)]
    assert "Too many" in answers[-1].content.decode()
    cache.clear()


def test_a_code_is_asked_for_where_a_second_factor_is_on(alice, client):
    from allauth.mfa.adapter import get_adapter
    from allauth.mfa.models import Authenticator
    from allauth.mfa.totp.internal.auth import TOTP, format_hotp_value, hotp_value, yield_hotp_counters_from_time

    secret = "JBSWY3DPEHPK3PXP"
    TOTP.activate(alice, secret)
    assert Authenticator.objects.count() == 1 and get_adapter()
    for way_in in (
        lambda: client.get(alice.sign_in_link()),
        lambda: client.post("/accounts/login/", {"login": "alice", "password": "correct horse battery"}),
    ):
        answer = way_in()
        assert answer["Location"].startswith("/accounts/mfa/authenticate/")
        assert not client.get("/accounts/login/").wsgi_request.user.is_authenticated
    code = format_hotp_value(hotp_value(secret, next(yield_hotp_counters_from_time())))
    assert client.post("/accounts/mfa/authenticate/", {"code": code}).status_code == 302
    assert client.get("/").wsgi_request.user == alice


def test_signing_out_everywhere_else_ends_the_other_sessions(alice, client):
    from django.test import Client

    other = Client()
    other.get(alice.sign_in_link())
    client.get(alice.sign_in_link())
    assert other.get("/account/").status_code == 200
    client.post("/account/sessions/end/")
    assert other.get("/account/").status_code == 302
    assert client.get("/account/").status_code == 200


def test_a_page_is_in_one_language_also_for_who_prefers_another(client, db):
    page = client.get("/accounts/login/", HTTP_ACCEPT_LANGUAGE="zh-CN,zh;q=0.9").content.decode()
    assert '<html lang="en"' in page and "Password" in page and "密码" not in page
