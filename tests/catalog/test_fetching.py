"""A data worker fetches models from a hub: a small one of our own, on loopback, which speaks what the client asks."""

import contextlib
import hashlib
import json
import re
import subprocess
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from django.db import connection
from django.urls import reverse

from tests.worker.tiny import tiny_base, tiny_classifier
from webapp import quota
from webapp.catalog.fetching import fetch_model
from webapp.catalog.models import ModelVersion
from webapp.people.access import actor_of
from webapp.work.models import WorkItem

COMMIT = "c0ffee" * 6 + "c0de"
pytestmark = pytest.mark.django_db(transaction=True)


class Hub(BaseHTTPRequestHandler):
    """`repositories` is {name: {file: bytes}}; `gated` and `fetched` are what they say."""

    def do_HEAD(self):
        self.answer()

    def do_GET(self):
        self.answer()

    def answer(self):
        self.server.paths.append(self.path)
        if "tiny" in self.path:  # its client asks for something of its own too
            self.server.tokens.append(self.headers.get("Authorization"))
        parts = self.path.split("?")[0].strip("/").split("/")
        if parts[:2] == ["api", "models"]:
            return self.tree("/".join(parts[2:4])) if "tree" in parts else self.info("/".join(parts[2:4]))
        name, file = "/".join(parts[:2]), "/".join(parts[4:])
        content = self.server.repositories.get(name, {}).get(file)
        if content is None:
            return self.send(404, b"", {"X-Error-Code": "EntryNotFound"})
        self.server.fetched.append((parts[3], file))
        self.send(200, content, {"ETag": f'"{hashlib.sha256(content).hexdigest()}"', "X-Repo-Commit": COMMIT})

    def info(self, name):
        if name in self.server.gated:
            return self.send(403, b'{"error": "gated"}', {"X-Error-Code": "GatedRepo"})
        files = self.server.repositories.get(name)
        if files is None:
            return self.send(401, b'{"error": "Repository not found"}', {"X-Error-Code": "RepoNotFound"})
        siblings = [{"rfilename": file, "size": self.server.sizes.get(file, len(content))} for file, content in files.items()]
        facts = {
            "id": name,
            "modelId": name,
            "sha": COMMIT,
            "siblings": siblings,
            "tags": [],
            "cardData": {"license": "mit", "language": "en"},
        }
        self.send(200, json.dumps(facts).encode(), {"Content-Type": "application/json"})

    def tree(self, name):
        files = self.server.repositories.get(name, {})
        entries = [{"type": "file", "path": file, "size": len(content), "oid": "0" * 40} for file, content in files.items()]
        self.send(200, json.dumps(entries).encode(), {"Content-Type": "application/json"})

    def send(self, status, content, headers):
        self.send_response(status)
        for name, value in ({"Content-Length": str(len(content))} | headers).items():
            self.send_header(name, value)
        self.end_headers()
        if self.command == "GET":
            while self.server.slow and "/resolve/" in self.path and not self.server.is_over:
                self.wfile.write(content[:1])
                content = content[1:]
                time.sleep(0.1)
            with contextlib.suppress(OSError):
                self.wfile.write(content)

    def log_message(self, *_):
        """Quiet."""


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    folder = tiny_base(tmp_path_factory.mktemp("hub") / "base")
    return {path.name: path.read_bytes() for path in folder.iterdir()} | {
        "README.md": b"# Tiny",
        "pytorch_model.bin": b"pickle",
        "evil.py": b"x",
    }


@pytest.fixture
def hub(files, monkeypatch, settings, tmp_path):
    from huggingface_hub import constants

    server = ThreadingHTTPServer(("127.0.0.1", 0), Hub)
    server.paths, server.tokens, server.slow, server.is_over = [], [], False, False
    server.repositories, server.gated, server.fetched, server.sizes = {"tiny/base": files}, set(), [], {}
    threading.Thread(target=server.serve_forever, daemon=True).start()
    address = f"http://127.0.0.1:{server.server_port}"
    monkeypatch.setattr(constants, "ENDPOINT", address)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", address + "/{repo_id}/resolve/{revision}/{filename}")
    monkeypatch.setattr("huggingface_hub.hf_api.api.endpoint", address)
    settings.FILES = tmp_path / "files"
    yield server
    server.is_over = True
    server.shutdown()
    server.server_close()


@pytest.fixture
def fetched(alice):
    """A function that adds a model of the hub and does a data worker's part."""

    def fetch(name="tiny/base"):
        model = ModelVersion.add_hub(actor_of(alice), name)
        for item in WorkItem.objects.filter(subject=model.pk):
            fetch_model(item)
        model.refresh_from_db()
        return model

    return fetch


