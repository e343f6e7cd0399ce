"""The heading and the title of each page of the admin: the words of the menu, and the names of rows as they are."""

import re

import pytest
from django.test import Client

from inference.sweeps.models import Sweep
from millm_site.tests.test_dashboard import words
from profiles.models import Profile
from profiles.tests.conftest import model, profile, sae

__all__ = ["model", "profile", "sae"]  # fixtures
SWEEP = Sweep(
    id=1,
    profile="ocean",
    document={},
    steerings=[None],
    values=[0.0],
    prompts=["Hello."],
    seeds=[1],
    words=[],
    chat=True,
    max_tokens=8,
    sampling={"temperature": 1.0, "top_p": 1.0},
    total=1,
)
pytestmark = pytest.mark.usefixtures("own_redis")


def heading(html: str) -> str:
    [found] = re.findall(r"<h1\b.*?</h1>", html, flags=re.DOTALL)
    return " > ".join(words(found).replace("→", "").split(" chevron_right "))


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("/admin/", "Dashboard"),
        ("/admin/playground/", "Playground"),
        ("/admin/profiles/profile/", "Profiles"),
        ("/admin/profiles/profile/add/", "Profiles > New profile"),
        ("/admin/profiles/profile/prof_1/change/", "Profiles > ocean"),
        ("/admin/profiles/profile/prof_1/history/", "Profiles > ocean > History"),
        ("/admin/profiles/profile/prof_1/delete/", "Profiles > ocean > Delete"),
        ("/admin/profiles/profile/deleted/", "Profiles > Deleted profiles"),
        ("/admin/profiles/profile/import/", "Profiles > Import profiles"),
        ("/admin/profiles/profile/blend/", "Profiles > Blend profiles"),
        ("/admin/profiles/profile/compare/", "Profiles > Compare profiles"),
        ("/admin/steering/steeringstate/", "Live steering"),
        ("/admin/steering/steeringstate/1/history/", "Live steering > History"),
        ("/admin/inference/languagemodel/", "Models"),
        ("/admin/inference/languagemodel/add/", "Models > New model"),
        ("/admin/steering/sae/", "SAEs"),
        ("/admin/steering/sae/tiny-sae/change/", "SAEs > tiny-sae"),
        ("/admin/inference/sweep/", "Sweeps"),
        ("/admin/inference/sweep/add/", "Sweeps > New sweep"),
        ("/admin/inference/sweep/1/change/", "Sweeps > Sweep 1: intensity of ocean"),
        ("/admin/inference/sweep/1/delete/", "Sweeps > sweep 1 > Delete"),
        ("/admin/steering/featurelabel/import/", "Feature labels > Import labels"),
        ("/admin/millm_site/apikey/", "API keys"),
        ("/admin/nothing/", "There is no such page"),
    ],
)
def test_a_heading_has_one_level_for_each_page_above(
    admin_client: Client, profile: Profile, path: str, expected: str
) -> None:
    Profile.objects.filter(pk=profile.pk).update(id="prof_1")
    Profile.history.filter(id=profile.pk).update(id="prof_1")
    SWEEP.save(force_insert=True)
    html = admin_client.get(path).content.decode()
    assert heading(html) == expected
    [title] = re.findall(r"<title>(.*?)</title>", html, flags=re.DOTALL)
    assert words(title) == f"{expected.split(' > ')[-1]} | miLLM"


def test_an_empty_list_says_so(admin_client: Client) -> None:
    assert "No models yet." in words(admin_client.get("/admin/inference/languagemodel/").content.decode())
    assert "Nothing matches." in words(admin_client.get("/admin/inference/languagemodel/?q=x").content.decode())


def test_the_end_of_a_session_is_said_in_plain_words(admin_client: Client) -> None:
    shown = words(admin_client.post("/admin/logout/").content.decode())
    assert "You are logged out. Log in again" in shown
    assert "quality time" not in shown
