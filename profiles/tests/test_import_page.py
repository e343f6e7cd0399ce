"""The admin's page that imports profiles: what is previewed is imported, and nothing else."""

import json
import re
from html import unescape
from typing import Any

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile
from django.test import Client

from profiles.models import Profile
from profiles.tests.test_profile_list import user_with
from profiles.tests.test_transfer import CLUSTER, CONTENT, FILE, FLAT, INTERFACE, changed
from steering.models import SAE, FeatureLabel, SteeringState

URL = "/admin/profiles/profile/import/"
LIST = "/admin/profiles/profile/"


def bundle(*profiles: dict[str, Any]) -> str:
    return json.dumps({"version": "1.0", "type": "millm_profile_bundle", "profiles": list(profiles)})


def preview(client: Client, text: str, on_conflict: str = "fail", **fields: Any) -> Any:
    return client.post(URL, {"text": text, "on_conflict": on_conflict, **fields})


def outcomes(answer: Any) -> list[tuple[str, str]]:
    return [(one.outcome, one.name) for one in answer.context["preview"].shown]


def confirm(client: Client, answer: Any, **changes: str) -> Any:
    """Press the button below the preview `answer`."""
    page = answer.content.decode()
    [text] = re.findall(r'<textarea name="text" hidden>(.*?)</textarea>', page, re.DOTALL)
    [seen] = re.findall(r'name="seen" value="(\w+)"', page)
    fields = {"text": unescape(text), "seen": seen, "on_conflict": answer.context["form"]["on_conflict"].value()}
    return client.post(URL, {**fields, "import": "1", **changes}, follow=True)


@pytest.mark.parametrize(
    "file", [FILE, FLAT, INTERFACE, CLUSTER, {"success": True, "data": FLAT}, json.loads(bundle(CONTENT))]
)
def test_every_form_is_previewed_and_then_imported(admin_client: Client, sae: SAE, file: dict[str, Any]) -> None:
    answer = preview(admin_client, json.dumps(file))
    assert outcomes(answer) == [("created", "new")]
    assert not Profile.objects.exists()
    answer = confirm(admin_client, answer)
    assert answer.redirect_chain == [(LIST, 302)]
    assert "Imported: 1 created (new)." in answer.content.decode()
    assert Profile.objects.get().name == "new"


def test_a_file_is_taken_as_well_as_a_text(admin_client: Client, sae: SAE) -> None:
    upload = SimpleUploadedFile("a.json", json.dumps(FILE, indent=2).encode("utf-8-sig"))
    answer = preview(admin_client, "", file=upload)
    assert outcomes(answer) == [("created", "new")]
    confirm(admin_client, answer)
    assert Profile.objects.get().strengths == {7: 1.5}


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("{", "the file is not JSON"),
        (json.dumps(changed(FILE, colour="red")), "colour: this field is unknown"),
        (bundle(changed(CONTENT, layer="2")), "profiles.0.layer"),
        ("", "Paste the text of a file, or choose a file"),
    ],
)
def test_a_bad_text_is_told_beside_it_and_kept(admin_client: Client, sae: SAE, text: str, told: str) -> None:
    answer = preview(admin_client, text)
    assert answer.status_code == 200
    assert told in answer.context["form"].errors["text"][0]
    assert answer.context["form"]["text"].value() == text
    assert "preview" not in answer.context


def test_a_bad_file_is_kept_as_text(admin_client: Client, sae: SAE) -> None:
    answer = preview(admin_client, "", file=SimpleUploadedFile("a.json", b'{"type": "other"}'))
    assert "type: got" in answer.context["form"].errors["text"][0]
    assert answer.context["form"]["text"].value() == '{"type": "other"}'


def test_a_file_that_is_no_text_is_told_beside_it(admin_client: Client, sae: SAE) -> None:
    answer = preview(admin_client, "", file=SimpleUploadedFile("a.png", b"{\x89\xff\xfe"))
    assert "a.png is not text" in answer.context["form"].errors["file"][0]


