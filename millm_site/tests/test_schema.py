"""The OpenAPI schema is true: whatever schemathesis sends, no 5xx and no answer that is not in it."""

import os
from collections.abc import Iterator
from typing import Any

import pytest
import schemathesis
from django.contrib.auth import get_user_model
from django.core.signals import request_finished, request_started
from django.core.wsgi import get_wsgi_application
from django.db import close_old_connections
from django.test import Client
from hypothesis import HealthCheck, settings
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from inference.models import LanguageModel, Sweep
from inference.setups.models import Setup
from inference.sweeps.plan import Plan
from inference.sweeps.subject import Subject
from millm_site.models import APIKey
from profiles.models import Profile
from steering.models import SAE

CHECKS = [not_a_server_error, status_code_conformance, content_type_conformance, response_schema_conformance]
schema = schemathesis.openapi.from_wsgi("/api/schema?format=json", get_wsgi_application())


@pytest.fixture
def one_connection(db: None) -> Iterator[None]:
    """As Django's test client does: the end of a request leaves the test's transaction open."""
    for signal in (request_started, request_finished):
        signal.disconnect(close_old_connections)
    yield
    for signal in (request_started, request_finished):
        signal.connect(close_old_connections)


@pytest.fixture
def key(one_connection: None, settings: Any) -> str:
    """Something to find and to steer, and the key of one who may do everything; the hub is not asked."""
    settings.HF_HUB_OFFLINE = True
    model = LanguageModel.objects.create(name="tiny", source="/t", d_model=16, num_layers=4, context_length=512)
    LanguageModel.objects.create(name="first", source="/f", d_model=16, num_layers=4, context_length=512).make_current()
    model.make_current()
    sae = SAE.objects.create(
        id="s", source="/s", status="ready", d_in=16, d_sae=100, layer=2, hook_name="blocks.2.hook_resid_post"
    )
    model.attach(sae)
    Profile.objects.create_from(id="prof_1", name="ocean", strengths={3: 4.0}).activate()
    Sweep.objects.start(Subject.of_profile("ocean"), Plan(values=[1.0], prompts=["Tell me something."], words=["The"]))
    owner = get_user_model().objects.create_superuser("root", password="x")
    return str(APIKey.objects.create(owner, name="test")[1])


@schema.parametrize()
@settings(
    max_examples=int(os.environ.get("SCHEMATHESIS_EXAMPLES", "15")),
    derandomize=True,
    deadline=None,
    database=None,
    suppress_health_check=list(HealthCheck),
)
def test_it_holds_for_whatever_is_sent(case: Any, key: str) -> None:
    if "id" in case.path_parameters and len(str(case.path_parameters["id"])) % 2:
        # One that is there, else only 404s are seen.
        kind = case.path.split("/")[2]
        setup, sweep = Setup.objects.first(), Sweep.objects.first()
        ids = {
            "saes": "s",
            "models": str(LanguageModel.objects.get(name="tiny").pk),
            "setups": str(setup.pk if setup else 1),
            "sweeps": sweep.pk if sweep else 1,
        }
        case.path_parameters["id"] = ids.get(kind, "prof_1")
    answer = case.call(headers={"Authorization": f"Bearer {key}"})
    # No hub and no worker is here.
    is_away = answer.status_code == 503 and answer.json().get("code") in {"hub_unreachable", "no_worker"}
    case.validate_response(answer, checks=CHECKS[1:] if is_away else CHECKS)


def test_the_page_of_swagger_asks_no_other_host(client: Client) -> None:
    page = client.get("/api/docs").content.decode()
    assert "swagger-ui" in page
    assert "https://" not in page.replace("https://github.com", "")


def test_it_says_how_a_key_is_sent_and_that_an_index_may_be_given_several_times(client: Client) -> None:
    told = client.get("/api/schema?format=json").json()
    assert told["components"]["securitySchemes"]["apiKey"] == {"type": "http", "scheme": "bearer"}
    operations = [operation for path in told["paths"].values() for operation in path.values()]
    assert all({"apiKey": []} in operation["security"] for operation in operations)
    parameters = {one["name"]: one for one in told["paths"]["/api/saes/{id}/labels"]["get"]["parameters"]}
    assert parameters["index"]["schema"]["type"] == "array"
    assert parameters["index"].get("explode", True), "index=1&index=2"


def test_an_unknown_path_is_json(client: Client) -> None:
    answer = client.get("/api/nothing")
    assert (answer.status_code, answer.json()["code"]) == (404, "not_found")
