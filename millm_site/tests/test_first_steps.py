"""The card of the dashboard for a new user: its steps, its terms, and when it is shown no longer."""

import pytest
from django.contrib.auth.models import Group, User
from django.test import Client, RequestFactory

from inference.models import LanguageModel
from millm_site.accounts.groups import make_groups
from millm_site.pages.first_steps import note_answer
from millm_site.tests.test_dashboard import text
from profiles.tests.conftest import model, sae
from steering.models import SAE

__all__ = ["model", "sae"]  # fixtures
pytestmark = pytest.mark.usefixtures("own_redis")

PLAYGROUND, LIVE, REGISTER = "Ask the model in the playground", "Move a slider of Live steering", "Register a model"
DISMISS = "/admin/dashboard/first-steps/dismiss"


def member(group: str) -> Client:
    make_groups()
    user = User.objects.create_user(f"one of {group}", is_staff=True)
    user.groups.add(Group.objects.get(name=group))
    client = Client()
    client.force_login(user)
    return client


def test_a_new_user_sees_three_steps_and_the_terms(admin_client: Client) -> None:
    shown = text(admin_client)
    assert all(step in shown for step in (PLAYGROUND, LIVE, REGISTER))
    assert all(f"{term} " in shown for term in ("Model", "SAE", "Feature", "Profile", "Live steering"))
    assert "(done)" not in shown


def test_a_viewer_sees_only_what_a_viewer_may_do(db: None) -> None:
    shown = text(member("Viewers"))
    assert PLAYGROUND in shown
    assert LIVE not in shown
    assert REGISTER not in shown


def test_the_card_is_gone_when_all_steps_are_done(admin_client: Client, admin_user: User, sae: SAE) -> None:
    request = RequestFactory().post("/admin/chat/completions")
    request.user = admin_user
    note_answer(request)
    note_answer(request)
    assert text(admin_client).count("(done)") == 2  # the fixture has registered a model
    admin_client.post("/admin/steering/steeringstate/do/set/", {"features": '{"3": 1}', "sae": sae.pk})
    assert "First steps" not in text(admin_client)
    LanguageModel.objects.filter(name="tiny").update(name="demo")
    assert "First steps" not in text(admin_client), "it does not come back"


def test_it_is_dismissed_for_one_user(admin_client: Client) -> None:
    other = member("Viewers")
    assert admin_client.get(DISMISS).status_code == 405
    assert admin_client.post(DISMISS).status_code == 200
    assert "First steps" not in text(admin_client)
    assert "First steps" in text(other)
