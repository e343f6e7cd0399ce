"""Setups in the admin, through REST and by command: who may go back, what is shown first, and the outcome."""

import json
from io import StringIO
from typing import Any

import pytest
from django.contrib.auth import get_user_model
from django.contrib.auth.models import Permission
from django.core.management import CommandError, call_command
from django.test import Client
from rest_framework.test import APIClient

from inference.models import LanguageModel
from inference.setups.models import Setup
from inference.tests.conftest import say
from profiles.models import Profile
from steering.models import SAE, SteeringState

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("own_redis")]

MODELS = "/admin/inference/languagemodel/"
SHAPE = {"d_model": 16, "num_layers": 4, "context_length": 512}
READY = {"status": "ready", "d_in": 16, "d_sae": 100, "layer": 2, "hook_name": "blocks.2.hook_resid_post"}
BACK = "Back to the previous setup"
WORDS = "model first with SAE s and profile ocean"


@pytest.fixture
def second() -> LanguageModel:
    """Current; the previous setup is of `first`, with an SAE and a profile."""
    first = LanguageModel.objects.create(name="first", source="/first", **SHAPE)
    made = LanguageModel.objects.create(name="second", source="/second", **SHAPE)
    first.load()
    first.attach(SAE.objects.create(id="s", source="/sae", **READY))
    Profile.objects.create_from(name="ocean", strengths={3: 4.0}).activate()
    made.load()
    return made


def setup() -> Setup:
    found = Setup.objects.before()
    assert found
    return found


def page_of(kept: Setup) -> str:
    return f"{MODELS}setups/{kept.pk}/restore/"


def with_permissions(*names: str) -> Any:
    user = get_user_model().objects.create_user("u" + "-".join(names)[:100], is_staff=True)
    user.user_permissions.set(Permission.objects.filter(codename__in=names))
    return user


def staff(*permissions: str) -> Client:
    client = Client()
    client.force_login(with_permissions(*permissions))
    return client


def text(answer: Any) -> str:
    return str(answer.content.decode())


ALL_OF_IT = ["change_languagemodel", "change_sae", "activate_profile"]
SEES_IT = ["view_languagemodel", "view_sae", "view_profile"]


# --- the admin ---


def test_the_message_after_a_load_leads_back(admin_client: Client, second: LanguageModel) -> None:
    third = LanguageModel.objects.create(name="third", source="/third", **SHAPE)
    told = text(admin_client.post(f"{MODELS}{third.pk}/load/", {"confirmed": "yes"}, follow=True))
    kept = setup()
    assert kept.model_name == "second"
    assert f'<a href="{page_of(kept)}" data-post' in told
    assert BACK in told
    back = text(admin_client.post(page_of(kept), follow=True))
    assert "Back to model second." in back
    assert f'<a href="{page_of(setup())}" data-post' in back, "going back can be undone"
    assert LanguageModel.objects.current() == second


def test_the_list_of_models_has_the_previous_setups(admin_client: Client, second: LanguageModel) -> None:
    shown = text(admin_client.get(MODELS))
    assert "Model first with SAE s and profile ocean" in shown
    assert "dtype auto, device auto" in shown
    assert "model second was loaded" in shown
    assert f'href="{page_of(setup())}"' in shown
    setup().restore()
    second.delete()
    assert "Model second was deleted" in text(admin_client.get(MODELS))


def test_setups_that_differ_in_their_load_options_alone_are_told_apart(
    admin_client: Client, second: LanguageModel
) -> None:
    Setup.objects.create(model_name="first", source="/first", dtype="bfloat16", device="cuda:0", why="it was loaded")
    Setup.objects.create(model_name="first", source="/first", dtype="bfloat16", device="auto", why="it was loaded")
    shown = text(admin_client.get(MODELS))
    assert "Model first (bfloat16, cuda:0)" in shown
    assert "Model first (bfloat16)<" in shown
    assert "dtype bfloat16, device cuda:0" in shown


