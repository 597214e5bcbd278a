"""Damaged files through the doors that people use: whatever they hold, a page or a sentence, and never a 500.

DOORS=1000 DOORS_SEED=3 python -m pytest -n0 -s tests/datasets/test_doors.py        the same with more of them, faults as JSON lines
"""

import json
import os
import random
import re
import signal
from collections import Counter

import polars as pl
import pytest
from django.core.files.uploadedfile import SimpleUploadedFile

from tests.datasets.cast import labour
from tests.datasets.mutants import CPU_S, Hang, learnt_as_text, mutant, seeds
from webapp.datasets.forms import SEVERAL_LABELS
from webapp.datasets.models import Dataset
from webapp.datasets.reading import Limits, limited
from webapp.datasets.reading.encodings import NAMES
from webapp.datasets.reading.publish import publish
from webapp.datasets.reading.read import read
from worker.nlp import KINDS, TASKS
from worker.spec import storable

COUNT, SEED = int(os.environ.get("DOORS", "40")), os.environ.get("DOORS_SEED", "3")
WORDS = ("", "a", "%", "\\", "'", '"', "ﬁ", "\u202e", "<b>", "\0", "0", "good", "😀", "\n")
UNSTORABLE = re.compile(r"(?<!\\)(\\\\)*\\u0000|[\ud800-\udfff]")  # in JSON: PostgreSQL takes neither NUL nor half a character
VERBS = {"read": read, "publish": publish}


@pytest.fixture
def in_line(monkeypatch):
    """What the reading child does, without the child: a start of its own for each of some hundred files would take an hour."""
    run = limited.run

    def here(verb, job, *rest):
        if verb not in VERBS:
            return run(verb, job, *rest)
        return storable(json.loads(json.dumps(VERBS[verb](json.loads(json.dumps(job)), Limits(), lambda *_: None))))

    monkeypatch.setattr(limited, "run", here)


