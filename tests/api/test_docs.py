"""The documentation says what every field means, and its examples are what the operations answer."""

import json

import pytest

from tests.datasets.cast import dropped, labour, reviews, version_of
from tests.runs import made
from webapp.api.docs import described
from webapp.api.examples import EXAMPLES

pytestmark = pytest.mark.django_db


@pytest.fixture
def schema(signed_in, alice):
    return signed_in(alice).get("/api/v1/openapi.json").json()


def test_every_field_of_every_operation_has_a_meaning(schema):
    missing = [
        f"{verb} {address}: {field['name']}"
        for address, verbs in schema["paths"].items()
        for verb, operation in verbs.items()
        for field in described(address, verb, operation, schema)["fields"]
        if not field["about"]
    ]
    assert missing == []


def test_every_example_belongs_to_an_operation_and_is_drawn(signed_in, alice, schema):
    known = {f"{verb.upper()} {address}" for address, verbs in schema["paths"].items() for verb in verbs}
    assert EXAMPLES.keys() <= known
    page = signed_in(alice).get("/api/v1/docs").content.decode()
    assert page.count("Authorization: Bearer $TOKEN") >= len(EXAMPLES) and "needs_mapping" in page


def told(operation):
    return json.loads(EXAMPLES[operation]["answer"])


def test_the_examples_have_the_fields_of_real_answers(signed_in, alice, team):
    client = signed_in(alice)
    assert told("GET /api/v1/me").keys() == client.get("/api/v1/me").json().keys()
    dataset = dropped(alice, reviews())
    labour()
    real = client.get(f"/api/v1/datasets/{dataset.pk}").json()
    for operation in ("POST /api/v1/datasets", "GET /api/v1/datasets/{pk}", "POST /api/v1/datasets/{pk}/versions"):
        assert told(operation).keys() == real.keys()
    assert told("POST /api/v1/datasets/{pk}/versions")["versions"][0].keys() == real["versions"][0].keys()
    run = made.run(team, alice, version=version_of(alice))
    shown = client.get(f"/api/v1/runs/{run.pk}").json()
    assert told("POST /api/v1/runs").keys() == shown.keys() - {"evaluation"}
    assert told("GET /api/v1/runs/{pk}/points").keys() == client.get(f"/api/v1/runs/{run.pk}/points").json().keys()
