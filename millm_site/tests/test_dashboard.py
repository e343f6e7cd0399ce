"""The dashboard as the server makes it: what it shows to whom, what is away, the switch, few queries."""

import json
import re

import pytest
import redis
from asgiref.sync import async_to_sync
from django.contrib.auth.models import Permission, User
from django.db import OperationalError
from django.test import Client
from pytest_django import DjangoAssertNumQueries

from inference.broker import connections, counters, heartbeats
from inference.models import LanguageModel
from inference.tests.conftest import free_port, say
from profiles.models import Profile
from profiles.tests.conftest import model, profile, sae
from steering.models import SAE, FeatureLabel, SteeringState

__all__ = ["model", "profile", "sae"]  # fixtures

PAGE, PARTS = "/admin/", "/admin/dashboard/parts"
OFFERED, ACTIVATE, DEACTIVATE = "/admin/dashboard/profiles", "/admin/dashboard/activate", "/admin/dashboard/deactivate"
MOST_QUERIES = 13

pytestmark = pytest.mark.usefixtures("own_redis")


def text(client: Client, path: str = PAGE) -> str:
    """What a page says, without its markup."""
    return words(client.get(path).content.decode())


def words(html: str) -> str:
    return " ".join(re.sub(r"<(script|style).*?</\1>|<[^>]+>", " ", html, flags=re.DOTALL).split())


def staff(*permissions: str) -> Client:
    user = User.objects.create_user("somebody", is_staff=True)
    for permission in permissions:
        app, codename = permission.split(".")
        user.user_permissions.add(Permission.objects.get(content_type__app_label=app, codename=codename))
    client = Client()
    client.force_login(user)
    return client


def test_it_shows_what_is_served_and_what_steers(admin_client: Client, profile: Profile) -> None:
    FeatureLabel.objects.create(sae_id="tiny-sae", index=3, label="whales", source="test")
    profile.activate()
    beat = heartbeats.Heartbeat("one@host:1a2b3c", "tiny", "ready", "cuda:0", 3, 2, 16, 9, 3 * 2**30, 2**31)
    heartbeats.write_heartbeat(beat)
    connections.connection.rpush(LanguageModel(name="tiny").queue, "a", "b", "c", "d")
    told = text(admin_client)
    assert "tiny READY".lower() in told.lower()
    assert "attached at layer 2, 100 features" in told
    assert "ocean active Deactivate" in told
    [link] = re.findall(r'id="dashboard-active-link" href="([^"]*)"', admin_client.get(PAGE).content.decode())
    assert admin_client.get(link).status_code == 200
    assert "3: +4 — whales" in told
    assert "7: -1.5" in told
    assert "Requests are steered by 2 features of tiny-sae, at layer 2 of tiny, as set by profile ocean." in told
    assert "one@host ready tiny transformers cuda:0 3.0" in told
    assert "2.0 GB on the GPU 3 of 16 2" in told.replace("\xa0", " ")
    assert "4 requests for tiny are waiting for a free worker" in told
    assert "http://testserver/v1" in told
    assert "No worker" not in told


def test_what_is_not_there_is_told_with_what_to_do(admin_client: Client) -> None:
    page = admin_client.get(PAGE)
    told = words(page.content.decode())
    assert "No model is loaded: no request can be answered. Load one" in told
    assert "No SAE is attached: profiles and the live steering need one. Attach one" in told
    assert "No profile is active." in told
    assert "No worker runs: no request can be answered now. Start one" in told
    assert 'href="/admin/inference/languagemodel/"' in page.content.decode()


def test_a_model_tells_how_far_it_is_and_what_went_wrong(admin_client: Client, model: LanguageModel) -> None:
    say(model, "downloading", 0.254)
    assert "25 %" in text(admin_client, PARTS)
    say(model, "error", error="tiny cannot be served: no weights")
    assert "tiny cannot be served: no weights" in text(admin_client, PARTS)


def test_a_worker_that_has_no_model_ready_is_told(admin_client: Client, model: LanguageModel) -> None:
    heartbeats.write_heartbeat(heartbeats.Heartbeat("w:1", "", "idle", "", 0, 0, 0, 0))
    assert "No worker has loaded tiny" in text(admin_client, PARTS)


@pytest.mark.parametrize("path", [PAGE, PARTS])
def test_redis_away_is_told_in_plain_words(
    admin_client: Client, profile: Profile, monkeypatch: pytest.MonkeyPatch, path: str
) -> None:
    away = redis.Redis.from_url(f"redis://127.0.0.1:{free_port()}", decode_responses=True)
    monkeypatch.setattr(connections, "connection", away)
    page = admin_client.get(path)
    told = words(page.content.decode())
    assert page.status_code == 200
    assert "Redis does not answer: no request can be answered now" in told
    assert told.count("unknown while Redis is unavailable") == 3
    assert "tiny" in told


