"""A link opens the form of a new profile with features that the page of another app found."""

import json
from typing import Any

import pytest
from django.contrib.auth import get_user_model
from django.contrib.auth.models import Permission
from django.contrib.messages import get_messages
from django.test import Client

from profiles.models import Profile
from steering.models import SAE, SteeringState

ADD = "/admin/profiles/profile/add/"


def initial(client: Client, **query: str) -> dict[str, Any]:
    """The initial values of the form that a link opens."""
    answer: Any = client.get(ADD, query)
    assert answer.status_code == 200
    return dict(answer.context["adminform"].form.initial)


def test_the_form_starts_with_the_features_of_the_link(admin_client: Client, sae: SAE) -> None:
    SteeringState.objects.load().replace({9: 1.0})
    found = initial(admin_client, steering='{"3": 4.5, "7": -1, "8": 0}', sae_id=sae.pk)
    assert found["strengths"] == {3: 4.5, 7: -1.0}
    assert (found["model_id"], found["sae_id"], found["layer"]) == ("tiny", "tiny-sae", 2)
    assert found["sae_fingerprint"] == sae.fingerprint
    assert not Profile.objects.exists()


def test_a_new_profile_begins_empty_or_with_the_live_steering_and_the_form_says_which(
    admin_client: Client, sae: SAE
) -> None:
    assert initial(admin_client)["strengths"] == {}
    live = f"{ADD}?from=live"
    assert live not in admin_client.get(ADD).content.decode(), "nothing is set"
    SteeringState.objects.load().replace({9: 1.0})
    found = initial(admin_client)
    assert (found["strengths"], found["model_id"], found["sae_id"]) == ({}, "tiny", sae.pk)
    empty = admin_client.get(ADD).content.decode()
    assert "The profile begins without features." in empty
    assert f'href="{live}"' in empty
    assert initial(admin_client, **{"from": "live"})["strengths"] == {9: 1.0}
    taken = admin_client.get(live).content.decode()
    assert "The features and settings below are those of the live steering." in taken
    assert f'href="{ADD}"' in taken


def test_features_of_another_sae_get_its_layer_and_its_fingerprint(admin_client: Client, sae: SAE) -> None:
    other = {"source": "/other", "d_in": 16, "d_sae": 50, "layer": 3, "hook_name": "blocks.3.hook_resid_post"}
    SAE.objects.create(id="other", status="ready", fingerprint="b" * 64, **other)
    found = initial(admin_client, steering='{"3": 4.5}', sae_id="other")
    assert (found["sae_id"], found["layer"], found["sae_fingerprint"]) == ("other", 3, "b" * 64)
    found = initial(admin_client, steering='{"3": 4.5}', sae_id="gone")
    assert (found["sae_id"], found["layer"], found["sae_fingerprint"]) == ("gone", None, "")


@pytest.mark.parametrize(
    ("steering", "told"),
    [
        ("{", "character 2: expected a key in double quotes"),
        ("[]", "got a list, expected an object"),
        ('{"x": 1}', "got index &#x27;x&#x27;, expected an integer"),
        ('{"3": "a"}', "got &#x27;a&#x27;, expected a finite number"),
        ('{"3": 1, "3": 2}', "given twice"),
        ('{"3": NaN}', "NaN"),
        ('{"3": 1e9}', "expected a finite number from -1000 to 1000"),
        (json.dumps(dict.fromkeys(map(str, range(5000)), 1)), "got 5000 features, expected at most 4096"),
    ],
)
def test_features_that_no_profile_can_have_are_left_out_with_a_message(
    admin_client: Client, sae: SAE, steering: str, told: str
) -> None:
    answer: Any = admin_client.get(ADD, {"steering": steering})
    assert answer.context["adminform"].form.initial["strengths"] == {}
    assert "The features of the link are left out" in str([*get_messages(answer.wsgi_request)])
    assert told in answer.content.decode()


def test_a_feature_that_the_sae_does_not_have_is_refused_when_the_form_is_saved(admin_client: Client, sae: SAE) -> None:
    found = initial(admin_client, steering='{"100": 1.0}')
    form = {
        "name": "n",
        "model_id": "tiny",
        "sae_id": "tiny-sae",
        "layer": "2",
        "description": "",
        "sae_fingerprint": "",
    }
    answer = admin_client.post(ADD, {**form, "steering": json.dumps(found["strengths"])})
    assert "feature 100 is out of range" in answer.content.decode()
    assert not Profile.objects.exists()


def test_who_may_not_view_labels_is_offered_no_search_of_features(sae: SAE) -> None:
    user = get_user_model().objects.create_user("maker", is_staff=True)
    browser = Client()
    browser.force_login(user)
    user.user_permissions.set(Permission.objects.filter(codename__in=["add_profile", "view_profile"]))
    assert "Find features" not in browser.get(ADD).content.decode()
    user.user_permissions.add(Permission.objects.get(codename="view_featurelabel"))
    assert "Find features" in browser.get(ADD).content.decode()
