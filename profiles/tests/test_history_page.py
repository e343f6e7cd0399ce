"""The versions of a profile in the admin: listed with what changed, compared, restored; and the deleted profiles."""

from typing import Any

import pytest
from django.contrib.auth.models import Permission, User
from django.test import Client
from django.urls import reverse
from pytest_django import DjangoAssertNumQueries

from profiles.models import Profile
from steering.labels.models import FeatureLabel
from steering.models import SAE, SteeringState

DELETED = "/admin/profiles/profile/deleted/"


def url(profile: Any, page: str = "") -> str:
    return f"/admin/profiles/profile/{profile.pk.replace('_', '_5F')}/history/{page}"


def restore(client: Client, profile: Any, number: int, **fields: str) -> str:
    """The page that a restore leads to."""
    return client.post(url(profile, f"{number}/restore/"), fields, follow=True).content.decode()


def numbers(profile: Any) -> list[int]:
    """The versions, the first first."""
    rows = Profile.history.filter(id=profile.pk).order_by("history_id")
    return list(rows.values_list("history_id", flat=True))


def text(html: str) -> str:
    return " ".join(html.split())


@pytest.fixture
def changed(profile: Profile) -> Profile:
    """A profile whose second version has another name and other strengths."""
    FeatureLabel.objects.create(sae_id="tiny-sae", index=3, label="whales", source="test")
    profile.name, profile.strengths = "sea", {3: 5.5, 9: 1.0}
    profile.save(reason="tried it")
    return profile


@pytest.fixture
def viewer(db: None) -> Client:
    user = User.objects.create_user("viewer", is_staff=True)
    user.user_permissions.add(Permission.objects.get(codename="view_profile"))
    client = Client()
    client.force_login(user)
    return client


def test_each_version_tells_what_it_changed_and_who_by_which_door(admin_client: Client, changed: Profile) -> None:
    restore(admin_client, changed, numbers(changed)[0])
    page = text(admin_client.get(url(changed)).content.decode())
    assert "Restored the version of" in page
    assert "admin, in the admin," in page
    assert "Tried it" in page
    assert "3 — whales" in page
    assert "<del>ocean</del>" in page
    assert "<ins>sea</ins>" in page
    assert "by command line," in page


def test_thousands_of_versions_come_in_pages_of_few_queries(
    admin_client: Client, profile: Profile, django_assert_max_num_queries: DjangoAssertNumQueries
) -> None:
    first = Profile.history.get(id=profile.pk)
    versions = []
    for i in range(3000):
        first.pk, first.strengths = None, {3: float(i), i % 100: 1.0}
        versions.append(Profile.history.model(**{f.attname: getattr(first, f.attname) for f in first._meta.fields}))
    Profile.history.bulk_create(versions)
    for page in ("", "?page=60", "?page=121", "?page=nonsense"):
        with django_assert_max_num_queries(10):
            answer = admin_client.get(url(profile, page))
        assert "3001 versions" in answer.content.decode()
    assert answer.content.decode().count('name="from"') == 25


def test_two_versions_are_compared_and_one_with_now_or_with_nothing(admin_client: Client, changed: Profile) -> None:
    first, second = numbers(changed)
    for query in (f"from={first}&to={second}", f"from={first}&to=now", f"from={first}"):
        page = text(admin_client.get(url(changed, f"compare/?{query}")).content.decode())
        assert '4 <span class="for-screen-readers">to</span><span aria-hidden="true">→</span> 5.5' in page
        assert "removed: feature" in page
    assert "No differences." in admin_client.get(url(changed, f"compare/?from={second}")).content.decode()
    everything = admin_client.get(url(changed, f"compare/?to={first}")).content.decode()
    assert everything.count("added: feature") == 2
    assert "<ins>tiny-sae</ins>" in everything


@pytest.mark.parametrize("query", ["from=x", "from=99999999", f"from={2**63}", "to=", "to=-1"])
def test_a_comparison_with_no_version_says_what_is_wrong(admin_client: Client, profile: Profile, query: str) -> None:
    answer = admin_client.get(url(profile, f"compare/?{query}"))
    assert answer.status_code == 404
    assert 'role="alert"' in answer.content.decode()


def test_a_version_is_restored_and_the_history_says_so(admin_client: Client, changed: Profile) -> None:
    first = numbers(changed)[0]
    assert "Restored version 1." in restore(admin_client, changed, first)
    changed.refresh_from_db()
    assert (changed.name, changed.strengths) == ("ocean", {3: 4.0, 7: -1.5})
    assert changed.history.first().door == "admin"


def test_restoring_the_active_profile_asks_first_since_it_steers_at_once(
    admin_client: Client, changed: Profile
) -> None:
    changed.activate()
    first = numbers(changed)[0]
    page = restore(admin_client, changed, first)
    assert "restoring takes effect immediately for all requests" in page
    assert "removed: feature" in page
    assert SteeringState.objects.load().strengths == {3: 5.5, 9: 1.0}
    restore(admin_client, changed, first, confirmed="1")
    assert SteeringState.objects.load().strengths == {3: 4.0, 7: -1.5}


def test_a_version_that_no_longer_fits_the_active_profile_is_refused(admin_client: Client, profile: Profile) -> None:
    profile.layer = 1
    profile.save()
    profile.layer = 2
    profile.save()
    profile.activate()
    wrong = numbers(profile)[1]
    page = restore(admin_client, profile, wrong, confirmed="1")
    assert "Version 2 was not restored" in page
    assert "the attached SAE is at layer 2, and it is for layer 1" in page
    profile.refresh_from_db()
    assert profile.layer == 2


