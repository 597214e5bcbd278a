"""One reading of the files of a dataset, and how it becomes a version."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from django.conf import settings
from django.db import models, transaction
from django.utils.translation import gettext as _

from webapp.datasets.models.version import DatasetVersion
from webapp.datasets.reading import templates
from webapp.people.access import Actor
from webapp.people.models import TeamScoped
from webapp.work.models import WorkItem
from worker.nlp import KINDS
from worker.spec import SpecError

READING_OPTIONS = ("header_row", "encoding", "delimiter", "sheet", "member", "several_labels")  # change how the bytes are understood


class NotNow(Exception):
    """The dataset is not in a state for this; the message says what to wait for."""


class Import(TeamScoped):
    """One reading of the files of a dataset: what was found, and how the person wants it understood."""

    class State(models.TextChoices):
        READING = "reading"
        READ = "read"
        PUBLISHING = "publishing"
        PUBLISHED = "published"
        FAILED = "failed"
        REPLACED = "replaced"

        @classmethod
        def open(cls) -> list[str]:
            return [cls.READING, cls.READ, cls.PUBLISHING]

    dataset = models.ForeignKey("datasets.Dataset", models.CASCADE, related_name="imports")
    files: Any = models.JSONField(default=list)  # [{"part", "name", "sha256"}]
    options: Any = models.JSONField(default=dict)  # {header_row, encoding, ..., mapping, labels, accept_rejected, message, confirmed, seen}
    report: Any = models.JSONField(default=dict)  # webapp/datasets/reading: Report.to_json()
    state = models.CharField(max_length=14, choices=State.choices, default=State.READING)

    @property
    def folder(self) -> Path:
        return Path(settings.FILES / "imports" / str(self.pk))

    @property
    def reading_options(self) -> dict[str, Any]:
        return {name: self.options[name] for name in READING_OPTIONS if self.options.get(name) not in (None, "")}

    @property
    def mapping(self) -> dict[str, str]:
        """{role: column} as the person wants it, else as the reading suggests."""
        return dict(self.options.get("mapping") or self.report.get("mapping") or {})

    def _move(self, to: str, *, out_of: Iterable[str], **fields: Any) -> bool:
        won = Import.objects.filter(pk=self.pk, state__in=list(out_of)).update(state=to, **fields)
        if won:
            self.refresh_from_db()
        return bool(won)

    @property
    def questions(self) -> list[dict[str, Any]]:
        """The findings that hold the version back: errors, and what neither an option answers nor a person has seen."""
        seen = self.options.get("seen", [])
        asked = [finding for finding in self.report.get("findings", []) if finding.get("asks")]
        return [f for f in asked if f["level"] == "error" or not (is_answer(self.options.get(f["asks"])) or named(f) in seen)]

    def finish_reading(self, report: dict[str, Any]) -> None:
        """Keep the report. What is confirmed or leaves nothing to doubt goes on to a version, all else asks a person."""
        with transaction.atomic():
            if not self._move(self.State.READ, out_of=[self.State.READING], report=report):
                return
            self.dataset.settle_task(report["task"])
            told = next((finding["message"] for finding in self.questions), "")
            try:
                self.check_mapping(self.mapping)
            except SpecError as error:
                return self.dataset.ask(str(error) if self.options.get("mapping") else told)
            if self.options.get("confirmed") or not self.questions:
                self._publish()
            else:
                self.dataset.ask(told)

    def confirm(self, actor: Actor, mapping: Mapping[str, str] | None = None, **options: Any) -> Import:
        """Make a version of it: `labels` {from: to}, `accept_rejected`, `message`, or another `header_row`, `encoding`,
        `delimiter`, `sheet`, `member`, `several_labels` or `task`, for which the file is read again. Without a mapping the one
        that stands is meant. Nobody has seen what another reading gives, so it asks what is in doubt, and is mapped anew unless
        a mapping is sent with it. Raises SpecError or NotNow. Returns the import that goes on."""
        given = {name: value for name, value in options.items() if value is not None}
        task = given.pop("task", self.dataset.task)
        changed = {name for name in READING_OPTIONS if {**self.options, **given}.get(name) != self.options.get(name)}
        if changed - {"several_labels"}:
            unseen = {"labels": {}, "accept_rejected": False, **given, "mapping": dict(mapping or {}), "confirmed": False, "seen": []}
            return self.dataset.read_again(actor.user, unseen, task)
        if mapping is None:
            mapping = self.mapping if task == self.dataset.task else {}
        wanted = {**self.options, **given, "mapping": dict(mapping), "confirmed": True}
        if changed or task != self.dataset.task:
            return self.dataset.read_again(actor.user, wanted, task)
        self.check_mapping(mapping)
        with transaction.atomic():
            again = [self.State.READ, self.State.PUBLISHED]
            if not Import.objects.filter(pk=self.pk, state__in=again).update(options=wanted):
                raise NotNow(_("The file is still being read, or could not be. Reload the dataset."))
            self.refresh_from_db()
            self._publish()
        return self

    def look_again(self, actor: Actor, mapping: Mapping[str, str], **options: Any) -> Import:
        """Have the file looked at with other columns; it becomes a version unless a person should see what that brings up."""
        self.check_mapping(mapping)
        seen = [named(finding) for finding in self.report["findings"]]
        return self.dataset.read_again(actor.user, {**options, "mapping": dict(mapping), "confirmed": False, "seen": seen})

    def check_mapping(self, mapping: Mapping[str, str]) -> None:
        columns = [column["name"] for column in self.report.get("columns", [])]
        task = KINDS[self.dataset.task]
        roles = [role.name for role in task.roles]
        for role, column in mapping.items():
            if role not in roles and role != "split":
                raise SpecError(
                    "mapping",
                    _("%(role)s is not something this task needs; it needs %(roles)s.") % {"role": role, "roles": ", ".join(roles)},
                )
            if templates.is_template(column, columns):
                if wrong := templates.problem(column, columns):
                    raise SpecError("mapping", wrong)
            elif column not in columns:
                raise SpecError(
                    "mapping",
                    _("The file has no column called %(column)s. It has %(columns)s.")
                    % {"column": column, "columns": ", ".join(columns[:20])},
                )
        for needed in task.lacking({role: column for role, column in mapping.items() if column}):
            raise SpecError("mapping", _("Choose the column that holds: %(role)s.") % {"role": _(needed.label)})
        used = [name for source in mapping.values() for name in templates.sources({"": source}, columns)]
        if len({*used}) < len(used):
            raise SpecError("mapping", _("One column cannot have two roles."))

    def _publish(self) -> None:
        self._move(self.State.PUBLISHING, out_of=[self.State.READ, self.State.PUBLISHED])
        self.dataset.wait()
        self.hand_over("publish_version")

    def publish(self, published: dict[str, Any]) -> DatasetVersion | None:
        """The version, whole, in one transaction with everything that makes it visible; None when that was done before."""
        with transaction.atomic():
            report = {**self.report, "publishing": {name: published[name] for name in ("problems", "findings", "rejected", "rows")}}
            if not self._move(self.State.PUBLISHED, out_of=[self.State.PUBLISHING], report=report):
                return None
            parent = self.dataset.latest_version
            version = self.dataset.versions.create(
                team_id=self.team_id,
                created_by=self.created_by,
                number=parent.number + 1 if parent else 1,
                parent=parent,
                task=self.dataset.task,
                hash=published["sha256"],
                message=str(self.options.get("message", ""))[:1000],
                mapping=self.mapping,
                **{name: published[name] for name in ("rows", "rejected", "splits", "labels", "statistics")},
            )
            self.dataset.become_ready()
            self.hand_over("baselines", version.pk)
        return version

    def refuse(self, reason: str) -> None:
        """The rows cannot become a version in this way; the person may map them in another."""
        with transaction.atomic():
            options = {**self.options, "confirmed": False}
            if self._move(self.State.READ, out_of=[self.State.PUBLISHING], options=options):
                self.dataset.ask(reason)

    def fail(self, reason: str) -> None:
        """The files cannot be read, or not in this way: the reading before this one, if there is one, stands again."""
        with transaction.atomic():
            if not self._move(self.State.FAILED, out_of=self.State.open()):
                return
            others = self.dataset.imports.exclude(pk=self.pk).exclude(state=self.State.FAILED).order_by("-pk")
            before = next((other for other in others if other.report), None)
            if before:
                self._move(self.State.REPLACED, out_of=[self.State.FAILED])
                self.dataset.settle_task(before.report["task"])
            if before and before._move(self.State.READ, out_of=[self.State.REPLACED]):
                self.dataset.ask(reason)
            else:
                self.dataset.fall_back(reason)

    @property
    def is_wanted(self) -> bool:
        """Whether somebody still waits for what a worker makes of it: neither the dataset was deleted nor another reading begun."""
        here = Import.objects.filter(pk=self.pk, state=self.state, dataset__deleted_at=None)
        return here.exists()

    def hand_over(self, kind: str, subject: Any = None) -> None:
        WorkItem.add(kind, subject or self.pk, team=self.team_id)

    def hand_over_again(self) -> None:
        """The work that was dropped when the dataset was deleted."""
        kind = {self.State.READING: "read_files", self.State.PUBLISHING: "publish_version"}.get(self.State(self.state))
        going_on = WorkItem.objects.filter(subject=self.pk, state__in=WorkItem.WAITING | WorkItem.LEASED)
        if kind and not going_on.exists():
            self.hand_over(kind)


def is_answer(option: Any) -> bool:
    """Whether a person chose something. Line 0 for the column names says that there are none."""
    return bool(option) or (option == 0 and option is not False)


def named(finding: Mapping[str, Any]) -> str:
    """What tells a finding from others of the same import."""
    return f"{finding['code']} {finding['column']}"
