"""What a stranger on the network can try: headers, other sites, other hosts, weak keys, secrets that leak."""

import json
import logging
import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest
from asgiref.sync import async_to_sync
from channels.testing import WebsocketCommunicator
from django.core.management import call_command
from django.test import Client
from django.urls import path

from tests.datasets.cast import version_of
from webapp.api.app import api
from webapp.home.logs import JsonLines
from webapp.people.models import ApiToken

ROOT = Path(__file__).resolve().parent.parent
NO_ID = "00000000-0000-7000-8000-000000000000"
HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": ("same-origin", "no-referrer"),
    "Cross-Origin-Opener-Policy": "same-origin",
}


def operations():
    """Every (verb, address) of the API, with an identifier that names nothing."""
    for address, verbs in api.get_openapi_schema()["paths"].items():
        for verb in verbs:
            address = address.replace("{step}", "1")
            while "{" in address:
                address = address[: address.index("{")] + NO_ID + address[address.index("}") + 1 :]
            yield verb, address


UNSAFE = [(verb, address) for verb, address in operations() if verb not in ("get", "head", "options")]


def crash(request):
    raise RuntimeError("a fault of ours")


def safe(answer):
    for name, value in HEADERS.items():
        assert answer.get(name) in (value if isinstance(value, tuple) else (value,)), f"{name}: {answer.get(name)}"
    policy = answer["Content-Security-Policy"]
    assert "'unsafe-inline'" not in policy.replace("style-src-attr 'unsafe-inline'", "") and "unsafe-eval" not in policy
    for part in ("default-src 'self'", "object-src 'none'", "base-uri 'none'", "frame-ancestors 'none'", "form-action 'self'"):
        assert part in policy
    return answer


# --- headers -------------------------------------------------------------------------------------------------------------


def test_every_answer_carries_the_safe_headers(alice, settings):
    import webapp.urls

    settings.STATIC_ROOT = ROOT / "static"
    settings.ROOT_URLCONF = type("urls", (), {"urlpatterns": [path("crash/", crash), *webapp.urls.urlpatterns]})
    client = Client(raise_request_exception=False)
    expected = {"/accounts/login/": 200, "/nothing/": 404, "/api/v1/me": 401, "/static/css/base.css": 200, "/crash/": 500, "/": 302}
    expected |= {f"/sign-in/{NO_ID}/": 410, "/healthz/live": 200, "/api/v1/docs": 200}
    for address, status in expected.items():
        assert safe(client.get(address)).status_code == status
    assert safe(client.get("/", headers={"Host": "evil.test"})).status_code == 400
    client.force_login(alice)
    for address in ("/", "/team/", "/account/", "/datasets/", "/runs/", "/models/", "/playground/", "/workers/"):
        assert safe(client.get(address)).status_code == 200, address


def test_the_page_of_a_fault_shows_nothing_of_the_inside(settings, caplog):
    settings.ROOT_URLCONF = type("urls", (), {"urlpatterns": [path("crash/", crash)]})
    answer = Client(raise_request_exception=False).get("/crash/")
    assert answer.status_code == 500 and "Something went wrong" in answer.content.decode()
    assert "a fault of ours" not in answer.content.decode() and "a fault of ours" in caplog.text


def test_what_a_person_sees_is_kept_nowhere(alice, client, settings, tmp_path):
    """By no proxy, and by no browser: not pages, not the API, not downloads; what everybody may see is left as it is."""
    settings.FILES, settings.STATIC_ROOT = tmp_path, ROOT / "static"
    version = version_of(alice, 10)
    private = [
        "/",
        "/team/",
        "/account/",
        "/datasets/",
        f"/datasets/{version.dataset_id}/",
        "/runs/",
        "/models/",
        "/workers/",
        "/api/v1/me",
    ]
    private += [f"/datasets/{version.dataset_id}/versions/1/rows.csv", "/nothing/", f"/runs/{NO_ID}/", "/accounts/password/change/"]
    key = ApiToken.make(alice, "test", ["read"])[1]
    assert "no-store" in client.get("/api/v1/me", headers={"Authorization": f"Bearer {key}"})["Cache-Control"]
    client.force_login(alice)
    for address in private:
        kept = client.get(address)["Cache-Control"]
        assert "private" in kept and "no-store" in kept, address
    assert "no-store" in client.get("/", headers={"HX-Request": "true"})["Cache-Control"]
    assert "no-store" not in client.get("/static/css/base.css")["Cache-Control"]


def test_each_page_has_a_nonce_of_its_own(alice, client):
    client.force_login(alice)
    policies = {client.get("/")["Content-Security-Policy"].partition("nonce-")[2][:20] for _ in range(3)}
    assert len(policies) == 3


