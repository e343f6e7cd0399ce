"""Sweeps in the admin: the form, the page with charts and answers, what a viewer sees."""

from typing import Any

import pytest
from django.contrib.auth.models import User
from django.test import Client

from inference.models import LanguageModel
from inference.sweeps.models import Sweep, SweepCell
from inference.tests.test_models_admin import MODEL, READY, staff, text
from profiles.models import Profile
from steering.models import SAE, Feature

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("own_redis")]

SWEEPS = "/admin/inference/sweep/"
FORM: dict[str, Any] = {
    "varies": "profile",
    "profile": "ocean",
    "start": "0",
    "end": "1",
    "count": "3",
    "prompts": "One?\r\n\r\nTwo?\r\n",
    "chat": "on",
    "seeds": "1, 2",
    "words": "The\r\n sea",
    "max_tokens": "32",
    "temperature": "0.5",
    "top_p": "1",
}


@pytest.fixture
def sae() -> SAE:
    model = LanguageModel.objects.create(name="tiny", source="/tiny", **MODEL)
    model.make_current()
    made = SAE.objects.create(id="s", source="/sae", fingerprint="a" * 64, **READY)
    model.attach(made)
    Profile.objects.create_from(name="ocean", strengths={3: 4.0})
    return made


def send(client: Client, **fields: Any) -> Any:
    return client.post(f"{SWEEPS}add/", FORM | fields, follow=True)


def answered(sweep: Sweep, broken_from: float = 2.0) -> None:
    """Answers of a sweep; from this value on their perplexity is ten times as high."""
    for place in [*sweep.missing()]:
        value = sweep.values[place.value_at]
        SweepCell(
            sweep=sweep,
            **place._asdict(),
            text=f"The answer at {value} " + "on and " * 40,
            tokens=9,
            reason="stop",
            perplexity=50.0 if value >= broken_from else 5.0,
            repeats=0.01,
            words=[-1.0 - value] * len(sweep.words),
        ).store()
    Sweep.objects.update(status="done", due_at=None)


def test_the_form_makes_a_sweep_whose_page_shows_the_progress(admin_client: Client, sae: SAE) -> None:
    shown = text(send(admin_client))
    sweep = Sweep.objects.get()
    assert (sweep.values, sweep.prompts, sweep.seeds) == ([0.0, 0.5, 1.0], ["One?", "Two?"], [1, 2])
    assert (sweep.words, sweep.chat, sweep.max_tokens) == (["The", " sea"], True, 32)
    assert sweep.sampling["temperature"] == 0.5
    assert f"Sweep {sweep.pk} is queued: it runs behind the requests of users." in shown
    assert f'data-in-progress="{sweep.pk}"' in shown
    assert "Waiting for a worker" in shown
    listed = text(admin_client.get(SWEEPS))
    assert "Intensity of ocean" in listed
    assert "3 values from 0 to 1; 12 answers of tiny" in listed
    answered(sweep, broken_from=1.0)
    panel = text(admin_client.get(f"{SWEEPS}progress/", {"id": str(sweep.pk), "part": "panel"}))
    assert "12 of 12" in panel
    assert "By this rule it is broken at: 1." in panel
    assert panel.count("sweep-point-broken") == 4  # one in each chart
    assert "10.00 ×" in panel
    assert "data-in-progress" not in panel
    assert panel.count("<details>") == 12
    assert "Log-probability of “ sea”" in panel


def test_a_value_with_a_single_answer_is_not_judged(admin_client: Client, sae: SAE) -> None:
    form = text(admin_client.get(f"{SWEEPS}add/"))
    assert "A value is judged from 3 answers on" in form
    send(admin_client, prompts="One?", seeds="1")
    sweep = Sweep.objects.get()
    answered(sweep, broken_from=1.0)
    page = text(admin_client.get(f"{SWEEPS}{sweep.pk}/change/"))
    assert page.count("one answer, too few to judge") == 2  # at 0.5 and 1, not at the reference
    assert "This sweep asks for 1 answer a value, too few to judge" in " ".join(page.split())
    assert "By this rule it is broken at" not in page
    assert "sweep-point-broken" not in page


def test_other_values_take_the_place_of_the_range_and_texts_are_continued(admin_client: Client, sae: SAE) -> None:
    fields = {name: value for name, value in FORM.items() if name != "chat"}
    admin_client.post(f"{SWEEPS}add/", fields | {"values": "0.25; 2"})
    sweep = Sweep.objects.get()
    assert (sweep.values, sweep.chat) == ([0.0, 0.25, 2.0], False)


