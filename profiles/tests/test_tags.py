"""Tags: set, filtered by, kept in files and history; they steer nothing."""

from typing import Any

import pytest
from django.db import connection
from django.test import Client
from rest_framework.test import APIClient

from profiles.files.transfer import ProfileFile, document, dumps
from profiles.models import Profile
from steering.models import SteeringState

URL = "/api/profiles"
LIST = "/admin/profiles/profile/"


@pytest.fixture
def tagged(profile: Profile) -> Profile:
    profile.tags = ["Sea", "calm water"]
    profile.save()
    return profile


def found(client: APIClient, tag: str) -> list[str]:
    answer = client.get(URL, {"tag": tag})
    assert answer.status_code == 200, answer.json()
    return [profile["name"] for profile in answer.json()["results"]]


def test_tags_are_trimmed_and_keep_their_case_and_order(client: APIClient, profile: Profile) -> None:
    answer = client.patch(f"{URL}/{profile.pk}", {"tags": [" Sea ", "calm water"]})
    assert (answer.status_code, answer.json()["tags"]) == (200, ["Sea", "calm water"])
    assert client.put(f"{URL}/{profile.pk}", {"name": "ocean", "steering": {}}).json()["tags"] == []


@pytest.mark.parametrize(
    ("tags", "why"),
    [
        ("sea", "tags: got a string, expected a list of strings"),
        ({"a": 1}, "tags: got an object, expected a list of strings"),
        ([1], "tags.0: got a number, expected a string"),
        (["a", None], "tags.1: got null, expected a string"),
        (["  "], "tags.0: got 0 characters, expected 1 to 40"),
        (["x" * 41], "tags.0: got 41 characters, expected 1 to 40"),
        (["a, b"], "tags.0: got 'a, b', expected a tag without a comma: make two tags of it"),
        (["a", " a"], "tags: got 'a' twice, expected each tag once"),
        (["a\0"], "tags.0: got the character '\\x00', expected printable text"),
        ([str(i) for i in range(21)], "tags: got 21 tags, expected at most 20: remove some"),
    ],
)
def test_what_is_no_list_of_tags_is_refused_by_its_path(
    client: APIClient, profile: Profile, tags: Any, why: str
) -> None:
    answer = client.patch(f"{URL}/{profile.pk}", {"tags": tags}, format="json")
    assert (answer.status_code, answer.json()["detail"]) == (400, why)
    assert Profile.objects.get().tags == []


def test_twenty_tags_of_forty_characters_are_kept(client: APIClient, profile: Profile) -> None:
    tags = [f"{i:040}" for i in range(20)]
    assert client.patch(f"{URL}/{profile.pk}", {"tags": tags}, format="json").json()["tags"] == tags


def test_profiles_are_found_by_one_and_by_several_tags(client: APIClient, tagged: Profile) -> None:
    Profile.objects.create_from(name="pond", strengths={}, tags=["calm water"])
    assert found(client, "calm water") == ["ocean", "pond"]
    assert found(client, "Sea, calm water") == ["ocean"]
    assert found(client, "sea") == []
    assert client.get(URL, {"tag": "x" * 41}).status_code == 400


def test_the_list_of_the_admin_is_filtered_by_a_tag_and_links_to_it(admin_client: Client, tagged: Profile) -> None:
    Profile.objects.create_from(name="pond", strengths={}, tags=["calm water"])
    page: Any = admin_client.get(LIST, {"tag": "Sea"})
    assert [row.name for row in page.context["cl"].result_list] == ["ocean"]
    assert 'href="?tag=calm%20water"' in page.content.decode()
    assert not admin_client.get(LIST, {"tag": "x" * 41}).context["cl"].result_list


def test_the_form_takes_tags_between_commas_and_names_a_wrong_tag(admin_client: Client, tagged: Profile) -> None:
    form: Any = admin_client.get(f"{LIST}{tagged.pk}/change/").context["adminform"].form
    assert form["tags"].value() == "Sea, calm water"
    fields = {"name": "ocean", "steering": '{"3": 4.0}', "opened": tagged.state}
    wrong: Any = admin_client.post(f"{LIST}{tagged.pk}/change/", {**fields, "tags": f"a, {'x' * 41}"})
    assert "got 41 characters, expected 1 to 40" in wrong.content.decode()
    admin_client.post(f"{LIST}{tagged.pk}/change/", {**fields, "tags": "waves,, Sea,"})
    tagged.refresh_from_db()
    assert tagged.tags == ["waves", "Sea"]


def test_a_form_of_the_version_before_keeps_the_tags_and_notes(admin_client: Client, tagged: Profile) -> None:
    Profile.objects.update(notes="Seen twice.")
    fields = {"name": "renamed", "steering": '{"3": 4.0}', "opened": tagged.state}
    admin_client.post(f"{LIST}{tagged.pk}/change/", fields)
    tagged.refresh_from_db()
    assert (tagged.name, tagged.tags, tagged.notes) == ("renamed", ["Sea", "calm water"], "Seen twice.")


