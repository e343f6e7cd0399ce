"""The form of a profile edits the whole document: settings, condition and parts, and modes of features."""

from typing import Any

import pytest
from django.test import Client

from profiles.admin.document_fields import OF_KEYS
from profiles.models import Profile
from profiles.tests.test_profile_form import entered, url

SETTINGS = {
    "unit": "raw",
    "intensity": "1.0",
    "positions": "all",
    "positions_tokens": "",
    "when": "",
    "also": "",
}
MORE = {
    "also": [{"sae": "vectors", "features": {"1": {"mode": "project"}}, "positions": "answer"}],
    "unit": "max_activation",
    "intensity": 0.5,
    "positions": {"of": "prompt", "last": 3},
    "special_tokens": False,
    "tools": False,
    "thinking": False,
    "when": {"feature": 12, "above": 3.0},
}
pytestmark = pytest.mark.django_db


def shown(client: Client, profile: Profile) -> dict[str, Any]:
    """The fields of settings as the page posts them."""
    form = client.get(url(profile)).context["adminform"].form
    values = {name: form[name].value() for name in (*SETTINGS, *OF_KEYS.values())}
    posted = {name: "" if value is None else value for name, value in values.items()}
    return {name: value for name, value in posted.items() if value is not False}


def saved(client: Client, profile: Profile, **fields: Any) -> Profile:
    answer = client.post(url(profile), entered(profile, **fields))
    assert answer.status_code == 302, answer.context["errors"]
    return Profile.objects.get(pk=profile.pk)


def test_a_plain_profile_stays_plain(admin_client: Client, profile: Profile) -> None:
    before = Profile.objects.filter(pk=profile.pk).values("strengths", "more").get()
    posted = shown(admin_client, profile)
    assert posted == SETTINGS | {"intensity": 1.0}
    saved(admin_client, profile, **posted)
    assert Profile.objects.filter(pk=profile.pk).values("strengths", "more").get() == before


def test_a_document_with_all_of_it_is_shown_and_saved_as_it_is(admin_client: Client, profile: Profile) -> None:
    profile.strengths, profile.more = {3: {"mode": "clamp", "value": 2.0, "weight": 0.5}, 4: {"mode": "ablate"}}, MORE
    profile.save()
    steering = '{"3": {"mode": "clamp", "value": 2, "weight": 0.5}, "4": {"mode": "ablate"}}'
    after = saved(admin_client, profile, steering=steering, **shown(admin_client, profile))
    assert (after.strengths, after.more) == (profile.strengths, MORE)


def test_a_page_of_the_version_before_keeps_what_it_does_not_show(admin_client: Client, profile: Profile) -> None:
    profile.more = MORE
    profile.save()
    assert saved(admin_client, profile, description="other").more == MORE


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("intensity", "2.5", "got 2.5, expected a finite number from 0 to 2"),
        ("unit", "metres", "Got metres, expected one of the offered choices."),
        ("when", "{", "Enter valid JSON"),
        ("when", '{"feature": 1}', "when.above: this key is required"),
        ("also", '{"sae": "x"}', "got an object, expected a list of parts"),
        ("also", '[{"sae": "x", "features": {"1": 1}, "unit": "m"}]', "also.0.unit: got"),
        ("positions_tokens", "5", "Choose the first or last tokens above"),
    ],
)
def test_errors_are_at_their_fields(
    admin_client: Client, profile: Profile, field: str, value: str, message: str
) -> None:
    refused = admin_client.post(url(profile), entered(profile, **{**SETTINGS, field: value}))
    assert message in str(refused.context["adminform"].form.errors[field][0]).replace("&#x27;", "'")


def test_an_error_of_a_value_is_at_the_row_of_its_feature(admin_client: Client, profile: Profile) -> None:
    steering = '{"3": {"mode": "clamp", "value": "much"}}'
    form = admin_client.post(url(profile), entered(profile, steering=steering)).context["adminform"].form
    str(form["strengths"])
    assert form.fields["strengths"].widget.errors.keys() == {"3"}


def test_the_check_of_what_fits_knows_the_parts(admin_client: Client, profile: Profile) -> None:
    profile.strengths, profile.more = {}, {"also": [{"sae": "elsewhere", "features": {"1": 1.0}}]}
    profile.save()
    reasons = admin_client.get(url(profile)).context["profile_page"]["reasons"]
    assert any("elsewhere" in reason for reason in reasons), reasons
    made_for = {name: getattr(profile, name) for name in ("model_id", "sae_id", "layer", "sae_fingerprint")}
    asked = {**made_for, "also": '[{"sae": "tiny-sae", "features": {"1": 1}}]', "own": "none", "feature": "0"}
    answer = admin_client.get("/admin/profiles/profile/compatibility/", asked)
    assert answer.json()["reasons"] == []