def test_of_text_and_file_one_is_taken(admin_client: Client, sae: SAE) -> None:
    answer = preview(admin_client, json.dumps(FILE), file=SimpleUploadedFile("a.json", b"{}"))
    assert "expected only one of them" in answer.context["form"].errors["file"][0]
    assert answer.context["form"]["text"].value() == json.dumps(FILE)


def test_a_file_that_is_too_large_is_told(admin_client: Client, sae: SAE, settings: Any) -> None:
    settings.DATA_UPLOAD_MAX_MEMORY_SIZE = 10_000
    answer = preview(admin_client, "", file=SimpleUploadedFile("a.json", b" " * 10_001))
    assert "expected at most" in answer.context["form"].errors["file"][0]


def test_a_text_that_is_too_large_is_told_in_plain_words(admin_client: Client, sae: SAE, settings: Any) -> None:
    settings.DATA_UPLOAD_MAX_MEMORY_SIZE = 10_000
    answer = preview(admin_client, " " * 10_001)
    assert answer.status_code == 413
    assert "This server takes at most 9.8" in answer.content.decode()


def test_the_largest_file_can_be_confirmed(admin_client: Client, sae: SAE, settings: Any) -> None:
    settings.DATA_UPLOAD_MAX_MEMORY_SIZE = 100_000
    text = json.dumps(changed(FILE, exported_from="x" * 98_000), indent=2)
    answer = preview(admin_client, "", file=SimpleUploadedFile("a.json", text.encode()))
    confirm(admin_client, answer, text=text.replace("\n", "\r\n"))
    assert Profile.objects.count() == 1


def test_the_preview_says_what_becomes_of_each_and_why_one_is_refused(admin_client: Client, sae: SAE) -> None:
    Profile.objects.create(name="ocean")
    text = bundle(
        changed(CONTENT, name="ocean"),
        CONTENT,
        changed(CONTENT, name="wide", steering={"100": 1.0}),
        changed(CONTENT, name="z"),
    )
    answer = preview(admin_client, text)
    assert outcomes(answer) == [("refused", "ocean"), ("refused", "wide"), ("created", "new"), ("created", "z")]
    shown = unescape(answer.content.decode())
    assert "profiles.0.name: a profile 'ocean' already exists" in shown
    assert "profiles.2.steering.100: feature 100 is out of range" in shown
    assert 'name="import"' not in shown
    assert [profile.name for profile in Profile.objects.all()] == ["ocean"]
    confirm(admin_client, answer)
    assert Profile.objects.count() == 1


def test_a_name_that_exists_is_renamed_also_where_the_file_has_the_free_name(admin_client: Client, sae: SAE) -> None:
    Profile.objects.create(name="new")
    answer = preview(admin_client, bundle(CONTENT, changed(CONTENT, name="new (2)")), "rename")
    assert outcomes(answer) == [("renamed", "new"), ("renamed", "new (2)")]
    assert "new (2) (2)" in answer.content.decode()
    confirm(admin_client, answer)
    assert [profile.name for profile in Profile.objects.all()] == ["new", "new (2)", "new (2) (2)"]


def test_what_is_replaced_is_shown_with_its_differences(admin_client: Client, sae: SAE) -> None:
    FeatureLabel.objects.create(sae=sae, index=7, label="waves", source="s")
    old = Profile.objects.create_from(name="new", description="old words", strengths={7: 4.0, 8: 1.0})
    old.activate()
    answer = preview(admin_client, json.dumps(FILE), "replace")
    [one] = answer.context["preview"].shown
    assert [(field.name, field.before, field.after) for field in one.difference.fields] == [
        ("description", "old words", "d"),
        ("SAE fingerprint", sae.fingerprint, ""),
    ]
    assert [str(feature.name) for feature in one.difference.features] == ["7 — waves", "8"]
    assert "the new strengths apply to all requests immediately" in answer.content.decode()
    confirm(admin_client, answer)
    old.refresh_from_db()
    assert old.is_active
    assert SteeringState.objects.load().strengths == {7: 1.5}


def test_what_is_left_out_and_what_does_not_fit_is_told(admin_client: Client, sae: SAE) -> None:
    answer = preview(admin_client, json.dumps(changed(CLUSTER, model={"hf_id": "gpt2"})))
    shown = unescape(answer.content.decode())
    assert "members[].meta: a profile does not keep this field" in shown
    assert "It is for the model gpt2, and tiny is loaded." in shown