def test_tags_of_the_active_profile_steer_nothing_again(client: APIClient, profile: Profile) -> None:
    profile.activate()
    before = SteeringState.objects.load()
    before.set_features({9: 1.0})  # a change by hand, which stays
    etag = client.get(f"{URL}/{profile.pk}")["ETag"]
    answer = client.patch(f"{URL}/{profile.pk}", {"tags": ["a"], "notes": "b"}, headers={"If-Match": etag})
    assert (answer.status_code, answer.json()["is_active"]) == (200, True)
    assert SteeringState.objects.load().version == before.version
    late = client.patch(f"{URL}/{profile.pk}", {"tags": ["c"]}, headers={"If-Match": etag})
    assert late.status_code == 412


def test_files_have_tags_and_notes_only_where_the_profile_has_them(profile: Profile) -> None:
    keys = ["name", "description", "model", "sae", "layer", "steering", "sae_fingerprint"]
    assert list(document(profile)["profile"]) == keys
    profile.tags, profile.notes = ["Sea"], "Seen twice.\nAnd again."
    profile.save()
    file = dumps(document(profile))
    assert list(document(profile)["profile"]) == [*keys, "tags", "notes"]
    profile.delete()
    [imported] = Profile.objects.import_file(ProfileFile.loads(file))
    assert (imported.profile.tags, imported.profile.notes) == (["Sea"], "Seen twice.\nAnd again.")


@pytest.mark.parametrize(("field", "value"), [("tags", None), ("tags", ["a,b"]), ("notes", 1), ("notes", "x" * 10_001)])
def test_wrong_tags_and_notes_of_a_file_are_refused_by_their_path(
    client: APIClient, profile: Profile, field: str, value: Any
) -> None:
    file = document(profile)
    file["profile"] |= {"name": "new", field: value}
    answer = client.post(f"{URL}/import", file, format="json")
    assert answer.status_code == 400
    assert answer.json()["field"].startswith(f"profile.{field}")
    assert Profile.objects.count() == 1


def test_a_file_replaces_the_tags_where_its_format_has_tags(tagged: Profile) -> None:
    flat = {"name": "ocean", "model_id": "tiny", "sae_id": "tiny-sae", "layer": 2, "steering": {"3": 1.0}}
    [kept] = Profile.objects.import_file(ProfileFile.parse(flat), "replace")
    assert (kept.outcome, kept.profile.tags) == ("replaced", ["Sea", "calm water"])
    own = document(kept.profile)
    del own["profile"]["tags"]
    [emptied] = Profile.objects.import_file(ProfileFile.parse(own), "replace")
    assert (emptied.outcome, emptied.profile.tags) == ("replaced", [])


def test_a_copy_has_the_tags_and_a_version_brings_them_back(client: APIClient, tagged: Profile) -> None:
    assert client.post(f"{URL}/{tagged.pk}/duplicate").json()["tags"] == ["Sea", "calm water"]
    version = client.get(f"{URL}/{tagged.pk}/history").json()["results"][0]["version"]
    client.patch(f"{URL}/{tagged.pk}", {"tags": [], "notes": "x"}, format="json")
    difference = client.get(f"{URL}/{tagged.pk}/diff?against={version}").json()["changed"]
    assert difference == [
        {"field": "tags", "before": [], "after": ["Sea", "calm water"]},
        {"field": "notes", "before": "x", "after": ""},
    ]
    restored = client.post(f"{URL}/{tagged.pk}/restore", {"version": version}).json()
    assert (restored["tags"], restored["notes"]) == (["Sea", "calm water"], "")


def test_the_history_page_shows_the_tags_that_a_version_changed(admin_client: Client, tagged: Profile) -> None:
    assert "<ins>Sea, calm water</ins>" in admin_client.get(f"{LIST}{tagged.pk}/history/").content.decode()


def test_rows_that_the_version_before_inserts_have_no_tags_and_no_notes(tagged: Profile) -> None:
    """Webs of the version before run beside this one, and know neither column."""
    columns = "model_id, sae_id, layer, sae_fingerprint, strengths, more, created_at, updated_at"
    with connection.cursor() as cursor:
        cursor.execute(
            f"INSERT INTO profiles_profile (id, name, is_active, {columns}) "
            f"SELECT 'prof_old', 'old', false, {columns} FROM profiles_profile"
        )
        cursor.execute(
            f"INSERT INTO profiles_historicalprofile "
            f"(id, name, is_active, door, agent, history_date, history_type, {columns}) "
            f"SELECT id, name, false, 'api', '', now(), '+', {columns} FROM profiles_profile WHERE id = 'prof_old'"
        )
    old = Profile.objects.get(pk="prof_old")
    assert (old.tags, old.notes, old.strongest) == ([], "", 4.0)
    [version] = Profile.history.filter(id="prof_old")
    assert (version.tags, version.notes) == ([], "")


def test_the_filter_by_tag_can_use_its_index(profile: Profile) -> None:
    with connection.cursor() as cursor:
        cursor.execute("SET LOCAL enable_seqscan = off")
        plan = Profile.objects.with_tags(["Sea"]).order_by().explain()
    assert "profile_tags" in plan
