"""The list of profiles in the admin."""

import json
from typing import Any

import pytest
from django.contrib.admin.utils import quote
from django.contrib.auth.models import Permission
from django.http import HttpResponse
from django.test import Client

from profiles.models import Profile
from steering.models import SAE, FeatureLabel, SteeringState

LIST = "/admin/profiles/profile/"
FEATURES = {1: 1.0, 2: -8.0, 3: 2.5, 4: 4.0, 5: 0.5, 6: 6.0}


@pytest.fixture
def ocean(sae: SAE) -> Profile:
    return Profile.objects.create_from(name="ocean", description="Talks about the sea.", strengths=FEATURES)


@pytest.fixture
def foreign(sae: SAE) -> Profile:
    return Profile.objects.create(name="foreign", model_id="gpt2", sae_id="other", layer=7, strengths={6: 1.0})


def page(client: Client, query: str = "") -> str:
    answer = client.get(f"{LIST}?{query}")
    assert answer.status_code == 200, answer.headers
    return answer.content.decode()


def names(client: Client, query: str) -> list[str]:
    answer: Any = client.get(f"{LIST}?{query}")
    assert answer.status_code == 200, answer.headers
    return [profile.name for profile in answer.context["cl"].result_list]


def do(client: Client, profile: Profile, action: str, **headers: str) -> Any:
    return client.post(f"{LIST}{profile.pk}/{action}/", follow=True, headers=headers)


def bulk(client: Client, action: str, *profiles: Profile, **fields: str) -> Any:
    chosen = [profile.pk for profile in profiles]
    return client.post(LIST, {"action": action, "_selected_action": chosen, **fields}, follow=True)


def user_with(*codenames: str) -> Client:
    from django.contrib.auth import get_user_model

    user = get_user_model().objects.create_user("somebody", is_staff=True)
    user.user_permissions.set(Permission.objects.filter(codename__in=codenames))
    browser = Client()
    browser.force_login(user)
    return browser


# --- what it shows ---


def test_a_row_says_whether_the_profile_fits_and_why_it_does_not(
    admin_client: Client, ocean: Profile, foreign: Profile
) -> None:
    shown = page(admin_client)
    assert shown.count("does not fit") == 1 + 0
    assert f'aria-describedby="misfit-{foreign.pk}"' in shown
    assert "It is for the model gpt2, and tiny is loaded." in shown


def test_a_row_shows_the_strongest_features_with_their_labels(admin_client: Client, sae: SAE, ocean: Profile) -> None:
    FeatureLabel.objects.create(sae=sae, index=2, label="tides & waves", source="s")
    answer: Any = admin_client.get(LIST)
    [row] = answer.context["cl"].result_list
    assert [chip.index for chip in row.badges.chips] == [2, 6, 4, 3]
    assert row.badges.more == 2
    shown = answer.content.decode()
    assert "tides &amp; waves" in shown
    assert "-8" in shown
    assert "+2.5" in shown


def test_the_active_profile_is_marked_also_when_the_live_steering_was_changed_by_hand(
    admin_client: Client, ocean: Profile
) -> None:
    assert "millm-active" not in page(admin_client)
    ocean.activate()
    assert "millm-active" in page(admin_client)
    assert "changed live" not in page(admin_client)
    SteeringState.objects.load().set_features({1: 9})
    assert "active, changed live" in page(admin_client)


def test_the_number_of_queries_does_not_grow_with_the_rows(
    admin_client: Client, sae: SAE, django_assert_max_num_queries: Any
) -> None:
    for number in range(40):
        profile = Profile.objects.create(
            name=f"p{number}",
            model_id=f"m{number % 9}",
            sae_id=sae.pk if number % 2 else "other",
            strengths={number: 1.0},
        )
        FeatureLabel.objects.create(sae=sae, index=number, label="l", source="s")
    profile.description = "edited"
    profile.save()
    admin_client.get(LIST)
    with django_assert_max_num_queries(8):
        page(admin_client)


def test_every_profile_is_on_one_of_the_pages(admin_client: Client, sae: SAE) -> None:
    Profile.objects.bulk_create(Profile(name=f"p{number:02}") for number in range(51))
    pages = [names(admin_client, f"p={number}") for number in (1, 2, 3)]
    assert [len(shown) for shown in pages] == [25, 25, 1]
    assert [name for shown in pages for name in shown] == [f"p{number:02}" for number in range(51)]
    assert "51 profiles" in page(admin_client)
    assert names(admin_client, "q=p0") == [f"p0{number}" for number in range(10)]
    assert admin_client.get(f"{LIST}?p=4").status_code == 302


