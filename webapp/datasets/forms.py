"""What people say on the pages of datasets: which files, and how their columns are meant."""

from __future__ import annotations

from collections.abc import Mapping as Answers
from dataclasses import dataclass, field, replace
from typing import Any
from uuid import UUID

from django.http import Http404, HttpRequest
from django.utils.translation import gettext_lazy as _

from webapp.datasets.models import PARTS, Import, Upload
from webapp.datasets.reading import templates
from webapp.datasets.reading.encodings import NAMES
from webapp.people.access import WRITE, find
from worker.nlp import KINDS, TASKS, Task
from worker.spec import Role

DELIMITERS = ((",", _("comma")), (";", _("semicolon")), ("\t", _("tab")), ("|", _("bar")))
SEVERAL_LABELS = {  # what can become of rows with several labels
    "explode": _("A row for each label"),
    "first": _("The first label only"),
    "whole": _("Each cell as one name"),
    "wait": _("Wait"),
}
OF_THE_ROWS = ("label_variants", "conflicting_labels", "duplicates", "near_duplicates", "rare_class", "imbalance")  # a version has its own
LABELS_SHOWN = 200  # that can be joined on the page
OFFERED = 60  # columns for a template; others can be written by hand
OF_THE_MAPPING = (  # findings that another mapping ends, by how their codes begin
    *("missing_", "bad_", "label_", "no_role", "conflicting_labels", "records_as_text", "markup_as_text", "placeholders", "same_text"),
    *("proportions", "untaught_label", "unmeasured_label", "unused_text", "columns_guessed", "chat_as_text", "several_questions"),
)
ANSWERED = {  # where on the page a question is answered: option (anchor, what the link says)
    "encoding": ("encodings", _("Compare the readings")),
    "mapping": ("columns", _("Choose the columns")),
    "task": ("task", _("Choose the task")),
    "labels": ("labels", _("Edit the labels")),
    "several_labels": ("several", _("Choose what becomes of them")),
    "accept_rejected": ("problems", _("See the rows")),
    **dict.fromkeys(("header_row", "delimiter", "sheet", "member"), ("reading", _("Change how it was read"))),
}


def chosen_uploads(request: HttpRequest) -> dict[str, Upload]:
    """The uploads that a form names by part."""
    actor = request.actor  # type: ignore[attr-defined]
    return {part: find(actor, Upload, key(request.POST[part]), WRITE) for part in PARTS if request.POST.get(part)}


def key(text: str) -> UUID:
    try:
        return UUID(text)
    except ValueError:
        raise Http404 from None


