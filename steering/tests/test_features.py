"""Statistics and examples of features: imported by command and REST, whole or not at all, and listed."""

import io
from pathlib import Path
from typing import Any

import pytest
from django.contrib.auth import get_user_model
from django.contrib.auth.models import Permission
from django.core.management import CommandError, call_command
from django.db import connection
from django.test.utils import CaptureQueriesContext
from rest_framework.test import APIClient

from steering.features.files import FeatureFile, InvalidFeatureFile
from steering.features.models import EXAMPLES_KEPT, NEURONPEDIA, ImportedFeatures
from steering.models import SAE, Feature, FeatureExample, FeatureLabel
from steering.saes import FeaturesUnknown, NoSuchSAE
from steering.tests.feature_rows import activation, as_lines, feature

URL = "/api/saes/s/features"


@pytest.fixture
def sae(db: None) -> SAE:
    SAE.objects.create(id="other", source="/o", d_sae=100)
    return SAE.objects.create(id="s", source="/s", d_sae=100)


@pytest.fixture
def client(db: None) -> APIClient:
    client = APIClient()
    client.force_authenticate(get_user_model().objects.create_superuser("root", password="x"))
    return client


def import_rows(*rows: Any, sae: str = "s") -> ImportedFeatures:
    return Feature.objects.import_files(sae, [FeatureFile(io.BytesIO(as_lines(rows)))])


def test_a_file_of_features_makes_a_row_of_each(sae: SAE) -> None:
    assert import_rows(feature("3"), feature("7", pos_str=[], pos_values=[])) == ImportedFeatures(2, 0, 2, 0)
    row = Feature.objects.get(sae=sae, index=3)
    assert (row.maximum, row.density, row.mean, row.statistics_source) == (12.5, 0.001, None, NEURONPEDIA)
    assert row.histogram == {"edges": [0.0, 2.0, 4.0, 6.0], "counts": [30, 5, 1]}
    assert (row.promoted, row.suppressed) == ([[" whale", 1.5], [" sea", 1.25]], [[" the", -0.75], [" of", -0.5]])
    assert Feature.objects.get(sae=sae, index=7).promoted is None


def test_facts_replace_the_stored_ones_and_what_a_file_does_not_say_stays(sae: SAE) -> None:
    Feature.objects.create(sae=sae, index=3, maximum=1.0, mean=0.5, statistics_source="measured", nearest=[[1, 0.1]])
    Feature.objects.create(sae=sae, index=4, maximum=2.0, mean=0.75, statistics_source="measured")
    bars: dict[str, Any] = {"freq_hist_data_bar_heights": [], "freq_hist_data_bar_values": []}
    silent = feature(4, maxActApprox=None, frac_nonzero=None, pos_str=[" new"], pos_values=[1], **bars)
    import_rows(feature(3, topkCosSimIndices=[], topkCosSimValues=[]), feature(4), silent)
    new, kept = Feature.objects.order_by("index")
    assert (new.maximum, new.mean, new.statistics_source) == (12.5, None, NEURONPEDIA)
    assert new.nearest == [[1, 0.1]]
    assert (kept.maximum, kept.mean, kept.statistics_source) == (2.0, 0.75, "measured")
    assert kept.promoted == [[" new", 1.0]]


def test_the_strongest_examples_are_kept_each_text_once(sae: SAE) -> None:
    rows = [activation(7, [0.0, strength, strength / 2]) for strength in range(1, 20)]
    texts = [{**row, "tokens": [f" {number}", "a", "b"]} for number, row in enumerate(rows)]
    imported = import_rows(*texts, texts[-1], activation(7, [0.0]), feature(7))
    assert imported == ImportedFeatures(22, 1, 1, EXAMPLES_KEPT)
    found = FeatureExample.objects.filter(sae=sae, index=7)
    assert [(one.rank, one.maximum) for one in found] == [(rank, 19.0 - rank) for rank in range(EXAMPLES_KEPT)]
    assert (found[0].tokens, found[0].values) == ([" 18", "a", "b"], [0.0, 19.0, 9.5])


def test_examples_replace_those_of_their_source_and_feature_only(sae: SAE) -> None:
    FeatureExample.objects.create(sae=sae, index=7, source="measured", rank=0, tokens=["m"], values=[1], maximum=1)
    import_rows(activation(7, [1.0]), activation(7, [2.0]), activation(8, [3.0]))
    import_rows(activation(7, [5.0]))
    found = FeatureExample.objects.values_list("index", "source", "maximum")
    assert list(found) == [(7, "measured", 1.0), (7, NEURONPEDIA, 5.0), (8, NEURONPEDIA, 3.0)]


def test_a_feature_with_examples_alone_is_listed(sae: SAE, client: APIClient) -> None:
    import_rows(activation(7, [1.0]))
    [row] = client.get(URL).json()["results"]
    assert row == {"index": 7, "label": "", "maximum": None, "density": None, "mean": None}


def test_after_a_bad_row_nothing_is_imported(sae: SAE) -> None:
    with pytest.raises(InvalidFeatureFile, match="row 3"):
        import_rows(feature(1), activation(2, [1.0]), feature(100))
    assert not Feature.objects.exists()
    assert not FeatureExample.objects.exists()