# --- search and filters ---


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ("q=OCE", ["ocean"]),
        ("q=the+sea", ["ocean"]),
        ("q=feature:6", ["foreign", "ocean"]),
        ("q=Feature:2", ["ocean"]),
        ("q=feature:6+ocean", ["ocean"]),
        ("q=feature:6+feature:1", ["ocean"]),
        ("q=feature:77", []),
        ("q=feature:99999999999999", []),
        ("q=feature:x", []),
        ("fits=yes", ["ocean"]),
        ("fits=no", ["foreign", "other weights", "too wide"]),
        ("model_id__icontains=PT", ["foreign"]),
        ("sae_id__icontains=tiny", ["ocean", "other weights", "too wide"]),
        ("layer=7", ["foreign"]),
        ("is_active__exact=1", ["ocean"]),
        ("is_active__exact=0", ["foreign", "other weights", "too wide"]),
        ("o=-1", ["too wide", "other weights", "ocean", "foreign"]),
    ],
)
def test_it_is_searched_filtered_and_ordered(
    admin_client: Client, sae: SAE, ocean: Profile, foreign: Profile, query: str, found: list[str]
) -> None:
    ocean.activate()
    here = {"model_id": "tiny", "sae_id": "tiny-sae", "layer": 2}
    Profile.objects.create(name="other weights", sae_fingerprint="b" * 64, **here)
    SAE.objects.update(d_sae=1000)
    Profile.objects.create(name="too wide", strengths={100: 1.0}, **here)
    SAE.objects.update(d_sae=100)
    assert names(admin_client, query) == found


def test_filters_left_empty_leave_out_nothing(admin_client: Client, ocean: Profile) -> None:
    Profile.objects.create(name="for nothing")
    empty = "is_active__exact=&fits=&model_id__icontains=&sae_id__icontains=&layer="
    assert names(admin_client, empty) == ["for nothing", "ocean"]


def test_the_profiles_that_fit_are_those_that_can_be_activated(sae: SAE, foreign: Profile) -> None:
    here = {"model_id": "tiny", "sae_id": "tiny-sae", "layer": 2, "sae_fingerprint": sae.fingerprint}
    others: list[dict[str, Any]] = [
        {"model_id": None},
        {"sae_id": "x"},
        {"sae_id": None},
        {"layer": 3},
        {"layer": None},
        {"sae_fingerprint": "b" * 64},
    ]
    SAE.objects.update(d_sae=1000)
    for number, changes in enumerate([{}, {"sae_fingerprint": ""}, *others]):
        for index in (None, 99, 100):
            steering = {} if index is None else {index: 1.0, 7: 1.0}
            Profile.objects.create(name=f"{number}-{index}", **{**here, **changes, "strengths": steering})
    SAE.objects.update(d_sae=100)
    model, attached = sae_and_model()
    fitting = set(Profile.objects.fitting(model, attached))
    assert fitting == {profile for profile in Profile.objects.all() if not list(profile.differences(model, attached))}
    assert len(fitting) == 4
    assert set(Profile.objects.misfitting(model, attached)) == set(Profile.objects.all()) - fitting
    for here_now in ((model, None), (None, attached)):
        assert not Profile.objects.fitting(*here_now)
        assert Profile.objects.misfitting(*here_now).count() == Profile.objects.count()


def sae_and_model() -> tuple[Any, SAE | None]:
    from steering.models import LanguageModel

    return LanguageModel.objects.current(), SAE.objects.attached()


# --- actions of a row ---


def test_a_profile_is_activated_and_deactivated(admin_client: Client, ocean: Profile) -> None:
    assert "is active: it steers all requests" in do(admin_client, ocean, "activate").content.decode()
    assert Profile.objects.active() == ocean
    assert "is no longer active" in do(admin_client, ocean, "deactivate").content.decode()
    assert Profile.objects.active() is None


def test_what_cannot_be_activated_is_told(admin_client: Client, foreign: Profile) -> None:
    answer = do(admin_client, foreign, "activate")
    assert "does not fit" in answer.content.decode()
    assert "it is for the model gpt2, and tiny is loaded" in answer.content.decode()
    assert Profile.objects.active() is None


def test_a_copy_has_a_free_name(admin_client: Client, ocean: Profile) -> None:
    assert "ocean (2)" in do(admin_client, ocean, "duplicate").content.decode()
    assert Profile.objects.get(name="ocean (2)").strengths == ocean.strengths


def test_who_acts_on_a_filtered_page_is_back_on_it(admin_client: Client, ocean: Profile) -> None:
    answer = do(admin_client, ocean, "duplicate", referer=f"http://testserver{LIST}?q=oce")
    assert answer.redirect_chain == [(f"http://testserver{LIST}?q=oce", 302)]
    answer = do(admin_client, ocean, "duplicate", referer="https://elsewhere.example/")
    assert answer.redirect_chain == [(LIST, 302)]


def test_a_profile_that_is_gone_meanwhile_is_told(admin_client: Client, ocean: Profile) -> None:
    pk = ocean.pk
    ocean.delete()
    for action in ("activate", "duplicate"):
        answer = admin_client.post(f"{LIST}{pk}/{action}/", follow=True)
        assert f"there is no profile {pk}" in answer.content.decode()
    assert f"there is no profile {pk}" in admin_client.get(f"{LIST}{pk}/export/", follow=True).content.decode()


@pytest.mark.parametrize("action", ["activate", "deactivate", "duplicate"])
def test_a_link_changes_nothing(admin_client: Client, ocean: Profile, action: str) -> None:
    assert admin_client.get(f"{LIST}{ocean.pk}/{action}/").status_code == 405
    assert Profile.objects.get() == ocean


