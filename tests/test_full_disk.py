"""A disk without room: what is there can be read, what cannot be saved is answered with 507 and what to do."""

import base64
import io
import shutil
import subprocess
import sys
from contextlib import suppress

import pytest
from django.db import connection
from django.test import Client

from tests import web as webs
from webapp import disk
from webapp.people.models import ApiToken

SAID = "The server's disk is full. What is there can still be read. Free some space, then try again."


@pytest.fixture
def full(transactional_db):
    """The database takes no further page. (SQLite: a bound on its pages, which it reports as a full disk.)"""
    if connection.vendor != "sqlite":
        pytest.skip("only SQLite can be told to be full")

    def fill():
        with connection.cursor() as cursor:
            cursor.execute("PRAGMA page_count")
            cursor.execute(f"PRAGMA max_page_count = {cursor.fetchone()[0]}")

    yield fill
    with connection.cursor() as cursor:
        cursor.execute("PRAGMA max_page_count = 1073741823")


def test_a_write_by_api_is_a_problem_with_its_remedy_and_a_page_says_the_same(full):
    from tests.conftest import person

    alice = person("alice")
    token = ApiToken.make(alice, "test", ["read", "write"])[1]
    client = Client(raise_request_exception=False)
    client.force_login(alice)
    full()
    bearer = {"Authorization": f"Bearer {token}"}
    file = b"text,label\nfine,good\n"

    def at_last(ask):
        """The first refusal: until then SQLite uses up what it has."""
        return next(answer for answer in (ask() for _ in range(500)) if answer.status_code >= 400)

    answers = [
        at_last(lambda: client.post("/api/v1/datasets", {"file": io.BytesIO(file)}, headers=bearer)),
        at_last(lambda: client.post("/teams/", {"name": "x" * 80})),
        at_last(lambda: client.post("/datasets/sample/")),
        at_last(lambda: client.post("/datasets/uploads/", headers=bearer | {"Tus-Resumable": "1.0.0", "Upload-Length": "9"})),
    ]
    for answer in answers:
        assert answer.status_code == 507 and SAID in answer.content.decode().replace("&#x27;", "'"), answer.content
    assert answers[0].json()["title"] == "Insufficient Storage" and answers[0]["Content-Type"] == "application/problem+json"


def test_who_reads_by_token_is_served_though_its_use_cannot_be_noted(alice, client):
    if connection.vendor != "sqlite":
        pytest.skip("the trigger is in SQLite's words")
    token, secret = ApiToken.make(alice, "test", ["read"])
    with connection.cursor() as cursor:
        cursor.execute("CREATE TRIGGER no_room BEFORE UPDATE ON people_apitoken BEGIN SELECT RAISE(FAIL, 'database or disk is full'); END")
    answer = client.get("/api/v1/datasets", headers={"Authorization": f"Bearer {secret}"})
    token.refresh_from_db()
    assert answer.status_code == 200 and token.last_used_at is None


@pytest.mark.parametrize(
    "error", [OSError(28, "No space left on device"), OSError(122, "Disk quota exceeded"), disk.DiskFull("Make room.")]
)
def test_a_full_disk_is_known_in_each_of_its_shapes(error):
    assert disk.remedy(error)
    assert not disk.remedy(OSError(2, "No such file")) and not disk.remedy(ValueError()) and not disk.remedy(None)


# --- a real one ----------------------------------------------------------------------------------------------------------
def fill(path):
    with suppress(OSError), path.open("wb", buffering=0) as file:
        while True:
            file.write(b"x" * 4096)


@pytest.fixture
def small_disk(tmp_path):
    """A file system of 24 MB."""
    mount = shutil.which("mount")
    if not mount or sys.platform != "linux" or subprocess.run([mount, "-t", "tmpfs", "-o", "size=24m", "tmpfs", tmp_path]).returncode:
        pytest.skip("no file system may be mounted here")
    yield tmp_path
    subprocess.run(["umount", "--lazy", tmp_path], check=True)


def test_the_web_process_on_a_full_disk_goes_on_reading_and_takes_up_writing_when_there_is_room(small_disk):
    home = small_disk / "home"
    home.mkdir()
    with webs.running(home) as web, web.browser() as browser:
        assert web.sign_in(browser, "alice").status_code == 302
        made = web.api("POST", "/datasets", files={"file": ("a.csv", b"text,label\nfine,good\n" * 50)})
        # Uploads keep room free for the database, and this disk is smaller than that room.
        assert made.status_code == 507 and "no room" in made.json()["detail"]
        assert web.sign_in(browser, "alice").status_code == 302
        filler = small_disk / "filler"
        fill(filler)
        csrf = {"X-CSRFToken": browser.cookies["csrftoken"]}
        statuses = {}
        for n in range(40):  # until what SQLite still had is used up
            answer = browser.post("/teams/", data={"name": f"{n}" * 40}, headers=csrf)
            statuses[answer.status_code] = answer
            if answer.status_code == 507:
                break
        assert set(statuses) <= {302, 507} and 507 in statuses, statuses.keys()
        assert "The disk is full" in statuses[507].text and "Free some space" in statuses[507].text
        refused = web.api("PATCH", f"/runs/{'0' * 8}-0000-7000-8000-{'0' * 12}", json={"name": "x"})
        assert refused.status_code == 404, "what needs no room is answered as ever"
        meta = {"Tus-Resumable": "1.0.0", "Upload-Length": "9", "Upload-Metadata": "filename " + base64.b64encode(b"a.csv").decode()}
        assert browser.post("/datasets/uploads/", headers=csrf | meta).status_code == 507
        for path in ("/me", "/datasets", "/runs", "/models", "/tasks"):
            assert web.api("GET", path).status_code == 200, path
        for path in ("/", "/datasets/", "/runs/", "/team/", "/account/"):
            assert browser.get(path).status_code == 200, path
        with web.browser() as second:
            assert web.sign_in(second, "bob").status_code == 507
        filler.unlink()
        assert browser.post("/teams/", data={"name": "again"}, headers=csrf).status_code == 302
