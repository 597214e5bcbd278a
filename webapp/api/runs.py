"""Runs over the API: start, watch by cursor, steer, take the numbers away."""

from __future__ import annotations

import hashlib
import io
import json
from typing import Any
from uuid import UUID

from django.http import HttpRequest, HttpResponse
from django.utils.translation import gettext as _
from ninja import Header, Query, Router, Status
from pydantic import Field

from webapp.api.door import Body, Problem, page
from webapp.catalog.models import ModelVersion
from webapp.datasets.models import DatasetVersion
from webapp.people.access import READ, WRITE, find
from webapp.runs import cursor
from webapp.runs.cursor import Cursor
from webapp.runs.models import Checkpoint, IdempotencyConflict, Run
from webapp.runs.scores import Standing
from webapp.spreadsheet import Sheet
from worker.spec import SpecError

router = Router(tags=["runs"])
DEFAULT_METHOD = "full"
MOST_LOG_LINES = 1_000
MOST_POINTS = 10_000  # in one answer


class NewRun(Body):
    version: UUID = Field(description="The rows to learn from: a dataset's `version`.")
    task: str | None = Field(None, description="The version's task, as a check; another one is refused.")
    base_model: UUID | None = Field(
        None, description="The model to start from; left out, the one that fits best. GET /models?trainable=true lists them."
    )
    method: str = Field(DEFAULT_METHOD, description="full, quick or lora; GET /tasks says which fit.")
    settings: dict[str, Any] = Field(
        default_factory=dict, description="Settings that differ from their defaults: {name: value}; GET /tasks lists them."
    )
    name: str = Field("", max_length=200, description="The run's name; left out, the dataset's with a number.")


class Renaming(Body):
    name: str = Field(max_length=200, description="The new name.")


def living() -> Any:
    return Run.objects.present().select_related("version__dataset", "base", "result", "lease_owner", "last_checkpoint")


def the_run(request: HttpRequest, pk: str, act: str = READ) -> Run:
    run: Run = find(request.actor, living(), pk, act)  # type: ignore[attr-defined]
    return run


def shown(run: Run) -> dict[str, Any]:
    return {
        **run.facts(),
        "task": run.task,
        "method": run.method,
        "settings": run.settings,
        "dataset": {"id": str(run.version.dataset_id), "name": run.version.dataset.name},
        "version": {"id": str(run.version_id), "number": run.version.number, "hash": run.version.hash},
        "base_model": {"id": str(run.base_id), "name": run.base.name},
        "base_reason": run.base_reason,
        "baselines": run.baselines,
        "created_at": run.created_at.isoformat(),
    }


def shown_whole(run: Run) -> dict[str, Any]:
    return {**shown(run), "evaluation": run.evaluation}


@router.post("/runs", response={201: Any}, summary="Start a run")
def start(request: HttpRequest, payload: NewRun, idempotency_key: str | None = Header(None, alias="Idempotency-Key")) -> Any:
    actor = request.actor  # type: ignore[attr-defined]
    if idempotency_key and len(idempotency_key) > 200:
        raise Problem(422, _("Unprocessable"), _("An Idempotency-Key has at most 200 characters."))
    version: DatasetVersion = find(actor, DatasetVersion, payload.version, WRITE)
    if payload.task and payload.task != version.task:
        raise SpecError("task", _("This version is for the task “%s”.") % version.task)
    starters = ModelVersion.objects.trainable(version.task).filter(kind=ModelVersion.Kind.STARTER)
    best = starters.best_for(version.task, version.languages)
    base = find(actor, ModelVersion, payload.base_model) if payload.base_model else next(iter(best), None)
    if base is None:
        raise SpecError("base_model", _("Name a base model; there is none to begin with."))
    try:
        run = Run.submit(
            actor,
            version,
            base,
            payload.method,
            payload.settings,
            name=payload.name,
            idempotency_key=idempotency_key,
            request_hash=hashlib.sha256(json.dumps(payload.model_dump(mode="json"), sort_keys=True).encode()).hexdigest(),
        )
    except IdempotencyConflict as conflict:
        raise Problem(409, _("Conflict"), str(conflict)) from None
    return Status(201, shown(run))


@router.get("/runs", response=Any, summary="List runs, newest first")
def runs(request: HttpRequest, after: str | None = None, limit: int = 50, state: str | None = None) -> Any:
    found = living().visible_to(request.actor)  # type: ignore[attr-defined]
    return page(found.filter(state=state) if state else found, after, limit, shown)


@router.get("/runs/{uuid:pk}", response=Any, summary="One run")
def run(request: HttpRequest, pk: UUID) -> Any:
    return shown_whole(the_run(request, str(pk)))


@router.patch("/runs/{uuid:pk}", response=Any, summary="Rename")
def rename(request: HttpRequest, pk: UUID, payload: Renaming) -> Any:
    run = the_run(request, str(pk), WRITE)
    run.rename(payload.name)
    return shown(run)


@router.delete("/runs/{uuid:pk}", response={204: None}, summary="Delete a run that is over")
def delete(request: HttpRequest, pk: UUID) -> Any:
    if not the_run(request, str(pk), WRITE).delete():
        raise Problem(409, _("Conflict"), _("This run is still going on. Cancel it first."))
    return Status(204, None)


