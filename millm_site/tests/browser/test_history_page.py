"""Versions in the browser: compared, restored, and a deleted profile brought back."""

from playwright.sync_api import Page, expect

from profiles.models import Profile
from steering.models import SteeringState


def history(page: Page, profile: Profile) -> None:
    page.goto(f"/admin/profiles/profile/{profile.pk.replace('_', '_5F')}/history/")


def test_a_version_of_the_active_profile_is_compared_restored_and_steers(page: Page) -> None:
    ocean = Profile.objects.get(name="ocean")
    before = ocean.strengths
    ocean.strengths = {79: 1.0, 5: 2.0}
    ocean.save(reason="tried something")
    ocean.activate()
    history(page, ocean)
    version = page.get_by_role("listitem", name="Version 1", exact=True)
    expect(version).to_contain_text("Created")
    expect(page.get_by_role("listitem", name="Version").filter(has_text="Tried something")).to_have_count(1)
    page.get_by_role("radio", name="compare from version 1", exact=True).check()
    page.get_by_role("button", name="Compare").click()
    expect(page.get_by_role("listitem").filter(has_text="6.29")).to_contain_text("changed")
    expect(page.get_by_role("listitem").filter(has_text="11.87")).to_contain_text("removed")
    page.get_by_role("button", name="Restore version 1").click()
    expect(page.get_by_text("takes effect immediately for all requests")).to_be_visible()
    assert SteeringState.objects.load().strengths == {79: 1.0, 5: 2.0}
    page.get_by_role("button", name="Restore and apply now").click()
    expect(page.get_by_text("Restored version 1.")).to_be_visible()
    assert SteeringState.objects.load().strengths == before


def test_a_version_of_the_live_steering_is_restored(page: Page) -> None:
    state = SteeringState.objects.load()
    state.replace({79: 4.0})
    good = state.version
    state.replace({5: 1.0})
    page.goto("/admin/steering/steeringstate/")
    page.get_by_role("link", name="History").click()
    page.get_by_role("button", name=f"Restore version {good}").click()
    page.get_by_role("button", name="Restore and apply now").click()
    expect(page.get_by_text(f"Restored version {good}.")).to_be_visible()
    assert SteeringState.objects.load().strengths == {79: 4.0}


def test_a_deleted_profile_is_found_and_brought_back(page: Page) -> None:
    Profile.objects.get(name="music").delete()
    Profile.objects.get(name="winter").delete()
    page.goto("/admin/profiles/profile/deleted/")
    expect(page.get_by_role("listitem", name="winter")).to_be_visible()
    page.get_by_label("Name").fill("mus")
    page.get_by_role("button", name="Search").click()
    expect(page.get_by_role("listitem", name="winter")).to_have_count(0)
    page.get_by_role("button", name="Restore music").click()
    expect(page.get_by_text("Restored version")).to_be_visible()
    assert Profile.objects.filter(name="music").exists()