def test_the_links_of_a_profile_and_of_a_feature_fill_the_form(admin_client: Client, sae: SAE) -> None:
    profile = Profile.objects.get()
    page = text(admin_client.get(f"/admin/profiles/profile/{profile.pk}/change/"))
    assert "Sweep …" in page
    form = text(admin_client.get(f"/admin/profiles/profile/{profile.pk}/sweep/", follow=True))
    assert 'value="ocean"' in form
    Feature.objects.create(sae=sae, index=7, maximum=12.345, statistics_source="measured")
    form = text(admin_client.get(f"{SWEEPS}add/", {"sae": "s", "feature": "7"}))
    for filled in ('name="feature" value="7"', 'name="sae" value="s"', 'name="end" value="12.0"'):
        assert filled in " ".join(form.split()), filled
    send(admin_client, varies="feature", profile="", feature="7", sae="s", start="-2", end="2", count="2")
    assert Sweep.objects.get().subject == "strength of feature 7 of s"


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"profile": "none"}, "there is no profile &#x27;none&#x27;"),
        ({"profile": ""}, "Enter a profile."),
        ({"varies": "feature"}, "Enter the index of a feature."),
        ({"varies": "feature", "feature": "100"}, "got 100, and s has 100 features"),
        ({"end": "3"}, "got 3.0, expected a finite number from 0 to 2"),
        ({"end": ""}, "got None, expected a number"),
        ({"values": "1 two"}, "got &#x27;two&#x27;, expected a number"),
        ({"prompts": " "}, "got 0, expected 1 to 50"),
        ({"prompts": "x\n" * 51}, "got 51, expected 1 to 50"),
        ({"seeds": "one"}, "got &#x27;one&#x27;, expected an integer from 0 to 4294967295"),
        ({"seeds": ""}, "This field is required."),
        ({"words": "a\na"}, "got a word twice"),
        ({"temperature": "3"}, "at most 2"),
    ],
)
def test_a_wrong_field_has_its_error_and_nothing_is_made(
    admin_client: Client, sae: SAE, fields: dict[str, str], message: str
) -> None:
    assert message in text(send(admin_client, **fields))
    assert not Sweep.objects.exists()


def test_a_sweep_is_cancelled_resumed_and_deleted(admin_client: Client, sae: SAE) -> None:
    send(admin_client)
    sweep = Sweep.objects.get()
    page = f"{SWEEPS}{sweep.pk}/change/"
    cancelled = text(admin_client.post(f"{SWEEPS}{sweep.pk}/cancel/", {"next": page}, follow=True))
    assert f"Cancelled sweep {sweep.pk}; its answers so far are kept." in cancelled
    resumed = text(admin_client.post(f"{SWEEPS}{sweep.pk}/resume/", {"next": page}, follow=True))
    assert f"Resumed sweep {sweep.pk}." in resumed
    assert "with 0 answers" in text(admin_client.get(f"{SWEEPS}{sweep.pk}/delete/"))
    admin_client.post(f"{SWEEPS}{sweep.pk}/delete/", {"post": "yes"})
    assert not Sweep.objects.exists()
    assert "doesn’t exist" in text(admin_client.get(page, follow=True))


def test_an_error_of_an_answer_is_in_its_cell(admin_client: Client, sae: SAE) -> None:
    send(admin_client)
    sweep = Sweep.objects.get()
    first = next(sweep.missing())
    SweepCell(sweep=sweep, **first._asdict(), error="too long <b>").store()
    page = text(admin_client.get(f"{SWEEPS}{sweep.pk}/change/"))
    assert "too long &lt;b&gt;" in page
    assert "1 with an error" in page


def test_a_viewer_sees_sweeps_and_changes_none(sae: SAE, admin_user: User) -> None:
    admin = Client()
    admin.force_login(admin_user)
    send(admin)
    sweep, viewer = Sweep.objects.get(), staff("view_profile")
    page = text(viewer.get(f"{SWEEPS}{sweep.pk}/change/"))
    assert "Effects" in page
    assert "formaction" not in page
    assert "Delete this sweep" not in page
    assert viewer.get(SWEEPS).status_code == 200
    assert viewer.get(f"{SWEEPS}add/").status_code == 403
    assert viewer.post(f"{SWEEPS}{sweep.pk}/change/").status_code == 405
    for action in ("cancel", "resume", "delete"):
        assert viewer.post(f"{SWEEPS}{sweep.pk}/{action}/").status_code == 403
    blind = staff("view_sae")
    assert blind.get(SWEEPS).status_code == blind.get(f"{SWEEPS}{sweep.pk}/change/").status_code == 403


def test_a_page_of_a_large_sweep_needs_few_queries(
    admin_client: Client, sae: SAE, django_assert_max_num_queries: Any
) -> None:
    send(admin_client, count="50", prompts="\n".join(map(str, range(10))), seeds="1 2")
    sweep = Sweep.objects.get()
    answered(sweep)
    with django_assert_max_num_queries(25):
        assert text(admin_client.get(f"{SWEEPS}{sweep.pk}/change/")).count("<details>") == 1000
