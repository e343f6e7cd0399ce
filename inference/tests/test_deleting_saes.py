"""An SAE is deleted with its labels, which needs the permission to delete labels too."""

from typing import Any

import pytest
from django.contrib.auth import get_user_model
from django.contrib.auth.models import Permission
from django.test import Client
from rest_framework.test import APIClient

from steering.models import SAE, Feature, FeatureLabel

ADMIN = "/admin/steering/sae/"


@pytest.fixture
def sae(db: None) -> SAE:
    made = SAE.objects.create(id="s", source="/sae", d_sae=100)
    FeatureLabel.objects.create(sae=made, index=3, label="whales", source="n")
    return made


def user(*permissions: str) -> Any:
    made = get_user_model().objects.create_user("u", is_staff=True)
    made.user_permissions.set(Permission.objects.filter(codename__in=permissions))
    return made


def clients(*permissions: str) -> tuple[APIClient, Client]:
    owner, api, admin = user(*permissions), APIClient(), Client()
    api.force_authenticate(owner)
    admin.force_login(owner)
    return api, admin


def test_without_it_labels_stay(sae: SAE) -> None:
    api, admin = clients("view_sae", "delete_sae")
    refused = api.delete("/api/saes/s")
    assert (refused.status_code, "delete_featurelabel" in refused.json()["detail"]) == (403, True)
    for page, form in (
        (f"{ADMIN}s/delete/", {"post": "yes"}),
        (ADMIN, {"action": "delete_selected", "_selected_action": ["s"], "post": "yes"}),
    ):
        assert "SAE s has labels" in admin.post(page, form).content.decode()
    assert FeatureLabel.objects.count() == 1


def test_one_without_labels_goes(sae: SAE) -> None:
    api, admin = clients("view_sae", "delete_sae")
    FeatureLabel.objects.all().delete()
    assert api.delete("/api/saes/s").status_code == 204
    SAE.objects.create(id="t", source="/sae")
    assert admin.post(f"{ADMIN}t/delete/", {"post": "yes"}).status_code == 302
    assert not SAE.objects.exists()


def test_with_it_labels_go(sae: SAE) -> None:
    api, _ = clients("view_sae", "delete_sae", "delete_featurelabel")
    assert api.delete("/api/saes/s").status_code == 204
    assert not FeatureLabel.objects.exists()


def test_the_confirmation_names_labels_and_statistics(sae: SAE) -> None:
    _, admin = clients("view_sae", "delete_sae", "delete_featurelabel")
    Feature.objects.create(sae=sae, index=3)
    asked = admin.get(f"{ADMIN}s/delete/").content.decode()
    assert "SAE s, with its 1 labels, with statistics and examples of 1 features" in asked
    admin.post(f"{ADMIN}s/delete/", {"post": "yes"})
    assert not Feature.objects.exists()
