"""The REST API in a browser: what its root lists, and the form of the filters."""

import pytest
from django.test import Client
from rest_framework.test import APIClient

pytestmark = pytest.mark.django_db


def test_the_root_lists_every_resource(admin_client: Client) -> None:
    listed = admin_client.get("/api/", headers={"Accept": "application/json"}).json()
    assert list(listed) == ["profiles", "steering", "models", "saes", "docs"]
    for url in listed.values():
        assert admin_client.get(url).status_code == 200
    page = admin_client.get("/api/", headers={"Accept": "text/html"}).content.decode()
    assert "miLLM" in page
    assert "Django REST framework" not in page
    assert "DefaultRouter" not in page
    assert APIClient().get("/api/").status_code == 401


def test_the_filters_of_profiles_are_named_and_can_be_left_out(admin_client: Client) -> None:
    page = admin_client.get("/api/profiles", headers={"Accept": "text/html"}).content.decode()
    assert "[invalid name]" not in page
    assert "Feature" in page
    assert '<option value="" selected>any</option>' in page
    assert admin_client.get("/api/profiles?is_active=&feature=").json()["count"] == 0
