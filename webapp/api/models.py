"""Models and what they answer."""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Any
from uuid import UUID

from asgiref.sync import sync_to_async
from django.http import StreamingHttpResponse
from django.utils.translation import gettext as _
from ninja import Router
from pydantic import Field, field_validator

from webapp.api.door import Body, Problem, Session, Token, page
from webapp.catalog.models import ModelVersion
from webapp.catalog.packing import as_zip
from webapp.people.access import READ, WRITE, SignedIn, find
from webapp.playground.models import Busy, NoAnswer, NotAnswering, Prediction, Unserved, is_last

router = Router()


class NewModel(Body):
    """Either the name of a model on the hub, or a folder that an administrator allowed."""

    hub: str | None = Field(None, description="Its name on the hub: organisation/name.")
    folder: str | None = Field(None, description="A folder on the server that an administrator has allowed.")


class Question(Body):
    """`inputs` as `GET /tasks` lists them for the model's task: one object, or a list of up to 64."""

    inputs: Any = Field(description="{field: text} as the task's `inputs` say, or a list of up to 64 of them.")
    parameters: dict[str, Any] = Field({}, description="{name: value}; the task's `parameters` list names, bounds and defaults.")
    untuned: bool = Field(False, description="true: ask the model's base as it was before training.")

    @field_validator("*", mode="after")
    @classmethod
    def _can_be_stored(cls, value: Any) -> Any:
        """They are taken out of what is asked, like all control characters."""
        return value


@router.get("/models", summary="Models that can be tried or fine-tuned")
def models(
    request: SignedIn, trainable: bool | None = None, task: str | None = None, after: str | None = None, limit: int = 50
) -> dict[str, Any]:
    found = ModelVersion.objects.visible_to(request.actor).present().listed()
    if trainable is not None:
        found = found.filter(is_trainable=trainable, state=ModelVersion.State.READY)
    if task:  # a base may be trained for any task that its shape can learn
        found = found.trainable(task) if trainable else found.filter(task=task)
    return page(found, after, limit, ModelVersion.facts)


@router.post("/models", response={201: dict[str, Any]}, summary="Add a model of the hub, or of a folder")
def add(request: SignedIn, payload: NewModel) -> tuple[int, dict[str, Any]]:
    if bool(payload.hub) == bool(payload.folder):
        raise Problem(
            422, _("Unprocessable"), _("Name either a model of the hub or a folder."), [{"field": "hub", "message": _("hub or folder")}]
        )
    model = (
        ModelVersion.add_hub(request.actor, payload.hub) if payload.hub else ModelVersion.add_folder(request.actor, payload.folder or "")
    )
    return 201, model.facts()


@router.get("/models/{uuid:pk}", summary="One model")
def model(request: SignedIn, pk: UUID) -> dict[str, Any]:
    found: ModelVersion = find(request.actor, ModelVersion.objects.present().listed(), pk)
    return found.facts()


@router.delete("/models/{uuid:pk}", response={204: None}, summary="Delete a model; it can be restored on its page")
def delete(request: SignedIn, pk: UUID) -> tuple[int, None]:
    find(request.actor, ModelVersion.objects.present(), pk, WRITE).delete_softly()
    return 204, None


@router.get("/models/{uuid:pk}/download", summary="Weights, tokenizer, configuration and card as a zip file")
def download(request: SignedIn, pk: UUID) -> StreamingHttpResponse:
    return as_zip(ready(find(request.actor, ModelVersion.objects.present(), pk)))


@router.post(
    "/models/{uuid:pk}/predictions",
    auth=[Token(READ), Session()],  # whoever may look may ask
    response=dict[str, Any],
    summary="Ask a model; Accept: text/event-stream streams what comes",
)
async def predict(request: SignedIn, pk: UUID, payload: Question) -> dict[str, Any] | StreamingHttpResponse:
    streams = "text/event-stream" in request.headers.get("Accept", "")
    prediction = await sync_to_async(ask)(request, pk, payload, streams)
    if streams:
        headers = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
        return StreamingHttpResponse(events(prediction), content_type="text/event-stream", headers=headers)
    try:
        frame = await prediction.answered()
    except NoAnswer as silence:
        raise Problem(504, _("No answer in time"), str(silence)) from None
    if frame["type"] == "failed":
        raise Problem(502, _("The model could not answer"), frame["reason"])
    return answer(prediction, frame)


@router.get("/predictions/{uuid:pk}", response=dict[str, Any], summary="What was asked and answered; anybody in the team may read it")
def prediction(request: SignedIn, pk: UUID) -> dict[str, Any]:
    found: Prediction = find(request.actor, Prediction.objects.select_related("model", "created_by"), pk)
    return found.facts()


@router.delete("/predictions/{uuid:pk}", response={204: None}, summary="Stop an answer that one has asked for")
def stop(request: SignedIn, pk: UUID) -> tuple[int, None]:
    find(request.actor, Prediction.objects.filter(created_by=request.user), pk).cancel()
    return 204, None


def ask(request: SignedIn, pk: UUID, payload: Question, stream: bool) -> Prediction:
    model = find(request.actor, ModelVersion.objects.present().select_related("parent"), pk)
    try:
        return Prediction.ask(request.actor, model, payload.inputs, payload.parameters, payload.untuned, stream)
    except NotAnswering as refusal:
        raise Problem(409, _("The model answers nothing"), str(refusal)) from None
    except Busy as refusal:
        raise Problem(429, _("Too many questions"), str(refusal), Retry_After=str(refusal.retry_s)) from None
    except Unserved as refusal:
        raise Problem(503, _("Nobody answers"), str(refusal)) from None


def answer(prediction: Prediction, frame: dict[str, Any]) -> dict[str, Any]:
    content = {"answers": frame["answer"]} if isinstance(frame["answer"], list) else frame["answer"]
    return {"id": str(prediction.pk), **content, "latency_ms": frame["latency_ms"], "engine": frame["engine"]}


async def events(prediction: Prediction) -> AsyncGenerator[str]:
    """Server-sent events: loading, piece, then answer or failed."""
    async with aclosing(prediction.frames()) as frames:
        async for frame in frames:
            content = answer(prediction, frame) if frame["type"] == "answer" else {k: v for k, v in frame.items() if k != "type"}
            yield f"event: {frame['type']}\ndata: {json.dumps(content, ensure_ascii=False)}\n\n"
            if is_last(frame):
                return
    yield f"event: failed\ndata: {json.dumps({'reason': _('No answer came in time. Try again.')})}\n\n"


def ready(model: ModelVersion) -> ModelVersion:
    if model.state != ModelVersion.State.READY:
        raise Problem(409, _("Not ready"), _("This model has not been fetched, so there is nothing to download."))
    return model
