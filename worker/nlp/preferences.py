"""Preference pairs: a better and a worse answer. A dataset may hold them; to tune on them comes later, so this is no task of a run."""

from __future__ import annotations

from typing import Any

from worker.nlp import Task, chats
from worker.nlp.rows import text_problems
from worker.spec import Role
from worker.spec import gettext_noop as _


class Preferences(Task):
    slug = "preferences"
    aliases = ("preference", "preference_pairs", "dpo", "ranking")
    title = _("Preference pairs")
    about = _("Kept with its better and its worse answers. Tuning on them comes later.")
    roles: tuple[Role, ...] = (
        Role(
            "prompt",
            _("Prompt"),
            required=False,
            takes_records=True,
            hints=("prompt", "instruction", "question", "input", "query", "conversations", "messages"),
            is_key=True,
            follows=("input", "context"),
        ),
        Role(
            "chosen",
            _("Better answer"),
            takes_records=True,
            hints=("chosen", "chosen_response", "response_chosen", "preferred", "chosen.value", "chosen.content"),
        ),
        Role(
            "rejected",
            _("Worse answer"),
            takes_records=True,
            hints=("rejected", "rejected_response", "response_rejected", "dispreferred", "rejected.value", "rejected.content"),
        ),
        Role("system", _("System prompt"), required=False, hints=("system", "system_prompt", "system_message")),
    )
    inputs = ()
    settings = ()
    methods = ()
    shapes = ()
    metrics = ()
    primary_metric = ""

    def problems(self, row: dict[str, Any]) -> list[tuple[str, str]]:
        found = text_problems(row, ("chosen", _("The better answer is empty.")), ("rejected", _("The worse answer is empty.")))
        for role in ("prompt", "chosen", "rejected"):
            try:
                chats.messages_of(str(row.get(role) or ""), is_answer=True)
            except chats.Unclear as error:
                found.append((role, str(error)))
        if not found and str(row["chosen"]).strip() == str(row["rejected"]).strip():
            found.append(("rejected", _("Both answers are the same.")))
        return found

    def kept(self, row: dict[str, Any]) -> dict[str, Any]:
        asked = {"prompt": row.get("prompt")}
        answers = {role: chats.kept({**asked, "completion": row[role]})["completion"] for role in ("chosen", "rejected")}
        return {**row, **({"prompt": chats.kept(asked)["prompt"]} if "prompt" in row else {}), **answers}
