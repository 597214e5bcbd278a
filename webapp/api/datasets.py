"""Datasets by API: the same verbs as the pages."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any, Literal
from uuid import UUID

from django.conf import settings
from django.http import Http404, HttpRequest, HttpResponse
from django.utils.translation import gettext as _
from ninja import Router
from pydantic import Field, ValidationError

from webapp.api.door import Body, Problem, field_error, page
from webapp.datasets import rows
from webapp.datasets.models import PARTS, Dataset, DatasetVersion, Import, NotNow, TooLarge, Upload, task_called
from webapp.people.access import WRITE, find
from worker.nlp import KINDS

LISTED_PROBLEMS = 20  # of each dataset in a list
UPLOADS = 'Finished tus uploads by part: {"file": id}, or {"train": id, "validation": id, "test": id}.'
FILES = {
    "file": "The data in one file; Tunebench splits its rows.",
    "train": "A file of training rows.",
    "validation": "A file of validation rows.",
    "test": "A file of test rows.",
}
router = Router()


class Reading(Body):
    """How a file is to be understood; what is left out is guessed or stays as it is."""

    mapping: dict[str, str] | None = Field(
        None,
        description="Which column is what: {role: column}; a text may be a template of several columns, such as {instruction}\\n\\n{input}. "
        "GET /tasks lists the roles.",
    )
    header_row: int | None = Field(None, ge=0, le=1_000_000, description="The line with the column names, from 1; 0: there is none.")
    encoding: str | None = Field(None, max_length=40, description="The file's encoding, such as utf-8 or gb18030.")
    delimiter: str | None = Field(None, min_length=1, max_length=1, description="The character between the cells.")
    sheet: str | None = Field(None, max_length=200, description="The sheet of a workbook to read.")
    member: str | None = Field(None, max_length=500, description="The file of an archive to read.")
    labels: dict[str, str] | None = Field(
        None, description="Labels to rename or merge: {label in the file: label}; an empty name leaves its rows out."
    )
    several_labels: Literal["explode", "first", "whole", "wait"] | None = Field(
        None, description="What becomes of rows with several labels: a row each, the first, all as one label, or nothing yet."
    )
    accept_rejected: bool | None = Field(
        None, description="true: rows that cannot be used are left out. Without it they hold the version back."
    )
    message: str | None = Field(None, max_length=1_000, description="A note about the version.")


class Files(Reading):
    """Uploads that arrived by tus, by part: {"file": id}, or {"train": id, "validation": id, "test": id}."""

    uploads: dict[str, UUID] = Field(default_factory=dict, description=UPLOADS)
    task: str | None = Field(None, max_length=40, description="The task's slug or an alias; left out, it stays as it is.")


class NewDataset(Reading):
    uploads: dict[str, UUID] = Field(default_factory=dict, description=UPLOADS)
    name: str = Field("", max_length=200, description="The dataset's name; left out, the file's.")
    task: str = Field("", max_length=40, description="The task's slug or an alias; left out, it is detected from the columns.")


class Change(Body):
    name: str = Field(max_length=200, description="The new name.")


FORM = {
    "requestBody": {
        "content": {
            "multipart/form-data": {
                "schema": {
                    "type": "object",
                    "properties": {part: {"type": "string", "format": "binary", "description": FILES[part]} for part in PARTS}
                    | {
                        name: {"type": "string", "description": each.description}
                        for name, each in NewDataset.model_fields.items()
                        if name != "uploads"
                    },
                }
            },
            "application/json": {"schema": NewDataset.model_json_schema()},
        }
    }
}


def said(request: HttpRequest, kind: Any) -> Any:
    """The body as JSON or as a form, in which mapping and labels are JSON texts. Raises Problem naming the field."""
    try:
        if request.content_type == "application/json":
            return kind.model_validate_json(request.body)
        fields: dict[str, Any] = {name: value for name, value in request.POST.items() if value != ""}
        for name in fields.keys() & {"mapping", "labels", "uploads"}:
            try:
                fields[name] = json.loads(fields[name])
            except ValueError:
                message = _("must be a JSON object, for instance %(example)s") % {"example": '{"text": "Review", "label": "Stars"}'}
                raise Problem(422, "Unprocessable Entity", message, field_error(name, message)) from None
        return kind.model_validate(fields)
    except ValidationError as error:
        errors = [{"field": ".".join(map(str, each["loc"])), "message": each["msg"]} for each in error.errors()]
        raise Problem(422, "Unprocessable Entity", _("Some fields are invalid."), errors) from None


def sent_files(request: Any, uploads: dict[str, UUID], team_id: UUID | None) -> dict[str, Upload]:
    """The files of the form, taken in this team, and those that came before by tus."""
    if unknown := sorted({*request.FILES, *uploads} - set(PARTS)):
        message = _("A file is called file, or train, validation and test.")
        raise Problem(422, "Unprocessable Entity", message, [{"field": name, "message": message} for name in unknown])
    for part in PARTS:
        if len(request.FILES.getlist(part)) + (part in uploads) > 1:
            message = _("There are two files called %(part)s, and one would be lost. Send one, or call them train, validation and test.")
            raise Problem(422, "Unprocessable Entity", message % {"part": part}, field_error(part, message % {"part": part}))
    found = {part: find(request.actor, Upload, key, WRITE) for part, key in uploads.items()}
    actor = replace(request.actor, team_id=team_id)
    try:
        for part, file in request.FILES.items():
            if file.size > settings.FORM_LIMIT:
                limit = f"{settings.FORM_LIMIT / 1024**2:.0f}"
                raise TooLarge(
                    _("A form takes files up to %(limit)s MB; send larger ones by tus to /datasets/uploads/.") % {"limit": limit}
                )
            found[part] = Upload.take(actor, file.name or "", file, file.size)
    except TooLarge as error:
        raise Problem(413, "Content Too Large", str(error), field_error(part, str(error))) from None
    return found


def options_of(said: Reading) -> dict[str, Any]:
    names = Reading.model_fields
    return {name: value for name in names if (value := getattr(said, name)) is not None}


@router.post("/datasets", response={202: dict[str, Any]}, openapi_extra=FORM, summary="Upload files and have them read")
def create(request: HttpRequest, response: HttpResponse) -> Any:
    """The file is read by a worker: ask for the dataset until its state is no longer `importing`. A file without doubts becomes
    `ready` and has a `version`. Otherwise it is `needs_mapping`: `questions` say what to decide; answer them with POST
    /datasets/{pk}/versions. `failed` comes with a `reason`."""
    wanted: NewDataset = said(request, NewDataset)
    task = task_called(wanted.task)
    uploads = sent_files(request, wanted.uploads, request.actor.team_id)  # type: ignore[attr-defined]
    made = Dataset.start(request.actor, wanted.name, task, uploads, options_of(wanted))  # type: ignore[attr-defined]
    response["Location"] = f"/api/v1/datasets/{made.pk}"
    return 202, facts(made)


@router.get("/datasets", summary="Datasets, newest first, with the first 20 problems of each")
def many(request: HttpRequest, after: str = "", limit: int = 50) -> Any:
    return page(Dataset.objects.visible_to(request.actor).with_heads(), after or None, limit, listed)  # type: ignore[attr-defined]


@router.get("/datasets/{uuid:pk}", summary="One dataset")
def one(request: HttpRequest, pk: UUID) -> Any:
    return facts(find(request.actor, Dataset, pk))  # type: ignore[attr-defined]


@router.patch("/datasets/{uuid:pk}", summary="Rename a dataset")
def rename(request: HttpRequest, pk: UUID, change: Change) -> Any:
    found: Dataset = find(request.actor, Dataset, pk, WRITE)  # type: ignore[attr-defined]
    found.rename(change.name)
    return facts(found)


@router.delete("/datasets/{uuid:pk}", response={204: None}, summary="Delete a dataset; its runs and models stay")
def delete(request: HttpRequest, pk: UUID) -> Any:
    find(request.actor, Dataset, pk, WRITE).delete()  # type: ignore[attr-defined]
    return 204, None


@router.post(
    "/datasets/{uuid:pk}/versions", response={202: dict[str, Any]}, openapi_extra=FORM, summary="Confirm a mapping, or bring another file"
)
def confirm(request: Any, pk: UUID) -> Any:
    """For a dataset that is `needs_mapping`: send what you would change, or only {"accept_rejected": true} to take it as it was
    understood. `labels` merges spellings (`joins` proposes some). With files, these become the next version. Then ask for the
    dataset until it is `ready`."""
    found: Dataset = find(request.actor, Dataset, pk, WRITE)
    wanted: Files = said(request, Files)
    if request.FILES or wanted.uploads:
        found.settle_task(task_called(wanted.task or "") or found.task)
        found.add_files(request.actor, sent_files(request, wanted.uploads, found.team_id), options_of(wanted))
    else:
        reading = found.latest_import
        if reading is None or not reading.report:
            raise Problem(409, "Conflict", found.reason or _("The file is still being read. Wait until the state is needs_mapping."))
        options = options_of(wanted)
        task = task_called(wanted.task or "") or found.task
        mapping = options.pop("mapping", None) or None
        try:
            reading.confirm(request.actor, mapping, task=task, **options)
        except NotNow as error:
            raise Problem(409, "Conflict", str(error)) from None
    found.refresh_from_db()
    return 202, facts(found)


@router.get("/versions/{uuid:pk}", summary="One version")
def version(request: HttpRequest, pk: UUID) -> Any:
    return version_facts(find(request.actor, DatasetVersion.objects.select_related("created_by"), pk))  # type: ignore[attr-defined]


@router.get("/versions/{uuid:pk}/rows", summary="Rows of a version by keyset; of long cells the first 10,000 characters")
def version_rows(
    request: HttpRequest,
    pk: UUID,
    after: str = "",
    limit: int = rows.PAGE,
    q: str = "",
    label: str | None = None,
    split: str = "",
    show: str = "",
) -> Any:
    found: DatasetVersion = find(request.actor, DatasetVersion, pk)  # type: ignore[attr-defined]
    if after and not (after.isascii() and after.isdigit() and len(after) < 12):
        message = _("`after` is not a cursor of this list.")
        raise Problem(422, "Unprocessable Entity", message, field_error("after", message))
    got = rows.page_of(
        found,
        rows.Wanted(q[:200], label, split, show if show in rows.SHOWS else ""),
        int(after) if after else -1,
        max(1, min(limit, 1_000)),
    )
    return {
        "items": [row_facts(row, found) for row in got.rows],
        "next": None if got.next is None else str(got.next),
        "searched": got.searched,
    }


@router.get("/versions/{uuid:pk}/rows/{int:position}", summary="One row of a version, whole; `id` in the list is its position")
def version_row(request: HttpRequest, pk: UUID, position: int) -> Any:
    found: DatasetVersion = find(request.actor, DatasetVersion, pk)  # type: ignore[attr-defined]
    row = rows.row_at(found, position)
    if row is None:
        raise Http404
    return row_facts(row, found)


def row_facts(row: dict[str, Any], version: DatasetVersion) -> dict[str, Any]:
    roles = {role.name for role in KINDS[version.task].roles}
    facts = {"id": row["at"], "row": row["row"], "split": row["split"]}
    facts |= {name: value for name, value in row["values"].items() if name in roles}
    facts |= {"cut": row["cut"]} if row["cut"] else {}  # columns whose text goes on
    return facts | {"other": {name: value for name, value in row["values"].items() if name not in roles}}


def facts(dataset: Dataset) -> dict[str, Any]:
    dataset.give_up_dropped_work()
    return described(dataset, list(dataset.versions.order_by("-number")), dataset.latest_import)


def listed(dataset: Any) -> dict[str, Any]:
    """One of `Dataset.objects.with_heads()`: as at its own address, but with the first problems only."""
    if dataset.is_dropped:
        dataset.give_up_dropped_work()
    found = described(dataset, dataset.numbered, next(iter(dataset.readings), None))
    return found | {"problems": found["problems"][:LISTED_PROBLEMS]}


def described(dataset: Dataset, versions: list[DatasetVersion], reading: Import | None) -> dict[str, Any]:
    report: dict[str, Any] = reading.report if reading else {}
    return {
        "id": str(dataset.pk),
        "name": dataset.name,
        "task": dataset.task,
        "state": dataset.state,
        "reason": dataset.reason,
        "rows": versions[0].rows if versions and dataset.state == Dataset.State.READY else report.get("rows", 0),
        "rejected": report.get("rows_rejected", 0),
        "blank": report.get("rows_blank", 0),
        "findings": report.get("findings", []),
        "questions": reading.questions if reading and dataset.state == Dataset.State.NEEDS_MAPPING else [],
        "problems": problems_of(dataset, reading) if reading else [],
        "columns": [column["name"] for column in report.get("columns", [])],
        "labels": report.get("labels", []),
        "joins": report.get("joins", {}),
        "several_labels": report.get("several", {}),
        "fits_better": report.get("fits_better", ""),
        "mapping": (reading and reading.options.get("mapping")) or report.get("mapping", {}),
        "version": str(versions[0].pk) if versions else None,
        "versions": [{"id": str(v.pk), "number": v.number, "hash": v.hash, "rows": v.rows} for v in versions],
        "created_at": dataset.created_at.isoformat(),
    }


def problems_of(dataset: Dataset, reading: Import) -> list[dict[str, Any]]:
    """What is wrong with rows, then what is wrong with the whole (row null), as a person would be told it."""
    report = reading.report
    publishing = report.get("publishing", {})
    of_rows = publishing.get("problems") or report.get("problems", [])
    findings = {finding["code"]: finding for finding in [*report.get("findings", []), *publishing.get("findings", [])]}
    of_all = [finding for finding in findings.values() if finding["level"] != "info"]
    if dataset.reason and dataset.reason not in {finding["message"] for finding in of_all}:
        of_all.insert(0, {"message": dataset.reason})
    return [{"row": p.get("row"), "column": p.get("column", ""), "message": message_of(p, reading)} for p in (*of_rows, *of_all)]


def message_of(problem: dict[str, Any], reading: Import) -> str:
    """A row number alone says little where there are several files."""
    file = problem.get("file") if len(reading.files) > 1 else ""
    return f"{file}: {problem['message']}" if file else str(problem["message"])


def version_facts(version: DatasetVersion) -> dict[str, Any]:
    return {
        "id": str(version.pk),
        "dataset": str(version.dataset_id),
        "created_by": version.created_by.username if version.created_by else None,
        "created_at": version.created_at.isoformat(),
        **{name: getattr(version, name) for name in ("number", "hash", "task", "message", "mapping", "rows", "rejected")},
        **{name: getattr(version, name) for name in ("splits", "labels", "statistics", "baselines")},
    }
