"""Every address of the product is asked as everybody; access_matrix.yaml says what must come of it."""

import json
import re
from http.cookies import SimpleCookie
from pathlib import Path

import pytest
import yaml
from allauth.mfa.recovery_codes.internal.auth import RecoveryCodes
from allauth.mfa.totp.internal.auth import TOTP
from asgiref.sync import async_to_sync
from channels.testing import WebsocketCommunicator
from django.conf import settings
from django.db import transaction
from django.test import Client
from django.urls import URLPattern, get_resolver
from django.utils.timezone import now

from tests.conftest import person
from tests.datasets.cast import dropped, labour, reviews
from webapp.api.app import api
from webapp.catalog.models import ModelVersion
from webapp.datasets.models import Dataset, Upload
from webapp.people.access import actor_of
from webapp.people.models import ApiToken, Invitation
from webapp.playground.models import Prediction
from webapp.routing import websocket_urlpatterns
from webapp.runs.models import Run

MATRIX = yaml.safe_load((Path(__file__).parent / "access_matrix.yaml").read_text())
ROLES = ["viewer", "editor", "owner"]
CAST = {"viewer": "vera", "editor": "bob", "owner": "alice"}
JSON = "application/json"

# What an operation needs to come as far as asking who it is. Keys: "VERB address".
SENT = {
    "PATCH /api/v1/datasets/{pk}": {"name": "Other"},
    "PATCH /api/v1/runs/{pk}": {"name": "Other"},
    "POST /api/v1/models": {"hub": "org/model"},
    "POST /team/members/<int:pk>/role/": {"role": "viewer"},
    "POST /api/v1/models/{pk}/predictions": {"inputs": {"text": "Fine."}},
}


def addresses():
    """Every address that Django answers, as "/route", outside the API; and the API's and the sockets' as "VERB /route"."""

    def walk(patterns, prefix):
        for pattern in patterns:
            route = prefix + str(pattern.pattern)
            if isinstance(pattern, URLPattern):
                yield route
            else:
                yield from walk(pattern.url_patterns, route)

    pages = {route for route in walk(get_resolver().url_patterns, "/") if not route.startswith("/api/v1/")}
    operations = {f"{verb.upper()} {route}" for route, verbs in api.get_openapi_schema()["paths"].items() for verb in verbs}
    sockets = {f"WS /{pattern.pattern}" for pattern in websocket_urlpatterns}
    return pages, operations | {"GET /api/v1/openapi.json", "GET /api/v1/docs"}, sockets


def test_every_address_has_a_line_in_the_matrix():
    pages, operations, sockets = addresses()
    lines = set(MATRIX)
    named = {line.partition(" ")[2] for line in lines}
    assert not pages - named, "add them to tests/access_matrix.yaml"
    assert not (operations | sockets) - lines, "add them to tests/access_matrix.yaml"
    known = {line for line in lines if line in operations | sockets or line.partition(" ")[2] in pages}
    assert not lines - known, "these are gone"


def test_every_view_but_the_open_ones_asks_for_a_sign_in(client, db):
    """Also with a verb that the matrix does not name."""
    open_to_all = {line.partition(" ")[2] for line, least in MATRIX.items() if least == "anyone"}
    pages, _operations, _sockets = addresses()
    for route in pages - open_to_all:
        address = re.sub(r"<int:\w+>", "1", re.sub(r"<uuid:\w+>", "00000000-0000-7000-8000-000000000000", route)).replace(
            "<str:ending>", "csv"
        )
        for verb in ("GET", "POST", "PUT", "DELETE"):
            answer = client.generic(verb, address)
            assert answer.status_code in (302, 401, 403, 405), f"{verb} {address}: {answer.status_code}"
            assert answer.status_code != 302 or answer["Location"].startswith("/accounts/"), f"{verb} {address}"


@pytest.fixture
def things(team, alice, bob, vera, charlie, settings, tmp_path):
    settings.FILES = tmp_path
    return made(team, alice)