class Visitor:
    """A person who brings a file, looks at everything that there is to see of it and says something to every question."""

    def __init__(self, client, chance):
        self.client, self.chance = client, chance

    def get(self, address, **query):
        answer = self.client.get(address, query)
        assert answer.status_code < 500, f"{answer.status_code} at {address}"
        return b"".join(answer)

    def send(self, address, body, **more):
        answer = self.client.post(address, body, **more)
        assert answer.status_code < 500, f"{answer.status_code} at {address}"
        return answer

    def say(self, pk, **body):
        self.send(f"/api/v1/datasets/{pk}/versions", json.dumps(body), content_type="application/json")

    def bring(self, name, data):
        """What became of it: "refused", "ready" or "asked", or what a person made of that."""
        body = {"file": SimpleUploadedFile(name, data), "task": self.chance.choice(["", *TASKS])}
        answer = self.send("/api/v1/datasets", body)
        if answer.status_code != 202:
            return "refused at the door"
        found = Dataset.objects.get(pk=answer.json()["id"])
        self.work(found)
        outcome = {"failed": "refused", "needs_mapping": "asked"}.get(found.state, found.state)
        if outcome == "ready":
            version = found.latest_version
            learnt_as_text({"task": version.task, "mapping": dict(zip(version.mapping, version.mapping, strict=True))}, [rows_of(version)])
        for _ in range(3):
            self.look(found)
            if found.state != "needs_mapping":
                break
            self.answer(found)
            self.work(found)
        if found.state == "needs_mapping":
            self.say(found.pk, accept_rejected=True)
            self.work(found)
            self.look(found)
        return outcome if outcome != "asked" else f"asked, then {found.state}"

    def work(self, found):
        labour(*["baselines"] * (self.chance.random() < 0.03))
        found.refresh_from_db()
        reading = found.latest_import
        assert found.state in ("failed", "needs_mapping", "ready"), f"left {found.state}"
        kept = json.dumps([found.name, found.reason, *([reading.report, reading.options] if reading else [])], ensure_ascii=False)
        assert not UNSTORABLE.search(kept), f"cannot be stored: {kept[max(0, UNSTORABLE.search(kept).start() - 60) :][:120]}"

    def answer(self, found):
        """What somebody might answer who does not read the questions."""
        reading, chance = found.latest_import, self.chance
        columns, labels = reading.report["columns"], reading.report["labels"]
        roles = [role.name for role in KINDS[found.task].roles]
        kind = chance.randrange(4)
        if kind == 0:
            self.say(found.pk, accept_rejected=True)
        elif kind == 1:
            names = chance.sample([column["name"] for column in columns], min(len(roles), len(columns)))
            merged = {label["name"]: chance.choice(["", "x", label["name"]]) for label in labels if chance.random() < 0.3}
            mapping = dict(zip(roles, names, strict=False))
            self.say(
                found.pk, mapping=mapping, labels=merged, accept_rejected=True, several_labels=chance.choice(["explode", "first", "whole"])
            )
        elif kind == 2:
            form = {f"role-{n}": chance.choice([*roles, "", "split"]) for n in range(len(columns))}
            form |= {f"label-{n}": chance.choice(["", "x", "y"]) for n in range(len(labels)) if chance.random() < 0.2}
            form |= {"accept_rejected": "on", "message": chance.choice(WORDS), "several_labels": chance.choice(["", *SEVERAL_LABELS])}
            if columns and chance.random() < 0.4:
                form[f"template-{chance.choice(roles)}"] = " ".join(f"{{{column['name']}}}" for column in columns[:3]) + chance.choice(
                    WORDS
                )
            self.send(f"/datasets/{found.pk}/versions/", form)
        else:
            form = {
                "encoding": chance.choice(["", *NAMES]),
                "header_row": str(chance.randrange(4)),
                "delimiter": chance.choice(["", *",;\t|x"]),
            }
            form |= {"sheet": chance.choice(["", "May", "nothing"]), "member": chance.choice(["", "train.csv"])}
            self.send(f"/datasets/{found.pk}/readings/", form | {"task": chance.choice(["", *TASKS])})

    def look(self, found):
        for page in ("", "mapping/", "state/", "rejected.csv"):
            self.get(f"/datasets/{found.pk}/{page}")
        self.get("/datasets/", q=self.chance.choice(WORDS))
        self.get(f"/api/v1/datasets/{found.pk}")
        self.get("/api/v1/datasets")
        if version := found.latest_version:
            self.look_at(found, version)

    def look_at(self, found, version):
        asked = {
            "q": self.chance.choice(WORDS),
            "label": self.chance.choice([label["name"] for label in version.labels] or [""]),
            "split": self.chance.choice(["train", "validation", "test", "x"]),
            "show": self.chance.choice(["conflicts", "duplicates", ""]),
        }
        asked = dict(self.chance.sample(sorted(asked.items()), self.chance.randrange(4)))
        pages = f"/datasets/{found.pk}/versions/{version.number}"
        self.get(f"{pages}/", **asked)
        self.get(f"{pages}/rows/{self.chance.randrange(version.rows + 1)}/")
        self.get(f"{pages}/rows.csv", **asked)
        lines = self.get(f"{pages}/rows.jsonl").decode().split("\n")[:-1]
        assert len(lines) == version.rows == rows_of(version).height and all(map(json.loads, lines)), "the download is not what is there"
        self.get("/runs/new/", version=version.pk)
        self.get(f"/api/v1/versions/{version.pk}")
        self.get(f"/api/v1/versions/{version.pk}/rows", **asked)
        self.get(f"/api/v1/versions/{version.pk}/rows/{self.chance.randrange(version.rows + 1)}")


def rows_of(version):
    return pl.read_parquet(version.path)


@pytest.mark.timeout(120 + 4 * COUNT)
def test_damaged_files_end_in_a_page_or_a_sentence_at_every_door(alice, signed_in, in_line):
    files, totals, wrong = seeds(), Counter(), []
    client = signed_in(alice)

    def late(*_):
        raise Hang

    before = signal.signal(signal.SIGPROF, late)
    try:
        for number in range(COUNT):
            chance = random.Random(f"{SEED}.{number}")
            name, data, done = mutant(files, chance)
            signal.setitimer(signal.ITIMER_PROF, 3 * CPU_S)
            try:
                totals[Visitor(client, chance).bring(name, data)] += 1
            except (Exception, Hang) as error:
                wrong.append({"mutant": f"{SEED}.{number}", "file": name, "done": done, "error": f"{type(error).__name__}: {error}"[:400]})
                print(json.dumps(wrong[-1]), flush=True)
                if os.environ.get("DOORS_RAISE"):
                    raise
            finally:
                signal.setitimer(signal.ITIMER_PROF, 0)
    finally:
        signal.signal(signal.SIGPROF, before)
    print(json.dumps({"mutants": COUNT, **totals, "wrong": len(wrong)}), flush=True)
    assert not wrong
    assert len(totals) > 3  # some of each kind