def test_only_a_post_restores_and_only_what_is_there(admin_client: Client, changed: Profile) -> None:
    first = numbers(changed)[0]
    assert admin_client.get(url(changed, f"{first}/restore/")).status_code == 405
    assert "has no version 99999999" in restore(admin_client, changed, 99999999)
    assert "has no version" in restore(admin_client, changed, 2**64)
    for pk in ("nobody", "a b"):
        assert admin_client.get(f"/admin/profiles/profile/{pk}/history/").status_code == 404


def test_a_version_cannot_be_edited(admin_client: Client, changed: Profile) -> None:
    answer = admin_client.get(url(changed, f"{numbers(changed)[0]}/"))
    assert answer.status_code in {302, 404}  # the library's form is gone
    assert "<textarea" not in answer.content.decode()


def test_a_viewer_sees_the_versions_and_restores_none(viewer: Client, changed: Profile) -> None:
    page = viewer.get(url(changed))
    assert page.status_code == 200
    assert "restore/" not in page.content.decode()
    first = numbers(changed)[0]
    assert "restore/" not in viewer.get(url(changed, f"compare/?from={first}")).content.decode()
    assert viewer.post(url(changed, f"{first}/restore/"), {"confirmed": "1"}).status_code == 403
    changed.refresh_from_db()
    assert changed.name == "sea"


def test_without_the_permission_to_view_there_is_no_history(viewer: Client, changed: Profile) -> None:
    User.objects.get(username="viewer").user_permissions.clear()
    for page in (url(changed), url(changed, "compare/"), DELETED):
        assert viewer.get(page).status_code == 403


def test_deleted_profiles_are_listed_found_and_brought_back(admin_client: Client, changed: Profile) -> None:
    other = Profile.objects.create_from(name="space", strengths={1: 1.0})
    other.delete()
    Profile.objects.filter(pk=changed.pk).delete()
    assert reverse("admin:profiles_profile_deleted") == DELETED
    page = admin_client.get(DELETED).content.decode()
    assert 'aria-label="sea"' in page
    assert 'aria-label="space"' in page
    found = admin_client.get(DELETED, {"q": "SEA"}).content.decode()
    assert 'aria-label="space"' not in found
    number = numbers(changed)[-1]
    assert url(changed, f"{number}/restore/") in found
    assert "Restored version" in restore(admin_client, changed, number)
    assert Profile.objects.get(pk=changed.pk).strengths == {3: 5.5, 9: 1.0}
    assert 'aria-label="sea"' not in admin_client.get(DELETED).content.decode()


def test_a_profile_deleted_twice_is_listed_once(admin_client: Client, profile: Profile) -> None:
    pk = profile.pk
    profile.delete()
    Profile.objects.restore(pk, numbers(Profile(pk=pk))[-1]).delete()
    assert [version.id for version in Profile.objects.deleted()] == [pk]


def test_the_history_of_a_deleted_profile_restores_any_version(admin_client: Client, changed: Profile) -> None:
    pk = changed.pk
    changed.delete()
    gone = Profile(pk=pk)
    page = admin_client.get(url(gone)).content.decode()
    assert "ocean is deleted" not in page
    assert "sea was deleted. Choose a version to restore" in page
    restore(admin_client, gone, numbers(gone)[0])
    assert Profile.objects.get(pk=pk).name == "ocean"


def test_a_deleted_profile_whose_name_is_taken_comes_back_under_a_free_one(
    admin_client: Client, profile: Profile
) -> None:
    pk = profile.pk
    profile.delete()
    Profile.objects.create_from(name="ocean", strengths={})
    number = numbers(Profile(pk=pk))[-1]
    page = restore(admin_client, Profile(pk=pk), number)
    assert "Restored version 2 as ocean (2): another profile is named ocean." in page
    assert Profile.objects.get(pk=pk).name == "ocean (2)"
    assert Profile.objects.get(name="ocean").strengths == {}


def test_who_may_not_add_profiles_brings_none_back(viewer: Client, profile: Profile) -> None:
    user = User.objects.get(username="viewer")
    user.user_permissions.add(Permission.objects.get(codename="change_profile"))
    pk = profile.pk
    profile.delete()
    assert "restore/" not in viewer.get(DELETED).content.decode()
    assert viewer.post(url(Profile(pk=pk), f"{numbers(Profile(pk=pk))[-1]}/restore/")).status_code == 403


def test_many_deleted_profiles_come_in_pages_of_few_queries(
    admin_client: Client, sae: SAE, django_assert_max_num_queries: DjangoAssertNumQueries
) -> None:
    for i in range(120):
        Profile.objects.create(name=f"profile {i}")
    Profile.objects.all().delete()
    with django_assert_max_num_queries(7):
        page = admin_client.get(DELETED, {"page": "2"}).content.decode()
    assert page.count("restore/") == 50
    assert "page=1" in page
    assert "page=3" in page
    last = admin_client.get(DELETED, {"page": "3", "q": "profile"}).content.decode()
    assert last.count("restore/") == 20
    assert "No deleted profile has" in admin_client.get(DELETED, {"q": "nobody"}).content.decode()
