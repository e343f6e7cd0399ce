"""The playground's page and what it asks while it is open."""

from typing import Any

import pytest
from django.contrib.auth import get_user_model
from django.contrib.auth.models import Permission
from django.test import Client

from inference.admin.playground import MAX_OFFERED
from inference.models import LanguageModel
from inference.tests.conftest import Server
from inference.tests.test_admin_chat import session
from profiles.current import detach_sae
from profiles.models import Profile
from steering.models import SAE, SteeringState

PAGE = "/admin/playground/"
NOW = "/admin/playground/now"


@pytest.fixture
def viewer(client: Client, demo: LanguageModel) -> Client:
    """Staff without any permission."""
    client.force_login(get_user_model().objects.create_user("viewer", password="x", is_staff=True))
    return client


def now(client: Client, search: str = "") -> Any:
    return client.get(NOW, {"search": search}).json()


def many(count: int, **fields: Any) -> None:
    sae = SAE.objects.get()
    made_for = {"model_id": "demo", "sae_id": sae.id, "layer": sae.layer, "strengths": {1: 1.0}} | fields
    Profile.objects.bulk_create([Profile(name=f"many {number:06}", **made_for) for number in range(count)])


def test_nobody_is_sent_to_the_login(client: Client, db: None) -> None:
    for path in (PAGE, NOW):
        assert client.get(path)["Location"].startswith("/admin/login/")


def test_the_page_opens_for_whoever_may_log_in(viewer: Client) -> None:
    page = viewer.get(PAGE)
    assert page.status_code == 200
    assert page.context["page"]["settings"]["max_tokens"] == 256
    assert 'name="temperature"' in page.content.decode()


def test_profiles_that_do_not_fit_are_not_offered(viewer: Client) -> None:
    Profile.objects.create(name="foreign ocean", model_id="gpt2")
    many(1, sae_fingerprint="other")
    assert now(viewer)["profiles"] == [
        *("city", "forest", "kitchen", "music"),
        *("ocean", "space", "sports", "winter"),
    ]
    assert now(viewer, "OCEAN")["profiles"] == ["ocean"]
    assert now(viewer, "nothing like it")["profiles"] == []


def test_the_active_profile_is_offered_first(viewer: Client) -> None:
    Profile.objects.get(name="ocean").activate()
    told = now(viewer)
    assert told["profiles"][0] == told["active"] == "ocean"
    assert told["live"] == "set by ocean"
    SteeringState.objects.load().set_features({7: 1.0, 8: 2.0})
    count = len(SteeringState.objects.load().strengths)
    assert now(viewer)["live"] == f"{count} features"
    SteeringState.objects.load().disable()
    assert now(viewer)["live"] == "currently off"


def test_the_model_and_the_sae_are_named_with_their_fingerprints(server: Server, viewer: Client) -> None:
    sae = SAE.objects.get()
    body = {"model": "demo", "messages": [{"role": "user", "content": "?"}], "max_tokens": 1}
    with session(server, get_user_model().objects.get(username="viewer")) as browser:
        unsteered = browser.post("/admin/chat/completions", json=body | {"steering": {"features": {}}}).json()
    told = now(viewer)
    assert told["fingerprint"] == unsteered["system_fingerprint"]
    assert told["sae"] == {**sae.for_table(), "fingerprint": sae.fingerprint}
    detach_sae()
    assert now(viewer)["sae"] is None


def test_the_default_preset_is_the_models_own_sampling(viewer: Client, demo: LanguageModel) -> None:
    assert now(viewer)["presets"]["default"] == {"temperature": 1.0, "top_p": 1.0}
    LanguageModel.objects.filter(pk=demo.pk).update(sampling_defaults={"temperature": 0.6, "top_k": 20})
    presets = now(viewer)["presets"]
    assert presets["default"] == {"temperature": 0.6, "top_p": 1.0}
    assert presets["greedy"]["temperature"] == 0
    page = viewer.get(PAGE).context["page"]
    assert page["settings"]["temperature"] == presets["default"]["temperature"]


def test_labels_are_offered_and_profiles_saved_by_whoever_may(viewer: Client) -> None:
    page = viewer.get(PAGE)
    assert not page.context["features"]["options"]["search"]
    assert "Save as profile" not in page.content.decode()
    user = get_user_model().objects.get(username="viewer")
    user.user_permissions.set(Permission.objects.filter(codename__in=["view_featurelabel", "add_profile"]))
    page = viewer.get(PAGE)
    assert page.context["features"]["options"]["search"]
    assert "Save as profile" in page.content.decode()


def test_a_pane_takes_the_document_of_a_profile(viewer: Client) -> None:
    ocean = Profile.objects.get(name="ocean")
    assert viewer.get(f"{PAGE}profile", {"name": "ocean"}).status_code == 403
    user = get_user_model().objects.get(username="viewer")
    user.user_permissions.set(Permission.objects.filter(codename="view_profile"))
    told = viewer.get(f"{PAGE}profile", {"name": "ocean"}).json()
    assert told == {"features": {str(index): value for index, value in ocean.strengths.items()}, "more": {}}
    refused = viewer.get(f"{PAGE}profile", {"name": "nobody"})
    assert (refused.status_code, refused.json()["detail"]) == (404, "there is no profile 'nobody'")


def test_as_many_answers_are_asked_as_the_server_gives(viewer: Client, settings: Any) -> None:
    assert viewer.get(PAGE).context["form"].fields["n"].max_value == settings.INFERENCE_MAX_CHOICES


def test_a_model_that_no_worker_has_is_told(viewer: Client, demo: LanguageModel) -> None:
    demo.unload()
    told = now(viewer)
    assert (told["model"], told["profiles"]) == (None, [])
    assert told["problem"] == "No model is loaded, so messages cannot be answered yet."
    assert viewer.get(PAGE).status_code == 200
    other = LanguageModel.objects.create(name="other", source="/x", d_model=8, num_layers=1, context_length=64)
    other.make_current()
    assert now(viewer)["problem"] == "No worker has other ready: it is queued."


def test_many_profiles_are_offered_bit_by_bit(viewer: Client, django_assert_max_num_queries: Any) -> None:
    many(2000)
    with django_assert_max_num_queries(9):
        told = now(viewer)
    assert len(told["profiles"]) == MAX_OFFERED
    assert told["has_more"]
    assert now(viewer, "many 001999")["profiles"] == ["many 001999"]
    with django_assert_max_num_queries(10):
        assert len(viewer.get(PAGE).content) < 100_000