def test_an_sae_that_is_not_here_or_whose_width_is_not_known_gets_none(db: None) -> None:
    SAE.objects.create(id="s", source="/s")
    with pytest.raises(NoSuchSAE):
        import_rows(feature(1), sae="none")
    with pytest.raises(FeaturesUnknown):
        import_rows(feature(1))


def test_they_go_with_their_sae_in_one_statement_each(sae: SAE) -> None:
    import_rows(feature(3), activation(3, [1.0]))
    import_rows(feature(3), activation(3, [1.0]), sae="other")
    with CaptureQueriesContext(
        connection,
    ) as queries:
        sae.delete()
    assert not [one["sql"] for one in queries if one["sql"].startswith("SELECT") and "steering_feature" in one["sql"]]
    assert {one.sae_id for one in [*Feature.objects.all(), *FeatureExample.objects.all()]} == {"other"}


@pytest.mark.parametrize(
    ("order", "expected"),
    [
        ("", [1, 2, 3, 4]),
        ("?order=index", [1, 2, 3, 4]),
        ("?order=-maximum", [2, 4, 1, 3]),
        ("?order=-density", [4, 1, 2, 3]),
    ],
)
def test_rest_lists_in_an_order_unknown_ones_last(sae: SAE, client: APIClient, order: str, expected: list[int]) -> None:
    for index, maximum, density in ((1, 1.0, 0.5), (2, 3.0, None), (3, None, None), (4, 2.0, 0.75)):
        Feature.objects.create(sae=sae, index=index, maximum=maximum, density=density)
    Feature.objects.create(sae_id="other", index=5, maximum=9.0)
    FeatureLabel.objects.create(sae=sae, index=2, label="whales", source="n")
    answer = client.get(f"{URL}{order}").json()
    assert [row["index"] for row in answer["results"]] == expected
    assert {row["index"]: row["label"] for row in answer["results"]} == {1: "", 2: "whales", 3: "", 4: ""}
    assert (answer["count"], answer["count_is_exact"]) == (4, True)


@pytest.mark.parametrize(
    ("query", "field"), [("?order=mean", "order"), ("?search=whale", "search"), ("?page_size=0", "page_size")]
)
def test_rest_refuses_what_it_does_not_know(sae: SAE, client: APIClient, query: str, field: str) -> None:
    answer = client.get(f"{URL}{query}")
    assert (answer.status_code, list(answer.json())) == (400, [field])


def test_rest_imports_a_body_and_a_form(sae: SAE, client: APIClient) -> None:
    body = client.post(f"{URL}/import", as_lines([feature(3)]), content_type="application/gzip")
    assert (body.status_code, body.json()) == (200, {"rows": 1, "skipped": 0, "features": 1, "examples": 0})
    part = io.BytesIO(as_lines([activation(3, [1.0])]))
    part.name = "batch-0.jsonl"
    form = client.post(f"{URL}/import", {"file": part}, format="multipart")
    assert form.json() == {"rows": 1, "skipped": 0, "features": 0, "examples": 1}


def test_rest_names_the_row_of_a_bad_file(sae: SAE, client: APIClient) -> None:
    answer = client.post(f"{URL}/import", as_lines([feature(3), feature(100)]), content_type="application/json")
    assert (answer.status_code, answer.json()["code"], answer.json()["row"]) == (400, "invalid_feature_file", 2)
    assert client.post("/api/saes/none/features/import", b"{}", content_type="application/json").status_code == 404


def test_rest_needs_the_permissions_of_labels(sae: SAE) -> None:
    user = get_user_model().objects.create_user("u")
    client = APIClient()

    def statuses(*permissions: str) -> tuple[int, int]:
        user.user_permissions.set(Permission.objects.filter(codename__in=permissions))
        client.force_authenticate(get_user_model().objects.get(pk=user.pk))
        body = as_lines([feature(3)])
        posted = client.post(f"{URL}/import", body, content_type="application/json")
        return client.get(URL).status_code, posted.status_code

    assert statuses() == (403, 403)
    assert statuses("view_featurelabel", "add_featurelabel") == (200, 403)
    assert statuses("add_featurelabel", "change_featurelabel") == (403, 200)


def test_the_command_imports_files_of_both_kinds(sae: SAE, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "features.jsonl").write_bytes(as_lines([feature(3), feature(4)]))
    (tmp_path / "activations.jsonl").write_bytes(as_lines([activation(3, [0.0, 1.0]), activation(4, [0.0])]))
    call_command("import_features", "s", str(tmp_path / "features.jsonl"), str(tmp_path / "activations.jsonl"))
    said = capsys.readouterr().err
    assert "features.jsonl: 2 rows, 100% of the file" in said
    assert "2 features and 1 examples of SAE s imported: 4 rows, 1 of them examples" in said
    (tmp_path / "bad.jsonl").write_bytes(as_lines([feature(100)]))
    with pytest.raises(CommandError, match=r"bad.jsonl, row 1: feature 100 is out of range.* Nothing was imported"):
        call_command("import_features", "s", str(tmp_path / "bad.jsonl"))