@router.post("/runs/{uuid:pk}/restoration", response=Any, summary="Take a deletion back")
def restore(request: HttpRequest, pk: UUID) -> Any:
    run: Run = find(request.actor, Run.objects.exclude(deleted_at=None), pk, WRITE)  # type: ignore[attr-defined]
    run.restore()
    return shown(run)


@router.post("/runs/{uuid:pk}/cancellation", response=Any, summary="Cancel")
def cancel(request: HttpRequest, pk: UUID) -> Any:
    return steer(the_run(request, str(pk), WRITE), "cancel")


@router.post("/runs/{uuid:pk}/finish", response=Any, summary="Stop here and keep what was learned")
def finish(request: HttpRequest, pk: UUID) -> Any:
    return steer(the_run(request, str(pk), WRITE), "finish")


@router.post("/runs/{uuid:pk}/pause", response=Any, summary="Pause at a checkpoint")
def pause(request: HttpRequest, pk: UUID) -> Any:
    return steer(the_run(request, str(pk), WRITE), "pause")


@router.post("/runs/{uuid:pk}/resume", response=Any, summary="Resume after a pause")
def resume(request: HttpRequest, pk: UUID) -> Any:
    return steer(the_run(request, str(pk), WRITE), "resume")


@router.get("/runs/{uuid:pk}/checkpoints", response=Any, summary="The checkpoints that are there, and those of which a model was made")
def checkpoints(request: HttpRequest, pk: UUID) -> Any:
    return {"items": [checkpoint_shown(each["it"]) for each in Standing(the_run(request, str(pk))).checkpoints]}


@router.post("/runs/{uuid:pk}/checkpoints/{int:step}/model", response={201: Any}, summary="Make a model of a checkpoint")
def keep(request: HttpRequest, pk: UUID, step: int) -> Any:
    """It is written by a data worker; ask for the model until its `state` is `ready`."""
    model: ModelVersion = the_run(request, str(pk), WRITE).checkpoint_at(step).keep(request.actor)  # type: ignore[attr-defined]
    return Status(201, model.facts())


def checkpoint_shown(checkpoint: Checkpoint) -> dict[str, Any]:
    return {
        "step": checkpoint.step,
        "metric": checkpoint.metric,
        "bytes": checkpoint.bytes,
        "best": checkpoint.is_best,
        "there": checkpoint.state == "committed",
        "model": str(checkpoint.model_id) if checkpoint.is_kept else None,
        "created_at": checkpoint.created_at.isoformat(),
    }


def steer(run: Run, verb: str) -> dict[str, Any]:
    """Asking twice is no error; asking for what cannot be any more is a conflict."""
    before = run.desired
    if not getattr(run, verb)():
        run.refresh_from_db()
        asked_already = (not run.is_over and before == verb) or (verb == "cancel" and run.state == Run.State.CANCELLED)
        if not asked_already:
            raise Problem(409, _("Conflict"), _("A run that is “%s” cannot do this.") % run.get_state_display())
    return shown(run)


@router.get("/runs/{uuid:pk}/points", response=Any, summary="The curve after a cursor")
def points(request: HttpRequest, pk: UUID, after: str | None = None) -> Any:
    """`next` is the cursor for the next call; an answer holds about 10,000 points at most, so call until it stays the same.
    `cut`, if given, says: drop points after that step, then add these."""
    stretch = cursor.read(the_run(request, str(pk)), Cursor.read(after), page=MOST_POINTS)
    cut = None if stretch.cut is None else {"fence": stretch.next.fence, "step": stretch.cut}
    return {"points": by_step(stretch.points), "log": stretch.log, "next": str(stretch.next), "cut": cut}


def by_step(points: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Each step once: what was measured after it stands beside what it measured itself."""
    merged: list[dict[str, Any]] = []
    for point in points:
        if merged and merged[-1]["step"] == point["step"]:
            merged[-1] = {**merged[-1], "values": merged[-1]["values"] | point["values"]}
        else:
            merged.append(point)
    return merged


@router.get("/runs/{uuid:pk}/points.csv", response=Any, summary="The curve as a table")
def points_csv(request: HttpRequest, pk: UUID) -> Any:
    run = the_run(request, str(pk))
    points = by_step(cursor.read(run).points)
    series = sorted({name for point in points for name in point["values"]})
    table = io.StringIO()
    writer = Sheet(table)
    writer.writerow(["step", "epoch", "time_s", *series])
    for point in points:
        writer.writerow([point["step"], point["epoch"], point["time"], *[point["values"].get(name, "") for name in series]])
    return attachment(table.getvalue(), "text/csv", f"run-{run.pk}.csv")


@router.get("/runs/{uuid:pk}/log", response=Any, summary="The log")
def log(request: HttpRequest, pk: UUID, limit: int = Query(200, ge=1, le=MOST_LOG_LINES), download: bool = False) -> Any:
    run = the_run(request, str(pk))
    lines = [line for chunk in run.chunks.exclude(log=[]).order_by("fence", "seq") for line in chunk.log]
    if download:
        text = "".join(f"{line['at']} {line['level']}: {line['text']}\n" for line in lines)
        return attachment(text, "text/plain", f"run-{run.pk}.log")
    return {"items": [{key: line[key] for key in ("at", "level", "text")} for line in lines[-limit:]]}


def attachment(text: str, kind: str, name: str) -> HttpResponse:
    headers = {"Content-Disposition": f'attachment; filename="{name}"', "X-Content-Type-Options": "nosniff"}
    return HttpResponse(text, content_type=f"{kind}; charset=utf-8", headers=headers)
