"""Makes a model of a checkpoint that somebody wants to keep. The trainer's own code does it, in a short process."""

from __future__ import annotations

import json
import shutil
import subprocess
from dataclasses import replace
from typing import Any

from django.utils.translation import gettext as _

from webapp.catalog.fetching import settle
from webapp.catalog.models import ModelVersion, fields_of
from webapp.runs.models import Checkpoint
from webapp.work.models import WorkItem
from worker.process import COMMAND, ROOT, environment
from worker.supervisor import spec_of
from worker.weights import look

LONGEST_S = 600
TOLD = 2_000  # characters of what a broken process said


class Broken(Exception):
    """The process ended without a word; it is worth another attempt."""


def keep_checkpoint(item: WorkItem) -> None:
    """Do what `item` asks for. Harmless when done twice; the outcome stands on the model. Raises Broken."""
    model = ModelVersion.objects.filter(pk=item.subject, state=ModelVersion.State.FETCHING, deleted_at=None).first()
    checkpoint = Checkpoint.objects.select_related("run__version", "run__base").filter(model=item.subject).first()
    if model is None or checkpoint is None:  # deleted meanwhile, perhaps made anew
        return
    said = written(model, checkpoint)
    if said["kind"] == "kept":
        shutil.rmtree(model.path, ignore_errors=True)  # of an attempt that broke off after this
        (model.draft / "model").rename(model.path)
        facts = fields_of(look(model.path)) | {"bytes": said["bytes"], "manifest_sha256": said["model_sha256"]}
        settle(model, state=ModelVersion.State.READY, **facts)
    elif said["code"] == "checkpoint_damaged":
        settle(model, state=ModelVersion.State.FAILED, reason=_("This checkpoint is damaged or not whole. Choose another one."))
    else:
        settle(model, state=ModelVersion.State.FAILED, reason=f"{_(said['text'])} {_(said['remedy'])}")
    shutil.rmtree(model.draft, ignore_errors=True)


def written(model: ModelVersion, checkpoint: Checkpoint) -> dict[str, Any]:
    """The last message of the process: "kept" or "failed". Raises Broken when there is none."""
    draft = model.draft
    spec = replace(spec_of(checkpoint.run), resume=str(draft / "checkpoint"), resume_sha256=checkpoint.manifest_sha256, out=str(draft))
    asked = json.dumps({"spec": spec.to_json(), "metrics": checkpoint.scores}) + "\n"
    try:
        done = subprocess.run(
            [*COMMAND, "keep"], input=asked, cwd=ROOT, env=environment(), capture_output=True, text=True, timeout=LONGEST_S
        )
    except subprocess.TimeoutExpired as problem:
        raise Broken(f"no model of {checkpoint.path} after {LONGEST_S} s") from problem
    messages = [json.loads(line) for line in done.stdout.splitlines()]
    if not messages or messages[-1]["kind"] not in ("kept", "failed"):
        raise Broken(f"no model of {checkpoint.path}, status {done.returncode}: {done.stderr[-TOLD:]}")
    found: dict[str, Any] = messages[-1]
    return found
