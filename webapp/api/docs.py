"""The page that says what the API can do, drawn by our own templates from the same description that machines read."""

from typing import Any

from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from ninja import NinjaAPI
from ninja.openapi.docs import DocsBase

from webapp.api.examples import EXAMPLES

MEANINGS = {  # of fields in addresses and queries, which are called the same everywhere
    "pk": "The id of the thing.",
    "after": "The cursor `next` of the answer before; left out, from the beginning.",
    "limit": "At most so many items in the answer.",
    "state": "Only those in this state.",
    "task": "Only those of this task (its slug).",
    "trainable": "true: only models that a run can start from.",
    "step": "The checkpoint's step.",
    "position": "The row's place in the version, from 0: the `id` of a row in the list.",
    "q": "Only rows in which this text stands, in any case.",
    "label": "Only rows with this label.",
    "split": "Only rows of this split: train, validation or test.",
    "show": "conflicts: rows with the same text and different labels; duplicates: rows that repeat another.",
    "download": "true: as a text file.",
    "Idempotency-Key": "Any text of up to 200 characters. Sent again with the same request, it gives the same run instead of a second one.",
}


class Docs(DocsBase):
    def render_page(self, request: HttpRequest, api: NinjaAPI, **kwargs: Any) -> HttpResponse:
        schema = api.get_openapi_schema(path_params=kwargs)
        groups: dict[str, list[dict[str, Any]]] = {}
        for address, verbs in schema["paths"].items():
            for verb, operation in verbs.items():
                groups.setdefault(operation["tags"][0], []).append(described(address, verb, operation, schema))
        return render(request, "api/docs.html", {"groups": groups, "server": f"{request.scheme}://{request.get_host()}"})


def described(address: str, verb: str, operation: dict[str, Any], schema: dict[str, Any]) -> dict[str, Any]:
    fields = [
        {
            "name": each["name"],
            "place": each["in"],
            "kind": kind(each["schema"]),
            "must": each.get("required", False),
            "about": each.get("description") or MEANINGS.get(each["name"], ""),
        }
        for each in operation.get("parameters", [])
    ]
    seen = {each["name"] for each in fields}
    for form, content in operation.get("requestBody", {}).get("content", {}).items():
        body = content["schema"]
        if "$ref" in body:
            body = schema["components"]["schemas"][body["$ref"].rpartition("/")[2]]
        place = "form" if "form" in form else "body"
        must = body.get("required", [])
        fields += [
            {"name": name, "place": place, "kind": kind(each), "must": name in must, "about": each.get("description", "")}
            for name, each in body.get("properties", {}).items()
            if name not in seen  # a form and a body may carry the same
        ]
        seen |= {each["name"] for each in fields}
    return {
        "address": address,
        "verb": verb.upper(),
        "summary": operation.get("summary", ""),
        "about": operation.get("description", ""),
        "fields": fields,
        **EXAMPLES.get(f"{verb.upper()} {address}", {}),
    }


def kind(schema: dict[str, Any]) -> str:
    """A type in a word or two: string, integer, list of string ..."""
    if "anyOf" in schema:
        return " or ".join(dict.fromkeys(kind(each) for each in schema["anyOf"] if each.get("type") != "null"))
    if schema.get("type") == "array":
        return f"list of {kind(schema.get('items', {}))}"
    return str(schema.get("format") or schema.get("type") or "object")