def made(team, alice):
    """One thing of each kind, all of Alice's team, by the words that addresses use."""
    dataset = dropped(alice, reviews())
    labour()
    version = dataset.versions.get()
    left = dataset.latest_import.folder / "read" / "rejected.csv"
    left.parent.mkdir(parents=True, exist_ok=True)
    left.write_text("row,problem\n")
    owned = {"team": team, "created_by": alice}
    model = ModelVersion.objects.create(
        **owned, name="mine", kind="run", folder="models/mine", task="classification", labels=["bad", "good"]
    )
    model.path.mkdir(parents=True)
    (model.path / "config.json").write_text("{}")
    (model.path / "model.safetensors").write_bytes(b"x")
    run = Run.objects.create(**owned, name="first", version=version, base=model, task="classification", method="full")
    written = settings.FILES / "checkpoint"
    written.mkdir()
    (written / "manifest.json").write_text('{"files": {}}')
    run.checkpoints.create(fence=1, step=5, path=str(written))
    dora = person("dora", team, "viewer")
    team.invite("editor", alice)
    return {
        "datasets": dataset.pk,
        "versions": version.pk,
        "runs": run.pk,
        "models": model.pk,
        "predictions": Prediction.objects.create(**owned, model=model, inputs={"text": "Fine."}).pk,
        "uploads": Upload.begin(actor_of(alice), "more.csv", 10).pk,
        "withdrawal": Invitation.objects.get().pk,
        "members": dora.memberships.get().pk,
        "tokens": ApiToken.make(alice, "mine", ["read"])[0].pk,
    }


def named(route, things):
    """The address, with the thing that it is about: the last word of `things` before the placeholder, or the one behind it."""
    words = [word for word in things if f"{word}/" in route]
    before = [word for word in words if route.find(f"{word}/") < min(route.find(mark) % 999 for mark in ("<", "{"))]
    word = "withdrawal" if "withdrawal" in words else before[-1] if before else ""
    route = re.sub(r"<(uuid|int):pk>|{pk}", lambda _found: str(things.get(word, "")), route)
    return (
        (route.replace("<int:number>", "1").replace("<str:ending>", "csv").replace("<int:position>", "0").replace("<str:secret>", "x" * 43))
        .replace("<int:step>", "5")
        .replace("{step}", "5")
        .replace("{position}", "0")
    )


def ask(line, client, things, key=""):
    """What comes back; whatever it changed is undone."""
    verb, _space, route = line.partition(" ")
    client.cookies = SimpleCookie(client.kept)  # signing out, too, is undone
    headers = {"Authorization": f"Bearer {key}"} if key else {}
    if "/uploads/" in route:
        headers |= {"Tus-Resumable": "1.0.0", "Upload-Length": "10", "Upload-Offset": "0"}
    body = SENT.get(line, {})
    if line == "POST /api/v1/runs":
        body = {"version": str(things["versions"]), "task": "classification", "base_model": str(things["models"])}
    if line == "POST /teams/choice/" and client.user:
        body = {"team": str(client.user.teams.get().pk)}
    with transaction.atomic():
        if route.rstrip("/").endswith("restoration"):
            for kind in (Dataset.every, ModelVersion.objects, Run.objects):
                kind.update(deleted_at=now())
        if verb == "POST" and ("/api/" not in route or line == "POST /api/v1/datasets"):
            answer = client.post(named(route, things), body, headers=headers)
        else:
            kind = "application/offset+octet-stream" if "/uploads/" in route else "application/json"
            sent = "" if verb in ("GET", "HEAD") or "/uploads/" in route else json.dumps(body)
            answer = client.generic(verb, named(route, things), sent, content_type=kind, headers=headers)
        transaction.set_rollback(True)
    return answer


def browser(user):
    client = Client()
    client.user = user
    if user:
        client.force_login(user)
    client.kept = client.cookies.output(header="").strip()
    return client


def outcome(answer):
    """How far the asker came, in a word."""
    if answer.status_code == 401 or (answer.status_code == 302 and answer["Location"].startswith("/accounts/login/")):
        return "sign in first"
    words = {403: "not allowed", 404: "not there", 405: "wrong verb"}
    return words.get(answer.status_code, "reached")


def expected(line, who):
    least = MATRIX[line]
    if least == "anyone":
        return "reached"
    if who == "nobody":
        return "sign in first"
    if least == "self":
        return "reached" if who == "owner" else "not there"
    if least == "signed-in":
        return "reached"
    if who == "stranger":
        return "not there" if "<" in line or "{" in line or line == "POST /api/v1/runs" else "reached"  # its body names Alice's version
    return "reached" if ROLES.index(who) >= ROLES.index(least) else "not allowed"