# --- other sites ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("verb", "address"), UNSAFE)
def test_no_other_site_writes_through_a_session(verb, address, alice):
    client = Client(enforce_csrf_checks=True)
    client.force_login(alice)
    client.get("/")
    token = client.cookies["csrftoken"].value
    for headers in (
        {},
        {"X-CSRFToken": token, "Origin": "https://evil.test"},
        {"X-CSRFToken": token, "Origin": "null"},
        {"X-CSRFToken": token, "Sec-Fetch-Site": "cross-site"},
        {"X-CSRFToken": token, "Sec-Fetch-Site": "same-site"},
    ):
        answer = client.generic(verb.upper(), address, b"{}", content_type="application/json", headers=headers)
        assert answer.status_code == 403, (headers, answer.content)


@pytest.mark.parametrize(("verb", "address"), UNSAFE)
def test_a_page_of_ours_and_a_token_do_reach_the_operation(verb, address, alice):
    client = Client(enforce_csrf_checks=True)
    token = ApiToken.make(alice, "test", ["read", "write"])[1]
    answer = client.generic(verb.upper(), address, b"{}", content_type="application/json", headers={"Authorization": f"Bearer {token}"})
    assert answer.status_code not in (401, 403, 405), answer.content
    client.force_login(alice)
    client.get("/")
    headers = {"X-CSRFToken": client.cookies["csrftoken"].value, "Sec-Fetch-Site": "same-origin", "Origin": "http://testserver"}
    answer = client.generic(verb.upper(), address, b"{}", content_type="application/json", headers=headers)
    assert answer.status_code not in (401, 403, 405), answer.content


@pytest.mark.parametrize("origin", ["null", "https://evil.test", "http://testserver.evil.test", "http://localhost:9999"])
def test_no_other_origin_is_told_that_it_may_read(origin, alice, client):
    client.force_login(alice)
    for verb, address in [*operations(), ("get", "/"), ("get", "/accounts/login/"), ("get", "/healthz/ready")]:
        for asked in (verb, "options"):
            answer = client.generic(asked.upper(), address, headers={"Origin": origin, "Access-Control-Request-Method": verb.upper()})
            assert not [name for name in answer.headers if name.lower().startswith("access-control")], (asked, address)


# --- other hosts ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("host", ["evil.test", "127.0.0.1.evil.test", "localhost@evil.test", ""])
def test_under_another_name_nothing_is_served(host, alice, client):
    client.force_login(alice)
    for address in ("/", "/api/v1/me", "/accounts/login/"):
        assert client.get(address, headers={"Host": host}).status_code == 400


@pytest.mark.parametrize(
    "headers",
    [
        {"host": "testserver"},
        {"host": "testserver", "origin": "null"},
        {"host": "testserver", "origin": "https://evil.test"},
        {"host": "evil.test", "origin": "http://evil.test"},
        {"host": "testserver", "origin": "http://sub.testserver"},
    ],
    ids=lambda headers: headers.get("origin", "none"),
)
def test_no_other_site_opens_a_socket(headers, db):
    from webapp.asgi import application

    async def opens():
        sent = [(name.encode(), value.encode()) for name, value in headers.items()]
        socket = WebsocketCommunicator(application, f"/ws/runs/{NO_ID}", headers=sent)
        connected, _code = await socket.connect(timeout=5)
        await socket.disconnect()
        return connected

    assert not async_to_sync(opens)()


# --- keys and secrets ----------------------------------------------------------------------------------------------------


def manage(home, *command, **environment):
    clean = {name: os.environ[name] for name in ("PATH", "LANG", "HOME") if name in os.environ}
    return subprocess.run(
        [sys.executable, "manage.py", *command],
        cwd=ROOT,
        env=clean | {"TUNEBENCH_HOME": str(home)} | environment,
        capture_output=True,
        text=True,
        timeout=120,
    )


def test_each_installation_makes_a_key_of_its_own_that_only_it_reads_and_passes_the_deployment_checks(tmp_path):
    keys = set()
    for home in (tmp_path / "one", tmp_path / "two"):
        done = manage(home, "check", "--deploy", "--fail-level", "WARNING", HTTPS="1", FORWARDED_ALLOW_IPS="127.0.0.1")
        assert done.returncode == 0, done.stderr
        key = home / "secret_key"
        assert stat.S_IMODE(key.stat().st_mode) == 0o600
        keys.add(key.read_text())
    assert len(keys) == 2 and all(len(key) >= 64 for key in keys)


def mode(path):
    return stat.S_IMODE(path.stat().st_mode)


def test_a_home_that_was_there_before_is_closed_to_others_and_that_is_told(tmp_path):
    home, files = tmp_path / "home", tmp_path / "elsewhere"
    for folder in (home, files):
        folder.mkdir(mode=0o755)
    for name in ("tunebench.sqlite3", "secret_key", "redis.folder"):
        (home / name).write_text("x" * 60 if name == "secret_key" else "")
        (home / name).chmod(0o644)
    done = manage(home, "migrate", "--verbosity", "0", TUNEBENCH_FILES=str(files))
    assert done.returncode == 0, done.stderr
    assert mode(home) == mode(files) == 0o700
    assert {path.name: mode(path) for path in home.iterdir() if path.is_file() and mode(path) != 0o600} == {}
    assert f"{home} could be read by others" in done.stderr and "tunebench.sqlite3 could be read" in done.stderr
    again = manage(home, "check", TUNEBENCH_FILES=str(files))
    assert "could be read" not in again.stderr, "told once"


