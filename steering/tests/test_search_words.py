"""A search of too many words is refused before PostgreSQL tries each of them on each row."""

import pytest
from django.contrib.auth import get_user_model
from django.contrib.messages import get_messages
from django.test import Client
from rest_framework.test import APIClient

from profiles.models import Profile
from steering.models import SAE, FeatureLabel

MANY = " ".join(f"w{number}" for number in range(21))
TOLD = "search: got 21 words, expected at most 20"


@pytest.fixture
def client(db: None) -> APIClient:
    sae = SAE.objects.create(id="sae", source="/sae", d_sae=100)
    FeatureLabel.objects.create(sae=sae, index=3, label=MANY, source="s")
    Profile.objects.create(name="all", description=MANY)
    made = APIClient()
    made.force_authenticate(get_user_model().objects.create_superuser("root", password="x"))
    return made


@pytest.mark.parametrize("path", ["/api/profiles", "/api/profiles/export", "/api/saes/sae/labels"])
@pytest.mark.parametrize("separator", [" ", ","])
def test_rest_refuses_it(client: APIClient, path: str, separator: str) -> None:
    if separator == "," and "labels" in path:
        pytest.skip("a comma is a part of a word there")
    refused = client.get(path, {"search": MANY.replace(" ", separator)})
    assert (refused.status_code, refused.json()["detail"], refused.json()["code"]) == (400, TOLD, "too_many_words")
    taken = client.get(path, {"search": MANY.removesuffix(" w20")})
    assert taken.status_code == 200
    assert "w20" in taken.content.decode()


@pytest.mark.parametrize(
    "page",
    [
        "profiles/profile",
        "steering/featurelabel",
        "steering/sae",
        "inference/languagemodel",
        "millm_site/apikey",
        "auth/user",
        "auth/group",
    ],
)
@pytest.mark.parametrize("word", ["w", "feature:"])
def test_the_admin_finds_nothing_and_says_why(client: APIClient, admin_client: Client, page: str, word: str) -> None:
    many = " ".join(f"{word}{number}" for number in range(21))
    answer = admin_client.get(f"/admin/{page}/", {"q": many})
    assert answer.status_code == 200
    assert [str(told) for told in get_messages(answer.wsgi_request)] == [f"The search was not run: {TOLD}."]
    assert answer.context["cl"].result_list is not None
    assert len(answer.context["cl"].result_list) == 0


def test_each_field_orders_once(client: APIClient) -> None:
    refused = client.get("/api/profiles", {"ordering": ",".join(["name"] * 1000)})
    assert refused.json() == {"ordering": ["Got 1000 fields, expected at most 7: each once."]}
    assert client.get("/api/profiles", {"ordering": "name,-layer"}).status_code == 200