def test_the_page_of_a_failed_load_and_the_dashboard_lead_back(admin_client: Client, second: LanguageModel) -> None:
    page = f"{MODELS}{second.pk}/change/"
    assert BACK not in text(admin_client.get(page))
    say(second, "error", error="it is broken")
    for shown in (page, "/admin/"):
        told = text(admin_client.get(shown))
        assert BACK in told, shown
        assert page_of(setup()) in told
    second.unload()
    assert BACK in text(admin_client.get("/admin/")), "also where no model is current"


def test_what_ends_is_confirmed_first(admin_client: Client, second: LanguageModel) -> None:
    say(second, "ready")
    page = page_of(setup())
    asked = text(admin_client.post(page))
    assert f"Go back to {WORDS}?" in asked
    assert "Model second answers, unsteered, until first is ready, where the memory holds both" in asked
    assert LanguageModel.objects.current() == second
    [seen] = [line.split('"')[-2] for line in asked.splitlines() if 'name="confirmed"' in line]
    told = text(admin_client.post(page, {"confirmed": seen}, follow=True))
    assert f"Back to {WORDS}. Model second answers, unsteered, until first is ready" in told
    assert Profile.objects.active() is not None


def test_what_is_missing_is_confirmed_first_and_again_when_more_is_missing(
    admin_client: Client, second: LanguageModel
) -> None:
    kept = setup()
    page = page_of(kept)
    Profile.objects.get().delete()
    asked = text(admin_client.post(page))
    assert "Profile ocean cannot be restored: it was deleted." in asked
    assert "A part of it cannot be restored" in asked
    [seen] = [line.split('"')[-2] for line in asked.splitlines() if 'name="confirmed"' in line]
    SAE.objects.get().delete()
    again = text(admin_client.post(page, {"confirmed": seen}))
    assert "SAE s cannot be restored: it was deleted." in again
    assert LanguageModel.objects.current() == second
    [seen] = [line.split('"')[-2] for line in again.splitlines() if 'name="confirmed"' in line]
    told = text(admin_client.post(page, {"confirmed": seen}, follow=True))
    assert "Profile ocean cannot be restored" in told
    assert str(Setup.objects.now()) == "model first"


def test_a_setup_that_is_gone_is_said_to_be_so(admin_client: Client, second: LanguageModel) -> None:
    page = page_of(setup())
    LanguageModel.objects.get(name="first").delete()
    told = text(admin_client.post(page, follow=True))
    assert "Nothing was changed: the model first of /first is not registered" in told
    Setup.objects.all().delete()
    assert "there is no setup" in text(admin_client.post(page, follow=True))
    assert admin_client.get(page).status_code == 405


@pytest.mark.parametrize("lacks", ALL_OF_IT + SEES_IT)
def test_going_back_needs_the_permissions_of_all_its_steps(second: LanguageModel, lacks: str) -> None:
    client = staff(*{*ALL_OF_IT, *SEES_IT} - {lacks})
    if lacks != "view_languagemodel":
        assert page_of(setup()) not in text(client.get(MODELS))
    assert client.post(page_of(setup()), {"confirmed": "yes"}).status_code == 403
    assert LanguageModel.objects.current() == second


def test_who_has_them_may_go_back(second: LanguageModel) -> None:
    client = staff(*ALL_OF_IT, *SEES_IT)
    assert page_of(setup()) in text(client.get(MODELS))
    assert client.post(page_of(setup())).status_code == 302
    assert Profile.objects.active() is not None


# --- REST ---


def api(*permissions: str) -> APIClient:
    client = APIClient()
    client.force_authenticate(with_permissions(*permissions))
    return client


