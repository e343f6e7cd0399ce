"""The OpenAPI description of /v1 is true: whatever schemathesis sends to the real server, no 5xx."""

from typing import Any

import httpx
import schemathesis
from hypothesis import HealthCheck, settings
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from inference.openai.schema import document
from inference.tests.conftest import Server

CHECKS: list[Any] = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_schema_conformance,
]
schema = schemathesis.openapi.from_dict(document())


@schema.parametrize()
@settings(
    max_examples=60,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow, HealthCheck.filter_too_much],
)
def test_whatever_is_sent_is_answered_as_described(case: Any, server: Server, api_key: str) -> None:
    if isinstance(case.body, dict):
        # Random ids end at 404: these go all the way to the worker.
        case.body["model"] = "demo"
        if case.path == "/v1/responses":
            case.body["max_output_tokens"] = 3
        elif "max_tokens" in case.body or "stream" in case.body:
            case.body["max_tokens"] = 3
    case.call_and_validate(
        base_url=server.url, headers={"Authorization": f"Bearer {api_key}"}, timeout=60, checks=CHECKS
    )


def test_the_description_is_served_to_everybody(server: Server) -> None:
    assert set(httpx.get(f"{server.url}/v1/openapi.json").json()["paths"]) == set(document()["paths"])
