"""The description of the REST API for people: a summary of each call, and an example of each body and answer."""

from collections.abc import Iterator
from typing import Any

import jsonschema
from django.test import Client


def operations(client: Client) -> Iterator[tuple[str, Any]]:
    paths = client.get("/api/schema?format=json").json()["paths"]
    return ((f"{method} {path}", one) for path, methods in paths.items() for method, one in methods.items())


def test_every_call_has_a_short_summary(client: Client) -> None:
    summaries = {name: one.get("summary", "") for name, one in operations(client)}
    assert {name: told for name, told in summaries.items() if not 0 < len(told) <= 90 or told.endswith(".")} == {}
    assert summaries["post /api/profiles/{id}/activate"] == "Activate the profile"


def test_every_body_and_answer_has_an_example_that_is_true_to_its_schema(client: Client) -> None:
    components = client.get("/api/schema?format=json").json()["components"]
    missing: list[str] = []
    wrong: list[str] = []
    for name, one in operations(client):
        answers = {status: answer for status, answer in one["responses"].items() if status.startswith("2")}
        bodies = {"body": one.get("requestBody", {}), **answers}
        for part, body in bodies.items():
            if (found := body.get("content", {}).get("application/json")) is None:
                continue
            examples = [example["value"] for example in found.get("examples", {}).values()]
            if "example" in found["schema"]:
                examples.append(found["schema"]["example"])
            missing += [] if examples else [f"{name} {part}"]
            checked = jsonschema.Draft202012Validator({**found["schema"], "components": components})
            wrong += [f"{name} {part}: {error.message}" for value in examples for error in checked.iter_errors(value)]
    assert not missing, "\n".join(missing)
    assert not wrong, "\n".join(wrong)