def test_rest_lists_and_restores(second: LanguageModel) -> None:
    client = api(*ALL_OF_IT, *SEES_IT)
    [listed] = client.get("/api/setups").data
    assert (listed["model"], listed["saes"], listed["profile"]["name"], listed["steering"], listed["missing"]) == (
        "first",
        [{"id": "s", "also": False}],
        "ocean",
        None,
        [],
    )
    assert listed["why"] == "model second was loaded"
    done = client.post(f"/api/setups/{listed['id']}/restore")
    assert done.status_code == 200, done.data
    assert (done.data["model"]["name"], done.data["missing"]) == ("first", [])
    assert client.post(f"/api/setups/{listed['id']}/restore").data["code"] == "setup_not_found"
    assert [one["model"] for one in client.get("/api/setups").data] == ["second"]


def test_rest_names_what_is_missing_and_restores_the_rest_where_it_is_asked_to(second: LanguageModel) -> None:
    client = api(*ALL_OF_IT, *SEES_IT)
    page = f"/api/setups/{setup().pk}/restore"
    Profile.objects.get().delete()
    refused = client.post(page)
    missing = ["Profile ocean cannot be restored: it was deleted."]
    assert (refused.status_code, refused.data["code"], refused.data["missing"]) == (409, "setup_incomplete", missing)
    assert client.post(page, {"some": True}).status_code == 400
    assert client.post(page, {"partly": True}).data["missing"] == missing


@pytest.mark.parametrize("lacks", ALL_OF_IT)
def test_rest_needs_the_permissions_of_all_steps(second: LanguageModel, lacks: str) -> None:
    client = api(*{*ALL_OF_IT, *SEES_IT} - {lacks})
    assert client.post(f"/api/setups/{setup().pk}/restore").status_code == 403


@pytest.mark.parametrize("lacks", SEES_IT)
def test_rest_lists_what_the_user_may_view(second: LanguageModel, lacks: str) -> None:
    answer = api(*{*ALL_OF_IT, *SEES_IT} - {lacks}).get("/api/setups")
    assert answer.status_code == 403 if lacks == "view_languagemodel" else answer.data == []


def test_live_steering_by_hand_needs_its_permission(second: LanguageModel) -> None:
    setup().restore()
    SteeringState.objects.load().set_features({5: 1.0})
    second.load()
    page = f"/api/setups/{setup().pk}/restore"
    assert api(*ALL_OF_IT, *SEES_IT).post(page).status_code == 403
    client = api(*ALL_OF_IT, *SEES_IT, "view_steeringstate", "change_steeringstate")
    assert client.get("/api/setups").data[0]["steering"] == {"enabled": True, "features": 2}
    assert client.post(page).status_code == 200
    assert SteeringState.objects.load().strengths == {3: 4.0, 5: 1.0}


# --- commands ---


def run(*words: str) -> tuple[str, str]:
    """stdout and stderr."""
    out, told = StringIO(), StringIO()
    call_command(*words, stdout=out, stderr=told)
    return out.getvalue(), told.getvalue()


def test_commands_list_and_restore(second: LanguageModel) -> None:
    kept = setup()
    line = run("list_setups")[0].rstrip("\n").split("\t")
    assert line[:6] == [str(kept.pk), "first", "auto", "auto", "s", "ocean"]
    assert line[7:] == ["model second was loaded", ""]
    assert json.loads(run("list_setups", "--json")[0])["profile"]["name"] == "ocean"
    out, told = run("restore_setup")
    assert (out, told) == ("queued\n", f"Back to {WORDS}.\n")
    run("restore_setup", str(setup().pk))
    assert LanguageModel.objects.current() == second


def test_the_command_needs_a_word_to_leave_something_out(second: LanguageModel) -> None:
    SAE.objects.get().delete()
    with pytest.raises(CommandError, match=r"SAE s cannot be restored: it was deleted.*Use --partly"):
        run("restore_setup")
    assert LanguageModel.objects.current() == second
    assert "SAE s cannot be restored" in run("restore_setup", "--partly")[1]


def test_the_command_says_that_there_is_nothing_to_go_back_to() -> None:
    with pytest.raises(CommandError, match="there is no previous setup"):
        run("restore_setup")
    with pytest.raises(CommandError, match="there is no setup 7"):
        run("restore_setup", "7")
