"""The page of a feature in the admin: what it shows to whom, and the label that is edited there."""

from typing import Any

import pytest
from django.contrib.auth import get_user_model
from django.contrib.auth.models import Permission
from django.test import Client

from inference.models import LanguageModel
from inference.tests.conftest import Server
from profiles.models import Profile
from steering.models import SAE, EditedLabel, Feature, FeatureExample, FeatureLabel

PAGE = "/admin/steering/sae/demo-sae/features/8/"


@pytest.fixture
def sae(server: Server) -> SAE:
    """The demo's SAE with facts about feature 8; the feature has one label, of the source "other"."""
    sae = SAE.objects.get(pk="demo-sae")
    for rows in (Feature, FeatureExample, FeatureLabel):
        rows.objects.filter(sae=sae).delete()
    histogram = {"edges": [0.0, 1.0, 2.0, 4.0], "counts": [1000, 10, 0]}
    statistics: dict[str, Any] = {"maximum": 3.98765, "density": 0.0125, "mean": 0.5, "histogram": histogram}
    Feature.objects.create(sae=sae, index=8, statistics_source="measured", **statistics)
    FeatureExample.objects.create(
        sae=sae, index=8, source="measured", rank=0, tokens=["a", "\n", "<b>"], values=[0.0, 1.0, 3.9], maximum=3.9
    )
    FeatureLabel.objects.create(sae=sae, index=8, label="other's <label>", source="other")
    return sae


def client_with(*permissions: str) -> Client:
    user = get_user_model().objects.create_user("someone", is_staff=True)
    user.user_permissions.set(Permission.objects.filter(codename__in=permissions))
    client = Client()
    client.force_login(user)
    return client


def test_it_shows_labels_statistics_examples_and_what_the_weights_say(admin_client: Client, sae: SAE) -> None:
    shown = admin_client.get(PAGE).content.decode()
    assert "other&#x27;s &lt;label&gt;" in shown
    for fact in ("3.988", "1.25 %", "0.5", "measured", "0 to 1: 1,000 tokens", "1 to 2: 10 tokens"):
        assert fact in shown, fact
    for text, level, value in (("a", 0, "0"), ("↵", 3, "1"), ("&lt;b&gt;", 9, "3.9")):
        assert "".join(shown.split()).count(f'data-level="{level}"title="{value}">{text}</span>') == 1, text
    row: Any = Feature.objects.get(sae=sae, index=8)
    for token, _ in [*row.promoted, *row.suppressed]:
        assert f"<code>{token}</code>" in shown
    for near, _ in row.nearest:
        assert f"/admin/steering/sae/demo-sae/features/{near}/" in shown


def test_it_links_to_the_features_beside_it(admin_client: Client, sae: SAE) -> None:
    LanguageModel.objects.update(is_current=False)  # no worker need be asked
    first = admin_client.get("/admin/steering/sae/demo-sae/features/0/").content.decode()
    last = admin_client.get(f"/admin/steering/sae/demo-sae/features/{sae.d_sae - 1}/").content.decode()
    assert "Next feature" in first
    assert "Previous feature" not in first
    assert "Previous feature" in last
    assert "Next feature" not in last


def test_it_names_the_profiles_that_use_the_feature_and_begins_a_new_one(admin_client: Client, sae: SAE) -> None:
    Profile.objects.create_from(name="with eight", strengths={8: 2.5, 9: 1.0})
    Profile.objects.create_from(name="with eighty", strengths={80: 2.5})
    shown = admin_client.get(PAGE).content.decode()
    assert "with eight<" in shown
    assert "with eighty" not in shown
    assert "/admin/profiles/profile/add/?steering=%7B%228%22%3A+1.994%7D&amp;sae_id=demo-sae" in shown


def test_without_a_model_the_page_gives_the_reason(admin_client: Client, sae: SAE) -> None:
    LanguageModel.objects.update(is_current=False)
    shown = admin_client.get(PAGE).content.decode()
    assert "Tokens or nearest features are not known yet: no model is loaded" in shown
    assert "Promoted tokens" not in shown


def test_a_label_is_written_changed_and_deleted(admin_client: Client, sae: SAE) -> None:
    LanguageModel.objects.update(is_current=False)
    for label in ("whales", "whales and ships"):
        answer = admin_client.post(PAGE, {"label": label}, follow=True)
        assert answer.redirect_chain == [(PAGE, 302)]
        assert "The label is saved." in answer.content.decode()
        assert EditedLabel.objects.get(sae=sae, index=8).label == label
    assert FeatureLabel.objects.of("demo-sae", [8]) == {8: "whales and ships"}
    gone = admin_client.post(PAGE, {"delete": "yes", "label": "typed"}, follow=True).content.decode()
    assert "The label is deleted." in gone
    assert "History of the edited label" in gone
    assert [(one.door, one.agent, one.label) for one in EditedLabel.objects.versions("demo-sae", 8)] == [
        ("admin", "admin", label) for label in ("whales and ships", "whales and ships", "whales")
    ]


def test_a_refused_label_stays_in_the_box(admin_client: Client, sae: SAE) -> None:
    LanguageModel.objects.update(is_current=False)
    long = "x" * 10_001
    for label in (long, "  "):
        shown = admin_client.post(PAGE, {"label": label}).content.decode()
        assert "Nothing was changed: label: got" in shown
        assert f'value="{label}"' in shown
    assert "has no edited label" in admin_client.post(PAGE, {"delete": "yes"}).content.decode()
    assert not EditedLabel.objects.exists()


def test_viewers_edit_nothing_and_others_see_nothing(sae: SAE) -> None:
    LanguageModel.objects.update(is_current=False)
    viewer = client_with("view_featurelabel")
    shown = viewer.get(PAGE).content.decode()
    for hidden in ("A label of your own", "Steer with it", "Profiles that use it"):
        assert hidden not in shown
    assert viewer.post(PAGE, {"label": "x"}).status_code == 403
    get_user_model().objects.filter(username="someone").delete()
    editor = client_with("view_featurelabel", "add_featurelabel", "change_featurelabel")
    assert editor.post(PAGE, {"label": "x"}).status_code == 302
    assert editor.post(PAGE, {"delete": "yes"}).status_code == 403
    get_user_model().objects.filter(username="someone").delete()
    assert client_with("view_sae").get(PAGE).status_code == 403


@pytest.mark.parametrize("path", ["none/features/1", "demo-sae/features/512000"])
def test_a_feature_that_does_not_exist_is_not_found(admin_client: Client, sae: SAE, path: str) -> None:
    assert admin_client.get(f"/admin/steering/sae/{path}/").status_code == 404


def test_of_an_sae_without_files_the_page_of_the_sae_says_so(admin_client: Client, sae: SAE) -> None:
    SAE.objects.create(id="new", source="org/new")
    answer = admin_client.get("/admin/steering/sae/new/features/1/", follow=True)
    assert answer.redirect_chain == [("/admin/steering/sae/new/change/", 302)]
    assert "the number of features of SAE new is not known yet" in answer.content.decode()


def test_the_list_of_labels_links_to_the_page(admin_client: Client, sae: SAE) -> None:
    shown = admin_client.get("/admin/steering/featurelabel/?sae__id__exact=demo-sae").content.decode()
    assert f'href="{PAGE}"' in shown