def test_an_id_is_found_as_the_admin_quotes_it_too(admin_client: Client, sae: SAE) -> None:
    profile = Profile.objects.create(id="prof_22_5f", name="n")
    for quoted in ("prof_22_5f", "prof_5F22_5F5f"):
        assert admin_client.get(f"{LIST}{quoted}/export/").json()["profile"]["name"] == "n"
    assert profile.pk == "prof_22_5f"


def test_a_profile_is_exported(admin_client: Client, ocean: Profile) -> None:
    answer = admin_client.get(f"{LIST}{ocean.pk}/export/")
    assert answer.headers["Content-Disposition"] == 'attachment; filename="ocean.json"'
    assert answer.json()["profile"]["steering"] == {str(index): strength for index, strength in FEATURES.items()}


def test_the_live_steering_is_saved_as_a_profile(admin_client: Client, sae: SAE) -> None:
    SteeringState.objects.load().replace({5: 2.0})
    answer = admin_client.post(f"{LIST}save_live/", follow=True)
    assert answer.redirect_chain == [("/admin/profiles/profile/add/?from=live", 302)], "its name is asked first"
    assert answer.context["adminform"].form["strengths"].value() == '{"5": 2.0}'
    assert not Profile.objects.exists()
    SAE.objects.update(is_attached=False)
    answer = admin_client.post(f"{LIST}save_live/", follow=True)
    assert "no SAE is attached" in answer.content.decode()
    assert not Profile.objects.exists()


# --- actions on the selected ---


def test_the_selected_are_exported_as_one_file(admin_client: Client, ocean: Profile, foreign: Profile) -> None:
    answer: HttpResponse = bulk(admin_client, "export_selected", ocean, foreign)
    document = json.loads(answer.content)
    assert document["type"] == "millm_profile_bundle"
    assert [profile["name"] for profile in document["profiles"]] == ["foreign", "ocean"]


def test_the_active_one_of_the_selected_is_deactivated(admin_client: Client, ocean: Profile, foreign: Profile) -> None:
    assert (
        "None of the selected profiles is active" in bulk(admin_client, "deactivate_selected", ocean).content.decode()
    )
    ocean.activate()
    bulk(admin_client, "deactivate_selected", ocean, foreign)
    assert Profile.objects.active() is None


def test_deleting_the_active_one_says_that_it_is_deactivated(
    admin_client: Client, ocean: Profile, foreign: Profile
) -> None:
    ocean.activate()
    asked = bulk(admin_client, "delete_selected", ocean, foreign).content.decode()
    told = "is the active profile: it is deactivated first"
    assert told in asked
    assert told in admin_client.get(f"{LIST}{quote(ocean.pk)}/delete/").content.decode()
    assert told not in admin_client.get(f"{LIST}{quote(foreign.pk)}/delete/").content.decode()
    assert Profile.objects.count() == 2
    bulk(admin_client, "delete_selected", ocean, foreign, post="yes")
    assert Profile.objects.count() == 0
    assert not SteeringState.objects.load().enabled


def test_all_of_a_search_are_deleted_however_many_they_are(admin_client: Client, ocean: Profile) -> None:
    Profile.objects.bulk_create(Profile(name=f"many {number}") for number in range(1200))
    url, fields = f"{LIST}?q=many", {"action": "delete_selected", "select_across": "1", "_selected_action": "all"}
    asked = admin_client.post(url, fields).content.decode()
    assert "Delete these 1200 profiles?" in asked
    assert "and 1100 more" in asked
    assert asked.count("_selected_action") == 1
    admin_client.post(url, {**fields, "post": "yes"})
    assert list(Profile.objects.all()) == [ocean]


# --- permissions ---


def test_a_viewer_can_only_look_and_export(ocean: Profile) -> None:
    viewer = user_with("view_profile")
    shown = page(viewer)
    for word in ("Deactivate", "Duplicate", "Delete selected", "Import", "Save live"):
        assert word not in shown, word
    assert "Export" in shown
    for path in (f"{ocean.pk}/activate/", f"{ocean.pk}/deactivate/", f"{ocean.pk}/duplicate/", "save_live/", "import/"):
        assert viewer.post(f"{LIST}{path}").status_code == 403, path
    assert viewer.get(f"{LIST}import/").status_code == 403
    for action in ("deactivate_selected", "delete_selected"):
        bulk(viewer, action, ocean, post="yes")
    assert Profile.objects.get() == ocean


def test_each_permission_opens_its_own_actions(ocean: Profile) -> None:
    user = user_with("view_profile", "activate_profile")
    assert do(user, ocean, "activate").status_code == 200
    assert Profile.objects.active() == ocean
    assert user.post(f"{LIST}{ocean.pk}/duplicate/").status_code == 403


def test_who_may_not_see_profiles_exports_none(ocean: Profile) -> None:
    assert user_with().get(f"{LIST}{ocean.pk}/export/").status_code == 403
