"""Labels and maximum activations of miStudio's files are kept with the SAE, where it is here and the user may."""

import json
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from django.contrib.auth.models import Permission, User
from django.core.management import call_command
from rest_framework.test import APIClient

from profiles.tests.test_transfer import CLUSTER, changed
from steering.models import SAE, EditedLabel, Feature, FeatureLabel

URL = "/api/profiles/import"
MEMBERS = [
    {"feature_idx": 7, "strength": 3.0, "label": "sea\nwaves", "max_activation": 12.5, "meta": {"label_source": "gpt"}},
    {"feature_idx": 8, "strength": 2.0, "label": "  ", "max_activation": 3},
    {"feature_idx": 9, "strength": 1.0, "label": "ships", "similarity": 0.5},
]
FILE = changed(CLUSTER, members=MEMBERS)


def notes(answer: Any) -> list[str]:
    return [note for note in answer["notes"] if note.startswith("SAE ")]


def maxima() -> dict[int, tuple[float | None, str]]:
    return {one.index: (one.maximum, one.statistics_source) for one in Feature.objects.filter(sae="tiny-sae")}


def test_labels_have_their_source_and_maxima_fill_what_is_unknown(client: APIClient, sae: SAE) -> None:
    Feature.objects.create(sae=sae, index=8, maximum=2.0, statistics_source="measured")
    answer = client.post(URL, FILE).json()
    assert notes(answer) == ["SAE tiny-sae: 2 labels and 2 maximum activations kept"]
    rows = FeatureLabel.objects.values_list("index", "label", "source")
    assert [*rows] == [(7, "sea waves", "mistudio/gpt"), (9, "ships", "mistudio")]
    assert maxima() == {7: (12.5, "mistudio"), 8: (2.0, "measured")}


def test_imported_again_a_label_is_replaced_and_an_edited_one_stays_the_shown_one(client: APIClient, sae: SAE) -> None:
    client.post(URL, FILE)
    EditedLabel.objects.write(sae.pk, 9, "boats")
    client.post(f"{URL}?on_conflict=replace", changed(CLUSTER, members=[{**MEMBERS[2], "label": "tankers"}]))
    assert FeatureLabel.objects.of(sae.pk, [7, 9]) == {7: "sea waves", 9: "boats"}
    assert FeatureLabel.objects.get(index=9, source="mistudio").label == "tankers"


@pytest.mark.parametrize(
    ("reference", "why"),
    [
        ({"mistudio_sae_id": "elsewhere", "layer": 2}, "no such SAE is here"),
        ({"mistudio_sae_id": "tiny-sae", "layer": 2, "n_features": 64}, "the SAE here has 100 features, expected 64"),
        ({"mistudio_sae_id": "coming", "layer": 2}, "its files are not here yet"),
    ],
)
def test_facts_about_another_sae_are_left_out(client: APIClient, sae: SAE, reference: dict[str, Any], why: str) -> None:
    SAE.objects.create(id="coming", source="org/sae")
    answer = client.post(URL, changed(FILE, sae=reference)).json()
    [note] = notes(answer)
    assert note.endswith(f"2 labels and 2 maximum activations left out: {why}")
    assert not FeatureLabel.objects.exists()
    assert not Feature.objects.exists()


def test_a_user_who_may_not_label_imports_the_profile_alone(sae: SAE, django_user_model: type[User]) -> None:
    adder = django_user_model.objects.create_user("adder")
    adder.user_permissions.add(Permission.objects.get(codename="add_profile"))
    client = APIClient()
    client.force_authenticate(adder)
    answer = client.post(URL, FILE)
    assert answer.status_code == 201
    assert "this needs the permissions steering.add_featurelabel and" in notes(answer.json())[0]
    assert not FeatureLabel.objects.exists()


def test_a_preview_names_what_an_import_keeps_and_writes_nothing(sae: SAE, django_user_model: type[User]) -> None:
    from django.test import Client

    page = Client()
    page.force_login(django_user_model.objects.create_superuser("root", password="x"))
    path = "/admin/profiles/profile/import/"
    form = {"text": json.dumps(FILE), "on_conflict": "fail"}
    answer = page.post(path, form)
    assert "2 labels and 2 maximum activations kept" in answer.content.decode()
    assert not FeatureLabel.objects.exists()
    seen = answer.context["preview"].seen
    page.post(path, {**form, "import": "", "seen": seen})
    assert FeatureLabel.objects.count() == 2


def test_a_command_keeps_them_and_a_rehearsal_does_not(sae: SAE, tmp_path: Path) -> None:
    (tmp_path / "cluster.json").write_text(json.dumps(FILE))
    for dry, kept in ((["--dry-run"], 0), ([], 2)):
        message = StringIO()
        call_command("import_profiles", str(tmp_path / "cluster.json"), *dry, stdout=StringIO(), stderr=message)
        assert "SAE tiny-sae: 2 labels and 2 maximum activations kept" in message.getvalue()
        assert FeatureLabel.objects.count() == kept
