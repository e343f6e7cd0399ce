"""The list: pages, filters, search, order; and how many queries it takes."""

import pytest
from rest_framework.test import APIClient

from profiles.models import Profile
from steering.models import SAE

URL = "/api/profiles"


@pytest.fixture
def profiles(sae: SAE) -> list[Profile]:
    ocean = Profile.objects.create_from(name="Ocean", description="waves 100%", strengths={3: 1.0, 7: 2.0})
    space = Profile.objects.create_from(name="space", description="stars", strengths={7: 1.0}, layer=1)
    other = Profile.objects.create_from(name="wave", sae_id="other", model_id="gpt2", strengths={70: 1.0})
    space.layer = sae.layer
    space.save()
    ocean.activate()
    return [ocean, space, other]


@pytest.mark.parametrize(
    ("query", "names"),
    [
        ("", ["Ocean", "space", "wave"]),
        ("is_active=true", ["Ocean"]),
        ("is_active=false", ["space", "wave"]),
        ("model_id=gpt2", ["wave"]),
        ("sae_id=tiny-sae", ["Ocean", "space"]),
        ("layer=2", ["Ocean", "space"]),
        ("layer=5", []),
        ("feature=7", ["Ocean", "space"]),
        ("feature=70", ["wave"]),
        ("feature=0", []),
        ("search=WAVE", ["Ocean", "wave"]),
        ("search=%25", ["Ocean"]),
        ("search=wave&sae_id=other", ["wave"]),
        ("ordering=-name", ["wave", "space", "Ocean"]),
        ("ordering=layer,-name", ["space", "Ocean", "wave"]),
    ],
)
def test_it_is_filtered_searched_and_ordered(
    client: APIClient, profiles: list[Profile], query: str, names: list[str]
) -> None:
    page = client.get(f"{URL}?{query}").json()
    assert [profile["name"] for profile in page["results"]] == names
    assert page["count"] == len(names)
    assert page["active_profile_id"] == profiles[0].pk


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ("feature=-1", "feature"),
        ("feature=a", "feature"),
        ("feature=99999999999999999999", "feature"),
        ("layer=1.5", "layer"),
        ("is_active=maybe", "is_active"),
        ("model=gpt2", "model"),
        ("ordering=strength", "ordering"),
        ("page_size=0", "page_size"),
        ("page_size=many", "page_size"),
    ],
)
def test_a_parameter_that_cannot_be_read_is_refused_by_name(
    client: APIClient, profile: Profile, query: str, field: str
) -> None:
    answer = client.get(f"{URL}?{query}")
    assert answer.status_code == 400
    assert field in answer.json()


def test_a_page_that_is_not_there_is_not_found(client: APIClient, profile: Profile) -> None:
    assert client.get(f"{URL}?page=2").status_code == 404


def test_equal_rows_keep_their_order_from_page_to_page(client: APIClient, sae: SAE) -> None:
    for i in range(9):
        Profile.objects.create_from(name=f"p{i}", strengths={})
    pages = [client.get(f"{URL}?ordering=layer&page_size=3&page={page}").json()["results"] for page in (1, 2, 3)]
    assert len({profile["id"] for page in pages for profile in page}) == 9


def test_a_page_of_the_list_takes_four_queries(
    client: APIClient, profiles: list[Profile], django_assert_num_queries: object
) -> None:
    for query in ("", "feature=7", "search=wave", "ordering=-updated_at"):
        with django_assert_num_queries(4):  # type: ignore[operator]  # count, page, labels, active profile
            client.get(f"{URL}?{query}")


def test_the_filter_by_feature_can_use_its_index(profiles: list[Profile]) -> None:
    from django.db import connection

    with connection.cursor() as cursor:
        cursor.execute("SET LOCAL enable_seqscan = off")
        plan = Profile.objects.filter(strengths__has_key="7").order_by().explain()
    assert "profile_features" in plan


def test_an_activation_takes_a_bounded_number_of_queries(
    profiles: list[Profile], django_assert_max_num_queries: object
) -> None:
    with django_assert_max_num_queries(20):  # type: ignore[operator]
        profiles[1].activate()
