"""The order by the strongest feature, the largest absolute strength, in REST and in the list of the admin."""

from typing import Any

import pytest
from django.db import connection
from django.test import Client
from rest_framework.test import APIClient

from profiles.models import Profile
from steering.models import SAE

LARGE = 9.0
STRENGTHS: dict[str, Any] = {
    "weak": {3: 1.0},
    "none": {},
    "negative": {3: 1.0, 7: -8.0},
    "clamped": {3: {"mode": "clamp", "value": LARGE}},
    "projected": {3: {"mode": "project"}, 5: 0.5},
    "ablated": {3: {"mode": "ablate"}, 5: 0.25},
}
ORDER = ["none", "ablated", "projected", "weak", "negative", "clamped"]


@pytest.fixture
def profiles(sae: SAE) -> None:
    for name, strengths in STRENGTHS.items():
        Profile.objects.create_from(name=name, strengths=strengths)


def without_ties(names: list[str]) -> list[str]:
    return [name for name in names if name != "projected"]  # as strong as "weak"


@pytest.mark.parametrize(("ordering", "order"), [("strongest", ORDER), ("-strongest", ORDER[::-1])])
def test_profiles_are_ordered_by_their_strongest_feature(
    client: APIClient, profiles: None, ordering: str, order: list[str]
) -> None:
    page = client.get(f"/api/profiles?ordering={ordering}").json()["results"]
    assert without_ties([profile["name"] for profile in page]) == without_ties(order)


def test_the_column_of_features_sorts_the_list_of_the_admin(admin_client: Client, profiles: None) -> None:
    column = 3
    for sign, order in (("", ORDER), ("-", ORDER[::-1])):
        sorted_page: Any = admin_client.get(f"/admin/profiles/profile/?o={sign}{column}")
        names = [row.name for row in sorted_page.context["cl"].result_list]
        assert without_ties(names) == without_ties(order)


def test_the_strongest_profiles_of_many_are_read_from_an_index(profiles: None) -> None:
    with connection.cursor() as cursor:
        cursor.execute("SET LOCAL enable_seqscan = off")
        for order in ("strongest", "-strongest"):
            plan = Profile.objects.order_by(order, "-pk")[:25].explain()
            assert "profile_strongest" in plan


def test_strengths_as_far_as_a_double_goes_are_ordered(sae: SAE) -> None:
    Profile.objects.create(name="raw", strengths={0: 1e-300})
    assert Profile.objects.get().strongest == 1e-300
