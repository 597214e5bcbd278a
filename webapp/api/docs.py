"""The page that says what the API can do, drawn by our own templates from the same description that machines read."""

from typing import Any

from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from ninja import NinjaAPI
from ninja.openapi.docs import DocsBase


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
            "about": each.get("description", ""),
        }
        for each in operation.get("parameters", [])
    ]
    for form, content in operation.get("requestBody", {}).get("content", {}).items():
        body = content["schema"]
        if "$ref" in body:
            body = schema["components"]["schemas"][body["$ref"].rpartition("/")[2]]
        place = "form" if "form" in form else "body"
        must = body.get("required", [])
        fields += [
            {"name": name, "place": place, "kind": kind(each), "must": name in must, "about": each.get("description", "")}
            for name, each in body.get("properties", {}).items()
        ]
    return {
        "address": address,
        "verb": verb.upper(),
        "summary": operation.get("summary", ""),
        "about": operation.get("description", ""),
        "fields": fields,
    }


def kind(schema: dict[str, Any]) -> str:
    """A type in a word or two: string, integer, list of string ..."""
    if "anyOf" in schema:
        return " or ".join(dict.fromkeys(kind(each) for each in schema["anyOf"] if each.get("type") != "null"))
    if schema.get("type") == "array":
        return f"list of {kind(schema.get('items', {}))}"
    return str(schema.get("format") or schema.get("type") or "object")