def test_a_database_that_does_not_answer_is_told(admin_client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    def away(*args: object) -> None:
        raise OperationalError("the connection is lost")

    monkeypatch.setattr(LanguageModel.objects, "current", away)
    page = admin_client.get(PAGE)
    assert page.status_code == 503
    assert "PostgreSQL does not answer" in page.content.decode()


def test_a_live_steering_that_was_changed_by_hand_is_told(admin_client: Client, profile: Profile) -> None:
    profile.activate()
    assert "was changed since" not in text(admin_client, PARTS)
    SteeringState.objects.load().set_features({7: 2.0})
    assert "The live steering was changed by hand since" in text(admin_client, PARTS)


def test_the_strongest_features_are_shown_and_how_many_more_there_are(admin_client: Client, sae: SAE) -> None:
    SteeringState.objects.load().replace({index: index / 10 for index in range(1, 61)})
    told = text(admin_client, PARTS)
    assert "60: +6 59: +5.9" in told
    assert "and 36 more" in told
    assert "36: +3.6" not in told


def test_the_latest_changes_are_told_with_who_and_by_which_door(admin_client: Client, profile: Profile) -> None:
    admin_client.post(ACTIVATE, {"profile": "ocean"})
    told = text(admin_client, PARTS)
    assert "ocean : activated admin, in the admin, just now" in told
    assert "Live steering : profile ocean was activated admin, in the admin," in told
    page = admin_client.get(PARTS).content.decode()
    [link] = re.findall(r'href="(/admin/profiles/[^"]*history/)" *>ocean</a>:\s+activated', page)
    assert admin_client.get(link).status_code == 200


# --- the switch ---


def test_a_profile_is_activated_by_its_name_and_deactivated(admin_client: Client, profile: Profile) -> None:
    answer = words(admin_client.post(ACTIVATE, {"profile": " ocean "}).content.decode())
    assert "ocean active Deactivate" in answer
    assert Profile.objects.active() == profile
    answer = words(admin_client.post(DEACTIVATE, {"profile": profile.pk}).content.decode())
    assert "No profile is active." in answer
    assert Profile.objects.active() is None
    assert SteeringState.objects.load().strengths == {}


def test_what_the_switch_did_is_undone_from_its_message(admin_client: Client, profile: Profile) -> None:
    answer = admin_client.post(ACTIVATE, {"profile": "ocean"}).content.decode()
    assert "ocean was activated. Undo" in words(answer)
    [link] = re.findall(r'<a href="([^"]*/undo/[^"]*)" data-post', answer)
    assert "Undone: no profile is active" in text_after(admin_client, link)
    profile.activate()
    answer = admin_client.post(DEACTIVATE, {"profile": profile.pk}).content.decode()
    assert "ocean was deactivated. Undo" in words(answer)
    [link] = re.findall(r'<a href="([^"]*/undo/[^"]*)" data-post', answer)
    assert "Undone: ocean is active again" in text_after(admin_client, link)
    assert SteeringState.objects.load().strengths == profile.strengths


def text_after(client: Client, link: str) -> str:
    return words(client.post(link, follow=True, headers={"referer": "http://testserver/admin/"}).content.decode())


def test_what_is_refused_is_told_beside_the_field(admin_client: Client, profile: Profile) -> None:
    other = Profile.objects.create(name="other", model_id="huge", sae_id="tiny-sae", layer=2, strengths={1: 1.0})
    answer = admin_client.post(ACTIVATE, {"profile": other.name}).content.decode()
    [refusal] = re.findall(r'<div id="dashboard-refusal"[^>]*>(.*?)</div>', answer)
    assert refusal == "other does not fit. It is for the model huge, and tiny is loaded."
    answer = admin_client.post(ACTIVATE, {"profile": "<nobody>"}).content.decode()
    assert "There is no profile &#x27;&lt;nobody&gt;&#x27;." in answer
    assert "There is no profile gone." in admin_client.post(DEACTIVATE, {"profile": "gone"}).content.decode()
    assert Profile.objects.active() is None


def test_to_deactivate_a_profile_that_is_not_active_any_more_changes_nothing(
    admin_client: Client, profile: Profile
) -> None:
    later = profile.duplicate("later")
    later.activate()
    admin_client.post(DEACTIVATE, {"profile": profile.pk})
    assert Profile.objects.active() == later


def test_the_offered_profiles_are_few_fit_and_have_the_words(admin_client: Client, profile: Profile) -> None:
    for number in range(12):
        profile.duplicate(f"sea {number:02}")
    Profile.objects.create(name="sea of another model", model_id="huge", sae_id="tiny-sae", layer=2)
    profile.activate()
    found = admin_client.get(OFFERED, {"search": "SEA"}).json()
    assert found == {"names": [f"sea {number:02}" for number in range(8)], "has_more": True}
    assert admin_client.get(OFFERED, {"search": "11"}).json() == {"names": ["sea 11"], "has_more": False}
    assert admin_client.get(OFFERED, {"search": "ocean"}).json()["names"] == []  # it is the active one


# --- permissions ---


def test_who_may_see_nothing_sees_no_names(profile: Profile) -> None:
    FeatureLabel.objects.create(sae_id="tiny-sae", index=3, label="whales", source="test")
    profile.activate()
    heartbeats.write_heartbeat(heartbeats.Heartbeat("w@host:1", "tiny", "ready", "cpu", 0, 0, 16, 0))
    client = staff()
    for path in (PAGE, PARTS):
        page = client.get(path).content.decode()
        assert not re.search("tiny|ocean|whales|w@host", page)
    assert client.get(OFFERED).status_code == 403


def test_labels_are_for_those_who_may_read_them(profile: Profile) -> None:
    FeatureLabel.objects.create(sae_id="tiny-sae", index=3, label="whales", source="test")
    profile.activate()
    told = text(staff("steering.view_steeringstate"), PARTS)
    assert "3: +4" in told
    assert not re.search("tiny|ocean|whales", told)


def test_who_may_not_activate_has_no_switch_and_is_refused(profile: Profile) -> None:
    profile.activate()
    client = staff("profiles.view_profile")
    page = client.get(PAGE).content.decode()
    assert "ocean" in page
    assert "Deactivate" not in page
    assert "Activate a profile" not in page
    assert client.post(DEACTIVATE, {"profile": profile.pk}).status_code == 403
    assert client.post(ACTIVATE, {"profile": "ocean"}).status_code == 403
    assert Profile.objects.active() == profile


def test_who_may_activate_but_see_no_profile_is_refused(profile: Profile) -> None:
    assert staff("profiles.activate_profile").post(ACTIVATE, {"profile": "ocean"}).status_code == 403


@pytest.mark.parametrize("path", [PARTS, OFFERED, ACTIVATE, DEACTIVATE])
def test_nobody_sees_it_without_a_login(client: Client, db: None, path: str) -> None:
    assert client.get(path).status_code == 302
    assert client.post(path).status_code == 302


@pytest.mark.parametrize("path", [ACTIVATE, DEACTIVATE])
def test_a_change_is_posted_with_a_token(admin_client: Client, admin_user: User, path: str) -> None:
    assert admin_client.get(path).status_code == 405
    strict = Client(enforce_csrf_checks=True)
    strict.force_login(admin_user)
    assert strict.post(path).status_code == 403


# --- queries and charts ---


@pytest.mark.parametrize("path", [PAGE, PARTS])
def test_the_queries_are_few_however_much_there_is(
    admin_client: Client, profile: Profile, django_assert_max_num_queries: DjangoAssertNumQueries, path: str
) -> None:
    profile.activate()
    with django_assert_max_num_queries(MOST_QUERIES) as few:
        admin_client.get(path)
    for number in range(30):
        profile.duplicate(f"copy {number}")
        FeatureLabel.objects.create(sae_id="tiny-sae", index=number, label="word", source="test")
        heartbeats.write_heartbeat(heartbeats.Heartbeat(f"w{number}:1", "tiny", "ready", "cpu", 0, 0, 16, 0))
    SteeringState.objects.load().replace(dict.fromkeys(range(99), 1.0))
    with django_assert_max_num_queries(MOST_QUERIES) as many:
        admin_client.get(path)
    assert len(many.captured_queries) == len(few.captured_queries)


def test_the_charts_have_a_value_for_each_minute(admin_client: Client) -> None:
    assert counters.tokens_generated(120)
    async_to_sync(counters.request_ended)("refused", first_token_s=None)
    page = admin_client.get(PARTS).content.decode()
    [data] = re.findall(r'<script id="dashboard-data" type="application/json">(.*?)</script>', page)
    series = json.loads(data)
    assert [len(values) for values in series["requests"]] == [61, 61, 61, 61]
    assert [sum(filter(None, values)) for values in series["requests"]] == [0, 1, 0, 0]
    assert series["tokens"][0][-1] == pytest.approx(2, abs=0.1)
    assert set(series["first_token"][0]) == {None}
