"""What can be trained: the tasks, as their own modules describe themselves."""

from dataclasses import asdict
from typing import Any

from django.http import HttpRequest
from ninja import Router

from worker.nlp import TASKS, Task

router = Router()


@router.get("/tasks", summary="What can be trained")
def tasks(request: HttpRequest) -> dict[str, Any]:
    return {"items": [described(task) for task in TASKS.values()], "next": None}


def described(task: Task) -> dict[str, Any]:
    return {
        "slug": task.slug,
        "title": task.title,
        "about": task.about,
        "roles": [asdict(role) for role in task.roles],
        "inputs": [asdict(field) for field in task.inputs],
        "settings": [asdict(setting) for setting in task.settings],
        "methods": [{"slug": m.method, "title": m.title, "about": m.about, "base_models": m.shapes or task.shapes} for m in task.methods],
        "base_models": task.shapes,
        "parameters": [asdict(parameter) for parameter in task.parameters],
        "streams": task.streams,
        "primary_metric": task.primary_metric,
        "metrics": [{"slug": m.name, **m._asdict()} for m in task.metrics],
    }
