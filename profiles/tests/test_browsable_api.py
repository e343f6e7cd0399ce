"""The REST API in a browser: what its root lists, and the form of the filters."""

import pytest
from django.test import Client
from rest_framework.test import APIClient

pytestmark = pytest.mark.django_db


def test_the_root_lists_every_resource(admin_client: Client) -> None:
    listed = admin_client.get("/api/", headers={"Accept": "application/json"}).json()
    resources = {"profiles", "steering", "models", "saes", "sweeps"}
    posted = {"vectors", "activations", "features/contrast"}
    assert {*listed} == {*resources, *posted, "saes/catalogue", "setups", "schema", "docs"}
    for name, url in listed.items():
        expected = 405 if name in posted else 400 if name == "saes/catalogue" else 200
        assert admin_client.get(url).status_code == expected, name
    page = admin_client.get("/api/", headers={"Accept": "text/html"}).content.decode()
    assert "miLLM" in page
    assert "Django REST framework" not in page
    assert "DefaultRouter" not in page
    assert APIClient().get("/api/").status_code == 401


def test_the_list_of_sweeps_is_a_page_too(admin_client: Client) -> None:
    answer = admin_client.get("/api/sweeps", headers={"Accept": "text/html"})
    assert (answer.status_code, "miLLM" in answer.content.decode()) == (200, True)


def test_the_filters_of_profiles_are_named_and_can_be_left_out(admin_client: Client) -> None:
    page = admin_client.get("/api/profiles", headers={"Accept": "text/html"}).content.decode()
    assert "[invalid name]" not in page
    assert "Feature" in page
    assert '<option value="" selected>any</option>' in page
    assert admin_client.get("/api/profiles?is_active=&feature=").json()["count"] == 0
