"""Explore's page and what it asks while it is open."""

from typing import Any

import pytest
from django.contrib.auth import get_user_model
from django.contrib.auth.models import Permission
from django.test import Client

from inference.admin.explore import MAX_OFFERED
from inference.models import LanguageModel
from inference.tests.conftest import say
from profiles.current import detach_sae
from profiles.models import Profile
from steering.models import SAE, Feature

PAGE = "/admin/explore/"
NOW = "/admin/explore/now"
MAXIMUM = "/admin/steering/feature/maximum/"


@pytest.fixture
def reader(client: Client, demo: LanguageModel) -> Client:
    """Staff who may view labels, and nothing else."""
    user = get_user_model().objects.create_user("reader", password="x", is_staff=True)
    user.user_permissions.add(Permission.objects.get(codename="view_featurelabel"))
    client.force_login(user)
    return client


def now(client: Client, search: str = "") -> Any:
    return client.get(NOW, {"search": search}).json()


def test_nobody_is_sent_to_the_login(client: Client, db: None) -> None:
    for path in (PAGE, NOW, MAXIMUM):
        assert client.get(path)["Location"].startswith("/admin/login/")


def test_who_may_not_view_labels_gets_neither_the_page_nor_a_link_to_it(client: Client, demo: LanguageModel) -> None:
    client.force_login(get_user_model().objects.create_user("viewer", password="x", is_staff=True))
    for path in (PAGE, NOW, MAXIMUM):
        assert client.get(path).status_code == 403
    assert PAGE not in client.get("/admin/playground/").content.decode()


def test_the_page_opens_for_who_may_view_labels(reader: Client) -> None:
    page = reader.get(PAGE)
    assert page.status_code == 200
    assert page.context["page"]["now"]["sae"] == SAE.objects.get().for_table()
    assert (page.context["page"]["now"]["layer"], page.context["page"]["now"]["layers"]) == (1, 4)
    assert f'href="{PAGE}"' in page.content.decode()
    assert "New profile of these" not in page.content.decode()  # who may not add profiles
    assert "Make a vector of these" not in page.content.decode()  # who may not add SAEs


def test_what_is_missing_is_said_with_the_page_that_helps(reader: Client, demo: LanguageModel, own_redis: Any) -> None:
    assert now(reader)["problem"] == {"told": "No worker has demo ready: it is queued.", "page": "models"}
    say(demo, "ready")
    assert now(reader)["problem"] is None
    detach_sae()
    told = "No SAE is attached, so there are no features to read yet."
    assert now(reader)["problem"] == {"told": told, "page": "saes"}
    assert now(reader)["layer"] == 2  # of a vector: the middle of 4
    demo.unload()
    told = "No model is loaded, so nothing can be read yet."
    assert now(reader)["problem"] == {"told": told, "page": "models"}
    assert reader.get(PAGE).status_code == 200


def test_profiles_that_fit_are_offered_bit_by_bit(reader: Client, django_assert_max_num_queries: Any) -> None:
    sae = SAE.objects.get()
    made_for = {"model_id": "demo", "sae_id": sae.id, "layer": sae.layer, "strengths": {1: 1.0}}
    Profile.objects.bulk_create([Profile(name=f"many {number:06}", **made_for) for number in range(2000)])
    Profile.objects.create(name="foreign ocean", model_id="gpt2")
    Profile.objects.get(name="ocean").activate()
    with django_assert_max_num_queries(9):
        told = now(reader)
    assert (len(told["profiles"]), told["has_more"], told["profiles"][0]) == (MAX_OFFERED, True, "ocean")
    assert now(reader, "OCEAN")["profiles"] == ["ocean"]
    with django_assert_max_num_queries(12):
        assert len(reader.get(PAGE).content) < 100_000


def test_the_known_maximum_of_a_feature_is_null_where_none_is_known(reader: Client) -> None:
    Feature.objects.update_or_create(sae_id="demo-sae", index=3, defaults={"maximum": 12.5})
    Feature.objects.filter(sae_id="demo-sae", index=4).delete()
    assert reader.get(MAXIMUM, {"sae": "demo-sae", "index": "3"}).json() == {"maximum": 12.5}
    for sae, index in (("demo-sae", "4"), ("other", "3"), ("demo-sae", "9999999999")):
        assert reader.get(MAXIMUM, {"sae": sae, "index": index}).json() == {"maximum": None}
    refused = reader.get(MAXIMUM, {"sae": "demo-sae", "index": "x"})
    assert refused.status_code == 400
    assert "expected an integer >= 0" in refused.json()["detail"]
