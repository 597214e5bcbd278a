"""What the pages of datasets share."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from django.conf import settings
from django.http import HttpRequest
from django.http.response import HttpResponseBase
from django.utils.http import content_disposition_header
from django.utils.translation import gettext_lazy as _

from webapp.datasets.models import Dataset
from webapp.people.access import WRITE
from worker.nlp import KINDS


@dataclass(frozen=True)
class Sample:
    """A file that comes with the product, for the first try of a task."""

    file: str
    task: str
    name: Any
    button: Any

    @property
    def path(self) -> Path:
        return Path(settings.ROOT / "webapp" / "home" / "sample" / self.file)


SAMPLES = {
    "reviews": Sample("reviews.csv", "classification", _("Sample reviews"), _("Use the sample reviews")),
    "sentences": Sample("translation.tsv", "translation", _("Sample sentence pairs"), _("Sentence pairs")),
    "questions": Sample("questions.json", "question_answering", _("Sample questions"), _("Questions")),
    "notices": Sample("summaries.csv", "summarization", _("Sample summaries"), _("Summaries")),
    "prompts": Sample("prompts.jsonl", "generation", _("Sample prompts"), _("Prompts")),
}


def limits() -> dict[str, Any]:
    return {"limit_gb": settings.UPLOAD_LIMIT / 1024**3, "upload_limit": settings.UPLOAD_LIMIT, "chunk": settings.UPLOAD_CHUNK}


def about(request: HttpRequest, found: Dataset) -> dict[str, Any]:
    may_write = request.actor.may(WRITE, found.team_id)  # type: ignore[attr-defined]
    return {"dataset": found, "reading": found.latest_import, "may_write": may_write, "task": KINDS.get(found.task)} | limits()


def attachment(response: HttpResponseBase, file_name: str) -> HttpResponseBase:
    """Whatever it holds, the browser keeps it and never shows it in our name."""
    response["Content-Disposition"] = content_disposition_header(True, file_name)
    response["Cross-Origin-Resource-Policy"] = "same-origin"
    return response
