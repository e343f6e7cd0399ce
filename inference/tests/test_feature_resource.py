"""GET /api/saes/{id}/features/{index}: all that is known of one feature, over HTTP."""

from typing import Any

import httpx
import pytest

from inference.models import LanguageModel
from inference.tests.conftest import Server
from steering.models import SAE, Feature, FeatureExample, FeatureLabel

URL = "/api/saes/demo-sae/features"


def get(server: Server, api_key: str, path: str) -> httpx.Response:
    return httpx.get(f"{server.url}{path}", headers={"Authorization": f"Bearer {api_key}"}, timeout=60)


@pytest.fixture
def sae(server: Server) -> SAE:
    sae = SAE.objects.get(pk="demo-sae")
    Feature.objects.filter(sae=sae).delete()
    FeatureExample.objects.filter(sae=sae).delete()
    return sae


def test_it_has_labels_statistics_tokens_nearest_features_and_examples(server: Server, sae: SAE, api_key: str) -> None:
    histogram = {"edges": [0.0, 1.0, 2.0], "counts": [5, 1]}
    statistics: dict[str, Any] = {"maximum": 2.0, "density": 0.125, "mean": 0.5, "histogram": histogram}
    Feature.objects.create(sae=sae, index=8, statistics_source="measured", **statistics)
    FeatureExample.objects.create(
        sae=sae, index=8, source="measured", rank=0, tokens=["a", "b"], values=[0.0, 2.0], maximum=2.0
    )
    FeatureLabel.objects.filter(sae=sae, index=8).delete()
    for source in ("old", "edited", "new"):
        FeatureLabel.objects.create(sae=sae, index=8, label=f"label of {source}", source=source)
    found = get(server, api_key, f"{URL}/8").json()
    assert found["labels"] == [{"label": f"label of {one}", "source": one} for one in ("edited", "new", "old")]
    assert {name: found[name] for name in statistics} == statistics
    assert (found["index"], found["statistics_source"], found["unavailable"]) == (8, "measured", "")
    assert found["examples"] == [{"tokens": ["a", "b"], "values": [0.0, 2.0], "maximum": 2.0, "source": "measured"}]
    assert found["promoted"][0][1] > found["promoted"][-1][1] > found["suppressed"][-1][1] > found["suppressed"][0][1]
    near = found["nearest"][0]
    assert near["label"] == FeatureLabel.objects.of("demo-sae", [near["index"]]).get(near["index"], "")
    assert -1 <= near["cosine"] <= 1
    row = Feature.objects.get(sae=sae, index=8)
    assert (row.maximum, row.promoted) == (2.0, found["promoted"])


def test_where_no_worker_can_say_the_reason_is_given(server: Server, sae: SAE, api_key: str) -> None:
    LanguageModel.objects.update(is_current=False)
    found = get(server, api_key, f"{URL}/9").json()
    assert "no model is loaded" in found["unavailable"]
    assert [found[name] for name in ("promoted", "suppressed", "nearest", "maximum")] == [None] * 4


def test_a_feature_that_does_not_exist_is_refused(server: Server, sae: SAE, api_key: str) -> None:
    for path, status, code in (
        (f"{URL}/{sae.d_sae}", 404, "feature_not_found"),
        ("/api/saes/none/features/1", 404, "sae_not_found"),
        (f"{URL}/-1", 404, "not_found"),
    ):
        answer = get(server, api_key, path)
        assert (answer.status_code, answer.json()["code"]) == (status, code)
    assert get(server, api_key, f"{URL}/1?top=3").json() == {"top": ["This parameter is unknown: expected none."]}


def test_it_needs_the_permission_to_view_labels(server: Server, sae: SAE, api_key: str) -> None:
    from django.contrib.auth import get_user_model

    get_user_model().objects.update(is_superuser=False)
    assert get(server, api_key, f"{URL}/8").status_code == 403