@dataclass(frozen=True)
class Mapping:
    """The mapping page: what was found, what is suggested, what the person answered."""

    reading: Import
    roles: dict[str, str] = field(default_factory=dict)  # {role: column, or a template of several}
    labels: dict[str, str] = field(default_factory=dict)  # {label as written: label}, "" drops its rows
    message: str = ""
    accept_rejected: bool = False

    @classmethod
    def of(cls, reading: Import) -> Mapping:
        joins = reading.options.get("labels")
        return cls(
            reading,
            roles=reading.mapping,
            labels=reading.report.get("joins", {}) if joins is None else joins,
            message=reading.options.get("message", ""),
        )

    def with_answers(self, answers: Answers[str, str]) -> Mapping:
        roles: dict[str, str] = {}
        for index, column in enumerate(self.reading.report["columns"]):
            if role := answers.get(f"role-{index}"):
                roles[role] = column["name"]
        roles |= self.templates_in(answers, roles)
        if roles.get(self.label_role) != self.roles.get(self.label_role):
            answers = {name: value for name, value in answers.items() if not name.startswith("label-")}  # of the column before
        labels = {
            label["name"]: answers[f"label-{index}"].strip()
            for index, label in enumerate(self.shown_labels)
            if f"label-{index}" in answers and answers[f"label-{index}"].strip() != untold(label)
        }
        return replace(
            self, roles=roles, labels=labels, message=answers.get("message", "").strip(), accept_rejected="accept_rejected" in answers
        )

    def templates_in(self, answers: Answers[str, str], chosen: Answers[str, str]) -> dict[str, str]:
        """{role: template} as written. A column that was chosen for the role puts an end to a template that nobody touched."""
        written = {role.name: answers.get(f"template-{role.name}", "").replace("\r\n", "\n").strip() for role in self.text_roles}
        return {
            role: template for role, template in written.items() if template and (template != self.roles.get(role) or role not in chosen)
        }

    def reading_answers(self, answers: Answers[str, str]) -> dict[str, Any]:
        """Options that change how the bytes are read; with them what was mapped before is forgotten."""
        asked: dict[str, Any] = {name: answers[name] for name in ("encoding", "delimiter") if answers.get(name)}
        asked |= {name: answers[name] for name in ("sheet", "member") if name in answers}  # empty: all that belong together
        header = answers.get("header_row", "")
        if header.isascii() and header.isdigit():
            asked["header_row"] = int(header[:6])
        changed = {name: value for name, value in asked.items() if value != self.file.get(name)}  # the rest may be guessed anew
        if answers.get("read_as"):
            changed["encoding"] = answers["read_as"]  # a person has said so, also of the one that was guessed
        return {**changed, "mapping": None, "labels": None, "confirmed": False}

    @property
    def report(self) -> dict[str, Any]:
        return dict(self.reading.report)

    @property
    def file(self) -> dict[str, Any]:
        """The first file stands for how all were understood. Of several tables of one upload none is chosen."""
        first, *others = self.reading.report["files"]
        return {**first, **({"member": "", "sheet": ""} if any(other["name"] == first["name"] for other in others) else {})}

    @property
    def columns(self) -> list[dict[str, Any]]:
        role_of = {column: role for role, column in self.roles.items()}
        part_of = {name: _("part of the template below") for source in self.roles.values() for name in templates.fields(source)}
        return [
            {**column, "chosen": role_of.get(column["name"], ""), "reason": part_of.get(column["name"], column["reason"])}
            for column in self.reading.report["columns"]
        ]

    @property
    def text_roles(self) -> list[Role]:
        return [role for role in self.task.roles if role.kind == "text"]

    @property
    def templates(self) -> list[dict[str, Any]]:
        """For each text of the task: its template, if it has one, and what that makes of the first row."""
        names = [column["name"] for column in self.reading.report["columns"]]
        found = {role: source for role, source in self.roles.items() if templates.is_template(source, names)}
        return [
            {"role": role, "template": found.get(role.name, ""), "shown": templates.shown(found.get(role.name, ""), self.first_row)}
            for role in self.text_roles
        ]

    @property
    def is_joined(self) -> bool:
        return any(each["template"] for each in self.templates)

    @property
    def first_row(self) -> dict[str, str]:
        row: dict[str, Any] = next(iter(self.reading.report["preview"]), {})
        return {column["name"]: (row.get(column["name"]) or "")[:1_000] for column in self.reading.report["columns"][:OFFERED]}

    @property
    def choices(self) -> list[tuple[str, str]]:
        return [("", str(_("Ignore"))), *((role.name, str(_(role.label))) for role in self.task.roles), ("split", str(_("Split")))]

    @property
    def task(self) -> Task:
        return KINDS[self.reading.dataset.task]

    @property
    def tasks(self) -> list[Task]:
        return sorted(KINDS.values(), key=lambda kind: kind.slug not in TASKS)

    @property
    def fits_better(self) -> Task | None:
        """Another task that the file seems to be for."""
        return KINDS.get(self.reading.report.get("fits_better", ""))

    @property
    def preview(self) -> list[dict[str, Any]]:
        names = [column["name"] for column in self.reading.report["columns"]]
        return [{"row": row["_row"], "cells": [row.get(name) for name in names]} for row in self.reading.report["preview"]]

    @property
    def label_role(self) -> str:
        return next((role.name for role in self.task.roles if role.is_label), "")

    @property
    def labels_found(self) -> list[dict[str, Any]]:
        """Of the column that is chosen for them."""
        chosen = self.roles.get(self.label_role)
        if chosen == self.reading.report.get("mapping", {}).get(self.label_role):
            return list(self.reading.report.get("labels", []))
        return next((list(column["histogram"]) for column in self.reading.report["columns"] if column["name"] == chosen), [])

    @property
    def shown_labels(self) -> list[dict[str, Any]]:
        return self.labels_found[:LABELS_SHOWN]

    @property
    def several(self) -> dict[str, Any]:
        """Rows with several labels in the column that is chosen for them, and what each answer gives; empty where there are none."""
        found = self.reading.report.get("several") or {}
        if not found or found["column"] != self.roles.get(self.label_role):
            return {}
        choices = [{"value": how, "title": SEVERAL_LABELS[how], **gives} for how, gives in found["gives"].items()]
        return {**found, "choices": choices}

    @property
    def joined_labels(self) -> list[dict[str, Any]]:
        return [{**label, "to": self.labels.get(label["name"], untold(label))} for label in self.shown_labels]

    @property
    def left_out(self) -> int | None:
        """Rows that cannot be used; None where nobody has counted: with another mapping, or in very long files."""
        report = self.reading.report
        if not self.is_counted or report.get("rows_unusable") is None:
            return None
        return int(report["rows_rejected"] + report["rows_blank"] + report["rows_unusable"])

    @property
    def usable(self) -> int | None:
        return (
            None
            if self.left_out is None or "" in self.labels.values() or self.several
            else int(self.reading.report.get("rows", 0)) - self.left_out
        )

    @property
    def is_counted(self) -> bool:
        """Whether this mapping is the one that the reading looked at."""
        return bool(self.roles == self.reading.report.get("mapping"))

    @property
    def problems(self) -> list[dict[str, Any]]:
        """Of single rows; those of another mapping are left away."""
        return [p for p in self.reading.report.get("problems", []) if self.is_counted or not p["code"].startswith("bad_")]

    @property
    def problems_total(self) -> int:
        of_mapping = self.reading.report.get("rows_unusable") if self.is_counted else 0
        return int(sum(self.reading.report.get("counts", {}).values())) + (of_mapping or 0)

    @property
    def encodings(self) -> list[tuple[str, list[str]]]:
        """[(group, titles)]: those that come into question, then all others by where they were used."""
        likely = list(dict.fromkeys([self.file["encoding"], *self.file.get("encodings", [])]))[:6]
        groups: dict[str, list[str]] = {str(_("Likely")): likely}
        for title, where in NAMES.values():
            if title not in likely:
                groups.setdefault(where, []).append(title)
        return list(groups.items())

    @property
    def readings(self) -> list[dict[str, Any]]:
        """What the first lines would be in each of the encodings that come into question, if that is in doubt."""
        asks = any(finding["asks"] == "encoding" for finding in self.reading.questions)
        return list(self.file.get("readings", [])) if asks and len(self.file.get("readings", [])) > 1 else []

    @property
    def delimiters(self) -> list[tuple[str, str]]:
        known = [(sign, str(name)) for sign, name in DELIMITERS]
        now = self.file["delimiter"]
        return known if any(sign == now for sign, _name in known) else [(now, now), *known]

    @property
    def findings(self) -> list[dict[str, Any]]:
        """Of the reading, and of the last try to make a version; errors first, then what waits for an answer."""
        tried = self.reading.report.get("publishing", {}).get("findings", [])
        known = [f for f in self.reading.report.get("findings", []) if self.is_counted or not f["code"].startswith(OF_THE_MAPPING)]
        if "publishing" in self.reading.report and self.is_counted:  # labels may have been joined: then these are looked for anew
            known = [f for f in known if f["code"] not in OF_THE_ROWS]
        seen = {(finding["code"], finding["column"]): finding for finding in [*known, *tried]}
        listed = [finding for finding in seen.values() if finding["code"] != "other_task"]  # which stands above the table, with its button
        shown, several = {row["row"] for row in self.preview}, len(self.reading.report["files"]) > 1

        def places(finding: dict[str, Any]) -> list[dict[str, Any]]:
            """The rows that it is about; those of the preview can be linked."""
            return [
                {"row": at["row"], "file": at["file"] if several else "", "shown": at["row"] in shown and not several}
                for at in finding.get("rows", [])
            ]

        listed = [
            {
                **f,
                "places": places(f),
                "is_open": bool(f.get("asks")) and f["level"] != "error",
                "answered": ANSWERED.get(f.get("asks", "")),
            }
            for f in listed
        ]
        return sorted(listed, key=lambda f: (("error", "warning", "info").index(f["level"]), not f["is_open"]))

    @property
    def questions(self) -> list[dict[str, Any]]:
        """The findings that wait for a person."""
        return [finding for finding in self.findings if finding["is_open"]]

    @property
    def remarks(self) -> list[dict[str, Any]]:
        """All other findings."""
        return [finding for finding in self.findings if not finding["is_open"]]


def untold(label: dict[str, Any]) -> str:
    """What becomes of a label of which a person says nothing: one that stands for none is left out."""
    return "" if label.get("missing") else str(label["name"])