def test_a_model_is_fetched_whole_from_one_commit_and_nothing_else_of_it(hub, fetched):
    model = fetched()
    assert (model.state, model.reason) == ("ready", "")
    assert model.source == f"tiny/base@{COMMIT}" and model.licence == "mit" and model.languages == ["en"] and model.family == "bert"
    names = {path.name for path in model.path.iterdir()}
    assert {"model.safetensors", "config.json", "tokenizer.json", "README.md"} <= names
    assert not names & {"pytorch_model.bin", "evil.py", ".cache"}
    assert {revision for revision, _ in hub.fetched} == {COMMIT}
    assert ModelVersion.objects.trainable().filter(pk=model.pk).exists()


def test_a_model_that_has_learnt_a_task_elsewhere_can_be_asked_as_it_came(hub, fetched, signed_in, alice, tmp_path):
    folder = tiny_classifier(tmp_path / "tuned", ["bad", "good"])
    hub.repositories["tiny/tuned"] = {path.name: path.read_bytes() for path in folder.iterdir()}
    model = fetched("tiny/tuned")
    assert (model.state, model.task, model.labels) == ("ready", "classification", ["bad", "good"]) and model.is_answering
    assert "tuned" in signed_in(alice).get(reverse("playground:page"), {"model": model.pk}).content.decode()
    page = signed_in(alice).get(reverse("catalog:list"))
    assert [str(title) for title, _about, models in page.context["sections"] if model in models] == ["Base models"]
    plain = fetched()
    assert (plain.task, plain.labels, plain.is_answering) == ("", [], False)


def test_asking_twice_fetches_once_and_doing_the_work_twice_is_harmless(hub, fetched, alice):
    model = fetched()
    assert ModelVersion.add_hub(actor_of(alice), "tiny/base") == model
    count = len(hub.fetched)
    fetch_model(WorkItem.objects.get(subject=model.pk))
    assert len(hub.fetched) == count


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda hub: hub.repositories.clear(), "no public model with that name"),
        (lambda hub: hub.gated.add("tiny/base"), "Choose another model"),
        (lambda hub: drop(hub, "model.safetensors"), "formats that can run code"),
        (lambda hub: drop(hub, "model.safetensors", "pytorch_model.bin"), "no weights"),
        (lambda hub: drop(hub, "tokenizer.json"), "no tokenizer"),
        (lambda hub: put(hub, **{"config.json": b'{"model_type": "x", "auto_map": {"AutoModel": "m.M"}}'}), "program code"),
        (lambda hub: put(hub, **{"model.safetensors": b"\0" * 100}), "damaged"),
        (lambda hub: put(hub, **{"tokenizer.json": b'{"model": {"type": "Sorcery"}}'}), "tokenizer.json of this model cannot be read"),
        (lambda hub: hub.sizes.update({"model.safetensors": 10**12}), "MODEL_LIMIT"),
        (lambda hub: hub.sizes.update({"tokenizer.json": 10**9}), "far larger"),
        (lambda hub: put(hub, **{f"{n}.safetensors": b"" for n in range(501)}), "in 50. files"),
        (lambda hub: put(hub, **{f"{n}.txt": b"" for n in range(200_000)}), "200,00"),
        (lambda hub: (hub.shutdown(), hub.server_close()), "cannot be reached"),
    ],
)
def test_what_cannot_be_fetched_has_a_plain_reason_and_leaves_nothing(hub, fetched, settings, change, reason):
    change(hub)
    model = fetched()
    assert model.state == "failed" and re.search(reason, model.reason)
    left = settings.FILES / "models"
    assert not left.exists() or not list(left.iterdir())


def drop(hub, *names):
    hub.repositories["tiny/base"] = {name: content for name, content in hub.repositories["tiny/base"].items() if name not in names}


def put(hub, **files):
    hub.repositories["tiny/base"] = hub.repositories["tiny/base"] | files


def test_after_a_failure_it_can_be_tried_again(hub, fetched, signed_in, alice):
    files = hub.repositories.pop("tiny/base")
    model = fetched()
    page = signed_in(alice).get(reverse("catalog:page", args=[model.pk])).content.decode()
    assert "no public model" in page and "Try again" in page
    hub.repositories["tiny/base"] = files
    signed_in(alice).post(reverse("catalog:fetching", args=[model.pk]))
    fetch_model(WorkItem.objects.filter(subject=model.pk).latest("created_at"))
    model.refresh_from_db()
    assert model.state == "ready"