@pytest.mark.parametrize("meanwhile", ["edit", "delete", "create"])
def test_what_changed_since_the_preview_is_previewed_again(admin_client: Client, sae: SAE, meanwhile: str) -> None:
    new = Profile.objects.create_from(name="new", strengths={1: 1.0})
    answer = preview(admin_client, bundle(CONTENT, changed(CONTENT, name="other")), "replace")
    if meanwhile == "edit":
        new.strengths = {1: 2.0}
        new.save()
    elif meanwhile == "delete":
        new.delete()
    else:
        Profile.objects.create(name="other")
    before = list(Profile.objects.values())
    answer = confirm(admin_client, answer)
    assert "something has changed since the preview" in answer.content.decode()
    assert list(Profile.objects.values()) == before
    assert "Imported" in confirm(admin_client, answer).content.decode()


def test_another_choice_for_names_is_not_imported_unseen(admin_client: Client, sae: SAE) -> None:
    Profile.objects.create(name="new", description="precious")
    answer = confirm(admin_client, preview(admin_client, json.dumps(FILE), "rename"), on_conflict="replace")
    assert outcomes(answer) == [("replaced", "new")]
    assert Profile.objects.get().description == "precious"


def test_the_text_can_be_edited_after_the_preview(admin_client: Client, sae: SAE) -> None:
    answer = preview(admin_client, json.dumps(FILE), "rename", edit="1")
    assert answer.context["form"]["text"].value() == json.dumps(FILE)
    assert answer.context["form"]["on_conflict"].value() == "rename"
    assert "preview" not in answer.context


def test_a_large_bundle_is_previewed_in_part_with_what_is_refused_first(admin_client: Client, sae: SAE) -> None:
    rows = [changed(CONTENT, name=f"p{number}") for number in range(205)]
    answer = preview(admin_client, bundle(*rows, changed(CONTENT, name="bad", steering={"100": 1.0})))
    assert outcomes(answer)[0] == ("refused", "bad")
    assert answer.context["preview"].more == 6
    assert "and 6 more" in answer.content.decode()


def test_a_preview_asks_for_what_it_shows_once(
    admin_client: Client, sae: SAE, django_assert_max_num_queries: Any
) -> None:
    """Only planning, which makes each profile and takes it back, grows with the file."""
    from profiles.admin.import_page import _described
    from profiles.files.transfer import Imported

    made = [Profile(name=str(i), sae_id=sae.pk, strengths={i: 1.0}) for i in range(50)]
    with django_assert_max_num_queries(4):
        list(_described([(one.name, Imported(one, "replaced", made[0])) for one in made]))


def test_an_empty_bundle_offers_nothing(admin_client: Client, sae: SAE) -> None:
    answer = preview(admin_client, bundle())
    assert "The file has no profiles" in answer.content.decode()
    assert 'name="import"' not in answer.content.decode()


def test_who_may_not_change_profiles_is_not_offered_to_replace_them(sae: SAE) -> None:
    Profile.objects.create(name="new", description="precious")
    user = user_with("view_profile", "add_profile")
    assert "Replace the existing profile" not in user.get(URL).content.decode()
    answer = preview(user, json.dumps(FILE), "replace")
    assert "Got replace, expected one of the offered choices." in answer.context["form"].errors["on_conflict"][0]
    assert preview(user, json.dumps(FILE), "replace", **{"import": "1"}).status_code == 200
    assert Profile.objects.get().description == "precious"


def test_who_may_not_add_profiles_is_refused(sae: SAE) -> None:
    user = user_with("view_profile", "change_profile")
    assert user.get(URL).status_code == 403
    assert preview(user, json.dumps(FILE)).status_code == 403


def test_a_name_that_is_no_text_is_refused_in_the_preview(admin_client: Client, sae: SAE) -> None:
    answer = preview(admin_client, bundle(changed(CONTENT, name="a\0b"), CONTENT))
    assert answer.status_code == 200
    assert [outcome for outcome, _ in outcomes(answer)] == ["refused", "created"]
    assert "expected printable text" in answer.content.decode()
