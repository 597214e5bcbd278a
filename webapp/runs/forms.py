"""What a person decides before a run: what, from what, how. The task says which settings there are."""

from __future__ import annotations

import json
from collections import Counter
from typing import Any

from django import forms
from django.utils.formats import date_format
from django.utils.timezone import localtime
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from webapp.catalog.models import ModelVersion
from webapp.datasets.models import DatasetVersion
from webapp.people.access import Actor
from webapp.runs.models import Run, advice_for, fit, suggested
from webapp.runs.templatetags.runs import plain, size
from worker.nlp import TASKS, Task, families
from worker.spec import Setting, SpecError


class RunForm(forms.Form):
    """Bound fields are called as Run.submit calls them, so that its SpecError finds its place."""

    version = forms.ModelChoiceField(
        DatasetVersion.objects.none(), error_messages={"required": gettext_lazy("Choose the rows to learn from.")}
    )
    base = forms.ModelChoiceField(
        ModelVersion.objects.none(),
        error_messages={
            "required": gettext_lazy("Choose a base model."),
            "invalid_choice": gettext_lazy("This base model cannot learn from these rows. Choose another one."),
        },
    )
    method = forms.ChoiceField()
    name = forms.CharField(max_length=200, required=False)

    def __init__(self, actor: Actor, *args: Any, version: DatasetVersion | None, start: dict[str, Any], **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.actor, self.chosen = actor, version
        self.task: Task = TASKS[version.task if version else next(iter(TASKS))]
        self.advice = advice_for(version) if version else {}
        self.fields["version"].queryset = versions_for(actor)  # type: ignore[attr-defined]
        self.fields["base"].queryset = bases_for(actor, self.task.slug)  # type: ignore[attr-defined]
        self.initial = {"version": version, **start, **self.initial}
        languages = version.languages if version else []
        self.bases: list[ModelVersion] = self.fields["base"].queryset.best_for(self.task.slug, languages)  # type: ignore[attr-defined]
        self.base_is_given = "base" in self.initial
        self.model = self.initial["base"] = self.base_now()
        self.recipes = self.task.recipes(self.model.shape) if self.model else self.task.methods
        self.initial["method"] = self.method_now = self.method_of(self.data.get("method") or self.initial.get("method"))
        self.fields["method"].choices = [(recipe.method, recipe.title) for recipe in self.recipes]  # type: ignore[attr-defined]
        self.settings_shown = self.known(*(recipe.method for recipe in self.recipes))
        for setting in self.settings_shown:
            self.fields[setting.name] = self.field_of(setting)

    def base_now(self) -> ModelVersion | None:
        """The base that is chosen; the suggested one where nobody chose, or chose one that cannot learn this task."""
        value = self.data.get("base") or self.initial.get("base")
        chosen = str(getattr(value, "pk", value))
        return next((base for base in self.bases if str(base.pk) == chosen), next(iter(self.bases), None))

    def known(self, *methods: str) -> list[Setting]:
        """The settings that the chosen base knows under any of these recipes, in the task's order."""
        shape = self.model.shape if self.model else ""
        known = {setting.name for method in methods for setting in self.task.known_settings(method, shape)}
        return [setting for setting in self.task.settings if setting.name in known]

    def method_of(self, chosen: Any) -> str:
        """The recipe that is chosen, where the base model knows it; else its first."""
        return str(next((recipe.method for recipe in self.recipes if recipe.method == chosen), self.recipes[0].method))

    def field_of(self, setting: Setting) -> forms.Field:
        is_given = setting.name in self.initial
        value = self.initial.pop(setting.name, suggested(setting, self.method_now, self.advice))
        defaults = {m: as_written(suggested(setting, m, self.advice)) for m in (recipe.method for recipe in self.recipes)}
        attributes = {"data-defaults": json.dumps(defaults), "aria-describedby": f"help-{setting.name}"}
        if is_given:
            attributes["data-touched"] = "yes"
        if setting.kind == "bool":
            widget: forms.Widget = forms.CheckboxInput(attributes)
        elif setting.kind == "choice":
            widget = forms.Select(attributes, choices=setting.choices)
        else:
            keys = {"maxlength": int(setting.most or 200)} if setting.kind == "text" else {"inputmode": "decimal"}
            widget = forms.TextInput({**attributes, **keys, "autocomplete": "off"})
        initial = setting.read(value) if setting.kind == "bool" else as_written(value)
        return forms.Field(widget=widget, label=setting.label, initial=initial, required=False)

    def clean(self) -> dict[str, Any]:
        cleaned = super().clean() or self.cleaned_data
        method = cleaned.get("method", self.method_now)
        self.settings: dict[str, Any] = {}
        for setting in self.known(method):
            value = cleaned.get(setting.name)
            value = value.strip() if isinstance(value, str) else value
            try:
                self.settings[setting.name] = setting.read(suggested(setting, method, self.advice) if value in (None, "") else value)
            except SpecError as error:
                self.add_error(setting.name, str(error))
        return cleaned

    def submit(self) -> Run | None:
        """The run, in line; or None, and the reason stands at its field."""
        given = self.cleaned_data
        try:
            return Run.submit(  # type: ignore[no-any-return]
                self.actor, given["version"], given["base"], given["method"], self.settings, name=given["name"]
            )
        except SpecError as error:
            field = {"base_model": "base"}.get(error.field, error.field)  # the API's word for it
            self.add_error(field if field in self.fields else None, str(error))
            return None

    def drawn(self, is_advanced: bool) -> list[dict[str, Any]]:
        """The settings as the page draws them."""
        return [
            {
                "setting": setting,
                "field": self[setting.name],
                "methods": " ".join(setting.methods),
                "limits": limits(setting),
                "default": as_written(setting.default_for(self.method_now)),
                "advised": title_of(setting, self.advice[setting.name][0]) if setting.name in self.advice else "",
                "reason": self.advice[setting.name][1] if setting.name in self.advice else "",
            }
            for setting in self.settings_shown
            if setting.advanced is is_advanced
        ]

    @property
    def fit(self) -> str:
        """Whether the chosen base reads the rows, and the way out where none that is here does."""
        if not (self.chosen and self.model):
            return ""
        sentence = fit(self.chosen, self.model)
        if any(base.reads(self.chosen.languages) for base in self.bases) or families.ENCODER not in self.task.shapes:
            return sentence
        way_out = _("multilingual-e5-small reads about 100 languages: the next start with a network connection fetches it.")
        return f"{sentence} {way_out}"

    @property
    def version_groups(self) -> list[tuple[str, list[tuple[DatasetVersion, str]]]]:
        """The rows that can be learnt from as (task, [(version, words)]), the task of the chosen ones first."""
        versions = list(self.fields["version"].queryset)  # type: ignore[attr-defined]
        words = [
            _("%(name)s v%(number)s, %(rows)s rows") % {"name": v.dataset.name, "number": v.number, "rows": f"{v.rows:,}"} for v in versions
        ]
        options = list(zip(versions, told_apart(words, versions), strict=True))
        tasks = sorted({v.task for v in versions}, key=lambda slug: (slug != self.task.slug, list(TASKS).index(slug)))
        return [(_(TASKS[slug].title), [option for option in options if option[0].task == slug]) for slug in tasks]

    @property
    def base_groups(self) -> list[tuple[str, list[tuple[ModelVersion, str]]]]:
        """The bases as (kind, [(model, words)]): plain ones apart from those that know a task, and from what was trained here."""
        words = [f"{each.name} ({size(each.parameters)})" for each in self.bases]
        options = list(zip(self.bases, told_apart(words, self.bases), strict=True))
        is_own = ModelVersion.Kind.RUN
        groups = (
            (_("Base models"), [o for o in options if o[0].kind != is_own and not o[0].task]),
            (_("Already trained for a task"), [o for o in options if o[0].kind != is_own and o[0].task]),
            (_("Fine-tuned here"), [o for o in options if o[0].kind == is_own]),
        )
        return [(title, some) for title, some in groups if some]

    @property
    def plain_settings(self) -> list[dict[str, Any]]:
        return self.drawn(is_advanced=False)

    @property
    def advanced_settings(self) -> list[dict[str, Any]]:
        return self.drawn(is_advanced=True)

    @property
    def advised(self) -> list[dict[str, Any]]:
        """What is set otherwise than usual because of these rows, each with its reason."""
        return [one for one in self.drawn(is_advanced=True) + self.drawn(is_advanced=False) if one["reason"]]

    @property
    def has_advanced_errors(self) -> bool:
        return any(one["field"].errors for one in self.advanced_settings)


def told_apart(words: list[str], things: list[Any]) -> list[str]:
    """The words for each thing; where two are the same, with who made it and when."""
    times = Counter(words)

    def made(thing: Any) -> str:
        who = f"{thing.created_by.username}, " if thing.created_by else ""
        return f"{who}{date_format(localtime(thing.created_at), 'j M Y, H:i')}"

    return [f"{said} · {made(thing)}" if times[said] > 1 else said for said, thing in zip(words, things, strict=True)]


def as_written(value: Any) -> Any:
    return value if isinstance(value, bool) else "" if value is None else plain(value) if isinstance(value, float) else str(value)


def title_of(setting: Setting, value: Any) -> str:
    return dict(setting.choices).get(value, plain(value))


def limits(setting: Setting) -> str:
    if setting.least is None or setting.most is None:  # the length of a text is no limit worth a word
        return ""
    return _("%(least)s to %(most)s") % {"least": bound(setting.least), "most": bound(setting.most)}


def bound(value: float) -> str:
    return f"{int(value):,}" if value == int(value) else plain(value)


def versions_for(actor: Actor) -> Any:
    ready = DatasetVersion.objects.visible_to(actor).filter(team_id=actor.team_id, dataset__deleted_at=None, task__in=TASKS)
    return ready.select_related("dataset", "created_by").order_by("-created_at")


def bases_for(actor: Actor, task: str) -> Any:
    """What can learn this task, the suggested one first."""
    return ModelVersion.objects.at_hand(actor).trainable(task).best_first(task).select_related("created_by")