def test_offline_a_model_already_in_the_cache_is_used(hub, fetched, monkeypatch, tmp_path):
    from huggingface_hub import constants, snapshot_download

    snapshot_download("tiny/base", cache_dir=tmp_path / "cache")
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    assert fetched().state == "ready"
    assert "no copy" in fetched("other/model").reason


def test_the_token_of_whoever_runs_the_server_is_sent_only_if_the_setting_says_so(hub, fetched, settings, monkeypatch):
    monkeypatch.setenv("HF_TOKEN", "hf_operator")
    assert fetched().state == "ready"
    assert hub.tokens and set(hub.tokens) == {None}
    hub.tokens.clear()
    hub.repositories["tiny/other"] = hub.repositories["tiny/base"]
    settings.HUB_TOKEN = "hf_for_everybody"
    assert fetched("tiny/other").state == "ready"
    assert set(hub.tokens) == {"Bearer hf_for_everybody"}


def test_deleting_a_model_ends_its_download(hub, alice, settings):
    hub.slow = True
    model = ModelVersion.add_hub(actor_of(alice), "tiny/base")
    item = WorkItem.objects.get(subject=model.pk)
    assert item.team == model.team_id

    def fetch_it():
        fetch_model(item)
        connection.close()

    thread = threading.Thread(target=fetch_it)
    thread.start()
    deadline = time.monotonic() + 40
    while not any("resolve" in path for path in hub.paths):
        assert time.monotonic() < deadline
        time.sleep(0.1)
    model.delete_softly()
    thread.join(10)
    assert not thread.is_alive()
    assert not list((settings.FILES / "models").iterdir())


def test_a_tokenizer_that_transformers_would_misread_is_mended_as_it_comes(hub, fetched, tmp_path):
    from tests.worker.test_nlp_tokenizing import SAID, TEXT, model_with, of_pieces

    tokenizer = of_pieces()
    folder = model_with(tmp_path, tokenizer, SAID["its family's class"])
    hub.repositories["tiny/pieces"] = {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}
    model = fetched("tiny/pieces")
    assert (model.state, model.reason) == ("ready", "")
    code = "import sys, transformers; print(transformers.AutoTokenizer.from_pretrained(sys.argv[1])(sys.argv[2])['input_ids'])"
    done = subprocess.run([sys.executable, "-c", code, str(model.path), TEXT], capture_output=True, text=True, timeout=120)
    assert done.stdout.strip() == str(tokenizer.encode(TEXT).ids), done.stderr[-500:]


@pytest.mark.parametrize("is_slow", [True, False])
def test_a_model_for_which_the_team_has_no_room_is_refused_in_words(hub, fetched, settings, is_slow):
    settings.TEAM_QUOTA, hub.slow = 1000, is_slow
    model = fetched()
    assert model.state == "failed" and "TEAM_QUOTA" in model.reason
    assert not list((settings.FILES / "models").iterdir())


def test_a_model_that_waits_does_not_take_the_room_of_the_one_before_it(hub, fetched, settings, alice):
    settings.TEAM_QUOTA = 50_000_000  # less than MODEL_LIMIT
    first = ModelVersion.add_hub(actor_of(alice), "tiny/base")
    ModelVersion.objects.create(team=first.team, name="b", kind="hub", source="tiny/other", state="fetching", folder="models/b")
    assert fetched().state == "ready"


def test_undo_of_a_model_that_was_being_fetched_fetches_it(hub, alice):
    model = ModelVersion.add_hub(actor_of(alice), "tiny/base")
    model.delete_softly()
    fetch_model(WorkItem.objects.get())
    WorkItem.objects.update(state="succeeded")
    model.restore()
    fetch_model(WorkItem.objects.get(state="queued"))
    model.refresh_from_db()
    assert (model.state, model.reason) == ("ready", "")


def test_undo_while_the_work_still_waits_queues_it_once(hub, alice):
    model = ModelVersion.add_hub(actor_of(alice), "tiny/base")
    model.delete_softly()
    model.restore()
    assert WorkItem.objects.count() == 1


def test_two_who_add_the_same_model_at_once_get_one(alice, team):
    found = []

    def add():
        found.append(ModelVersion.add_hub(actor_of(alice), "some/model"))
        connection.close()

    other = threading.Thread(target=add)
    with quota.one_at_a_time(team.pk):
        other.start()
        time.sleep(0.5)  # it has looked, or waits to look
        found.append(ModelVersion.add_hub(actor_of(alice), "some/model"))
    other.join()
    assert found[0] == found[1] and ModelVersion.objects.filter(source="some/model").count() == 1