ASKING = ["POST /api/v1/models/{pk}/predictions"]  # changes nothing but the history, and whoever may look may ask
OPERATIONS = [line for line in MATRIX if "/api/" in line]
PAGES = [line for line in MATRIX if line not in OPERATIONS and not line.startswith("WS ")]


@pytest.mark.parametrize("lines", [PAGES, OPERATIONS], ids=["pages", "api"])
def test_everybody_comes_just_as_far_as_they_may(lines, things, alice, bob, vera, charlie):
    cast = {"nobody": None, "stranger": charlie, "viewer": vera, "editor": bob, "owner": alice}
    if lines is PAGES:
        for user in (charlie, vera, bob, alice):
            RecoveryCodes.activate(TOTP.activate(user, "JBSWY3DPEHPK3PXP").instance.user)
    clients = {who: browser(user) for who, user in cast.items()}
    wrong = []
    for line in lines:
        for who, client in clients.items():
            answer = ask(line, client, things)
            if outcome(answer) != expected(line, who):
                wrong.append(f"{line}: {who} got {answer.status_code}, expected: {expected(line, who)}")
    assert not wrong, "\n".join(wrong)


def test_a_token_comes_just_as_far_as_its_person(things, alice, vera, charlie):
    cast = {"stranger": charlie, "viewer": vera, "owner": alice}
    keys = {who: ApiToken.make(user, "test", ["read", "write"])[1] for who, user in cast.items()}
    client, wrong = browser(None), []
    for line in (line for line in OPERATIONS if MATRIX[line] != "anyone"):
        for who, key in keys.items():
            if outcome(answer := ask(line, client, things, key)) != expected(line, who):
                wrong.append(f"{line}: {who} got {answer.status_code}, expected: {expected(line, who)}")
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize("scopes", [[], ["read"], ["write"], ["manage"], ["read", "write"]], ids=lambda scopes: "+".join(scopes) or "none")
def test_a_token_comes_no_farther_than_its_scopes(scopes, things, alice):
    """Every operation and every verb of an upload, with the token of an owner: what it was not made for is refused."""
    key, client, wrong = ApiToken.make(alice, "test", scopes)[1], browser(None), []
    for line in (line for line in MATRIX if ("/api/" in line or "/uploads/" in line) and MATRIX[line] != "anyone"):
        verb, _space, route = line.partition(" ")
        act = "read" if line in ASKING or (verb in ("GET", "HEAD") and "/uploads/" not in route) else "write"
        got = outcome(answer := ask(line, client, things, key))
        if act not in scopes and got != "not allowed":
            wrong.append(f"{line}: a token for {scopes} got {answer.status_code}")
        if {"read", act} <= set(scopes) and got != "reached":
            wrong.append(f"{line}: a token for {scopes} got {answer.status_code}, should reach it")
    assert not wrong, "\n".join(wrong)


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("line", [line for line in MATRIX if line.startswith("WS ")])
def test_a_socket_opens_for_the_team_and_for_nobody_else(line, settings, tmp_path):
    from webapp.asgi import application

    settings.FILES = tmp_path
    alice = person("alice")
    team = alice.teams.get()
    vera, charlie = person("vera", team, "viewer"), person("charlie")
    address = named(line.partition(" ")[2], made(team, alice))

    def opens(user):
        client = Client()
        if user:
            client.force_login(user)
        cookie = f"sessionid={client.cookies['sessionid'].value}" if user else "a=b"
        sent = [(b"host", b"testserver"), (b"origin", b"http://testserver"), (b"cookie", cookie.encode())]

        async def knock():
            socket = WebsocketCommunicator(application, address, headers=sent)
            connected, _code = await socket.connect(timeout=10)
            message = None
            if connected:
                message = await socket.receive_output(timeout=10)
            await socket.disconnect()
            return connected and message["type"] == "websocket.send"

        return async_to_sync(knock)()

    assert opens(alice) and opens(vera)
    assert not opens(None) and not opens(charlie)