def test_a_new_database_is_closed_to_others_wherever_it_lies(tmp_path):
    place = tmp_path / "open" / "kept.sqlite3"
    place.parent.mkdir(mode=0o755)
    assert manage(tmp_path / "home", "migrate", "--verbosity", "0", DATABASE_URL=f"sqlite:///{place}").returncode == 0
    assert mode(place) == 0o600 and mode(place.parent) == 0o755, "the folder is somebody's else"


def test_a_folder_of_everybody_is_no_home(tmp_path):
    (tmp_path / "all").mkdir()
    (tmp_path / "all").chmod(0o1777)
    done = manage(tmp_path / "all", "check")
    assert done.returncode != 0 and "is everybody's" in done.stderr and mode(tmp_path / "all") == 0o777 | 0o1000


def test_https_without_a_named_proxy_stops_the_start_with_a_sentence(tmp_path):
    done = manage(tmp_path, "check", HTTPS="1")
    assert done.returncode != 0 and "FORWARDED_ALLOW_IPS" in done.stderr


def test_a_weak_key_stops_the_start_with_a_sentence(tmp_path):
    done = manage(tmp_path, "check", SECRET_KEY="django-insecure")
    assert done.returncode != 0 and "SECRET_KEY is shorter than 50 characters" in done.stderr


def test_a_token_is_neither_in_the_database_nor_in_the_log(alice, client, caplog, tmp_path):
    """Also not when it came in an address, was refused, or a fault happened while it was used."""
    client.force_login(alice)
    with caplog.at_level(logging.DEBUG):
        page = client.post("/account/tokens/", {"name": "nightly", "scope": "write", "days": "30", "team": ""})
        secret = page.context["secret"]
        headers = {"Authorization": f"Bearer {secret}"}
        assert client.get("/api/v1/me", headers=headers).status_code == 200
        client.get(f"/api/v1/nothing?token={secret}", headers=headers)
        client.get(f"/{secret}/", headers=headers)
        logging.getLogger("webapp").error("headers were %s", headers)
        try:
            raise ValueError(f"could not parse {secret}")
        except ValueError:
            logging.getLogger("webapp").exception("fault")
    written = "\n".join(JsonLines().format(record) for record in caplog.records)
    dump = tmp_path / "dump.json"
    call_command("dumpdata", output=str(dump))
    assert "tb_[hidden]" in written and "people.apitoken" in dump.read_text()
    for kept in (written, dump.read_text()):
        assert secret not in kept and secret[10:] not in kept


def test_links_cookies_and_passwords_in_addresses_are_not_written_down(alice):
    link = alice.sign_in_link()
    said = [f'"GET {link} HTTP/1.1" 302', "Cookie: sessionid=abcdef0123456789", "redis://user:hunter2@redis:6379/0"]
    said += ["could not fetch https://hub.test/a/b?X-Signature=hunter2&x=1: 404", '"GET /datasets/x/?q=hunter2&label=a HTTP/1.1" 200']
    for text in said:
        line = JsonLines().format(logging.LogRecord("x", logging.INFO, "", 0, text, (), None))
        assert "[hidden]" in line
        assert not any(secret in line for secret in (link.split("/")[-2], "abcdef0123456789", "hunter2"))


def test_a_line_of_the_log_stays_one_line_whatever_is_in_it():
    evil = 'name\r\n{"level": "info", "text": "forged"}\x1b[2J\x00'
    line = JsonLines().format(logging.LogRecord("x", logging.INFO, "", 0, "%s", (evil,), None))
    assert "\n" not in line and "\r" not in line and "\x1b" not in line
    assert json.loads(line)["text"] == evil


# --- characters that PostgreSQL does not keep -------------------------------------------------------------------------------
def test_nul_and_half_characters_are_refused_at_every_door(alice, client):
    client.force_login(alice)
    assert client.post("/datasets/", {"name": "a\0", "task": "classification"}).status_code == 400
    assert client.get("/api/v1/models?task=%00").status_code == 400
    dataset = version_of(alice, 20).dataset
    versions = f"/api/v1/datasets/{dataset.pk}/versions"
    for text in ("\\u0000", "\\ud800"):
        assert client.post(versions, f'{{"message": "{text}"}}', content_type="application/json").status_code == 422
        assert client.post(versions, {"labels": f'{{"a": "{text}"}}'}).status_code == 422
    assert client.post(versions, {"message": "\0"}).status_code == 422
