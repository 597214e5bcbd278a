"""Makes a model of a checkpoint that somebody wants to keep. The trainer's own code does it, in a short process."""

from __future__ import annotations

import json
import logging
import shutil
import subprocess
import sys
from dataclasses import replace
from typing import Any

from django.utils.translation import gettext as _

from webapp.catalog.fetching import settle
from webapp.catalog.models import ModelVersion, fields_of
from webapp.runs.models import Checkpoint
from webapp.work.models import WorkItem
from worker.process import ROOT, environment
from worker.supervisor import spec_of
from worker.weights import look

log = logging.getLogger(__name__)
LONGEST_S = 600


def keep_checkpoint(item: WorkItem) -> None:
    """Do what `item` asks for. Harmless when done twice; the outcome stands on the model."""
    model = ModelVersion.objects.filter(pk=item.subject, state=ModelVersion.State.FETCHING, deleted_at=None).first()
    if model is None:
        return
    said = written(model, Checkpoint.objects.select_related("run__version", "run__base").get(model=model))
    if said.get("kind") == "kept":
        shutil.rmtree(model.path, ignore_errors=True)  # of an attempt that broke off after this
        (model.draft / "model").rename(model.path)
        facts = fields_of(look(model.path)) | {"bytes": said["bytes"], "manifest_sha256": said["model_sha256"]}
        settle(model, state=ModelVersion.State.READY, **facts)
    else:
        reason = (
            f"{_(said['text'])} {_('Choose another one.')}"
            if "text" in said
            else _("The model could not be written. The worker's log says why.")
        )
        settle(model, state=ModelVersion.State.FAILED, reason=reason)
    shutil.rmtree(model.draft, ignore_errors=True)


def written(model: ModelVersion, checkpoint: Checkpoint) -> dict[str, Any]:
    """What the process said last; nothing when it broke."""
    draft = model.draft
    spec = replace(spec_of(checkpoint.run), resume=str(draft / "checkpoint"), resume_sha256=checkpoint.manifest_sha256, out=str(draft))
    command = [sys.executable, "-m", "worker.trainer.keeping", spec.to_json(), json.dumps(checkpoint.scores)]
    try:
        done = subprocess.run(command, cwd=ROOT, env=environment(), capture_output=True, text=True, timeout=LONGEST_S)
        found: dict[str, Any] = json.loads(done.stdout)
    except (subprocess.TimeoutExpired, ValueError) as problem:
        log.warning("could not make a model of %s: %r", checkpoint.path, problem)
        return {}
    return found
