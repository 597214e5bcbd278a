"""Tokens: shown once, kept as a hash, never more than their person, gone when revoked, expired or the person is."""

import os
import subprocess
import sys
from datetime import timedelta
from io import StringIO
from pathlib import Path

import pytest
from django.core.management import CommandError, call_command
from django.utils.timezone import now

from webapp.people.access import Denied, holder_of
from webapp.people.models import ApiToken, Membership, Team

ROOT = Path(__file__).resolve().parent.parent.parent


def test_a_token_is_recognised_by_its_secret_and_kept_only_as_a_hash(alice):
    token, secret = ApiToken.make(alice, "import", ["read", "write"])
    assert secret.startswith("tb_") and len(secret) == 52
    assert ApiToken.objects.holding(secret) == token
    assert secret not in str(list(ApiToken.objects.values()))
    assert secret[10:] not in str(list(ApiToken.objects.values()))


def test_a_mistyped_token_fails_its_checksum_without_a_query(alice, django_assert_num_queries):
    _token, secret = ApiToken.make(alice, "import", ["read"])
    wrong = secret[:20] + ("a" if secret[20] != "a" else "b") + secret[21:]
    with django_assert_num_queries(0):
        assert ApiToken.objects.holding(wrong) is None
        assert ApiToken.objects.holding("") is None
        assert ApiToken.objects.holding("tb_ünïcode") is None


def test_a_well_formed_token_of_nobody_opens_nothing(alice):
    assert ApiToken.objects.holding(ApiToken.draw()) is None


def test_an_expired_token_opens_nothing(alice):
    token, secret = ApiToken.make(alice, "import", ["read"], days=1)
    ApiToken.objects.filter(pk=token.pk).update(expires_at=now() - timedelta(seconds=1))
    assert ApiToken.objects.holding(secret) is None


def test_a_token_of_somebody_switched_off_opens_nothing(alice):
    _token, secret = ApiToken.make(alice, "import", ["read"])
    alice.is_active = False
    alice.save()
    assert ApiToken.objects.holding(secret) is None


def test_the_last_use_is_written_at_most_once_a_minute(alice, django_assert_num_queries):
    token, secret = ApiToken.make(alice, "import", ["read"])
    ApiToken.objects.holding(secret)
    token.refresh_from_db()
    first = token.last_used_at
    assert first is not None
    with django_assert_num_queries(1):
        ApiToken.objects.holding(secret)
    ApiToken.objects.filter(pk=token.pk).update(last_used_at=now() - timedelta(minutes=2))
    ApiToken.objects.holding(secret)
    token.refresh_from_db()
    assert token.last_used_at >= first


def test_a_reading_token_of_an_owner_may_not_write(alice, team):
    token, _secret = ApiToken.make(alice, "look", ["read"])
    actor = holder_of(token)
    assert actor.may("read", team.pk)
    with pytest.raises(Denied, match="only read"):
        actor.require("write", team.pk)


def test_a_writing_token_of_a_viewer_may_still_only_look(vera, team):
    token, _secret = ApiToken.make(vera, "hope", ["read", "write"])
    assert not holder_of(token).may("write", team.pk)


def test_a_token_for_one_team_does_not_see_the_others(alice, team):
    other = Team.objects.found("Second", alice)
    token, _secret = ApiToken.make(alice, "narrow", ["read"], team=other)
    assert holder_of(token).team_ids == [other.pk]
    Membership.objects.get(team=team, user=alice)
    Membership.objects.filter(team=other).delete()
    assert holder_of(token).team_ids == []


def test_the_command_prints_the_token_as_its_last_line(alice):
    out = StringIO()
    call_command("token", user="alice", name="cli", days=1, scopes="read", stdout=out, stderr=StringIO())
    token = ApiToken.objects.holding(out.getvalue().splitlines()[-1])
    assert token.name == "cli" and token.scopes == ["read"]


def test_the_command_says_when_there_is_nobody_of_that_name(db):
    with pytest.raises(CommandError, match="nobody called 'zoe'"):
        call_command("token", user="zoe")


def test_the_account_page_shows_a_new_token_once(alice, signed_in):
    page = signed_in(alice).post("/account/tokens/", {"name": "nightly", "scope": "write", "days": "30", "team": ""})
    secret = next(
        word for word in page.content.decode().replace("<", " ").replace(">", " ").split() if word.startswith("tb_") and len(word) == 52
    )
    assert ApiToken.objects.holding(secret).user == alice
    assert "no-store" in page["Cache-Control"]
    assert secret not in signed_in(alice).get("/account/").content.decode()


def test_a_revoked_token_opens_nothing_and_nobody_revokes_anothers(alice, bob, client):
    token, secret = ApiToken.make(alice, "import", ["read"])
    client.force_login(bob)
    assert client.post(f"/account/tokens/{token.pk}/revocation/").status_code == 404
    client.force_login(alice)
    assert client.post(f"/account/tokens/{token.pk}/revocation/").status_code == 302
    assert ApiToken.objects.holding(secret) is None


def test_a_token_may_not_be_limited_to_a_team_of_others(alice, charlie, signed_in):
    theirs = charlie.teams.get()
    page = signed_in(alice).post("/account/tokens/", {"name": "x", "scope": "read", "days": "7", "team": str(theirs.pk)})
    assert page.status_code == 422 and not ApiToken.objects.exists()


def test_a_token_opens_no_page_and_so_cannot_make_tokens(alice, client):
    _token, secret = ApiToken.make(alice, "import", ["read", "write"])
    for path in ("/account/", "/team/", "/"):
        assert client.get(path, headers={"Authorization": f"Bearer {secret}"}).status_code == 302


def test_a_command_in_an_empty_home_says_where_it_should_look(tmp_path):
    """Run as people run it: in a process of its own, whose home holds nothing."""
    home = tmp_path / "home"
    environment = {name: value for name, value in os.environ.items() if name != "DATABASE_URL"} | {"TUNEBENCH_HOME": str(home)}
    environment.pop("DJANGO_SETTINGS_MODULE", None)
    done = subprocess.run(
        [sys.executable, "manage.py", "token", "--user", "owner"], cwd=ROOT, env=environment, capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 1 and "TUNEBENCH_HOME" in done.stderr and "Traceback" not in done.stderr
    assert home.stat().st_mode & 0o077 == 0, "what lies there is for nobody else on the machine"
