"""What the weights say of a feature: asked of a worker once, then kept in its row."""

from typing import Any

import numpy as np
import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from inference.broker.errors import RequestFailed
from inference.demo.tiny import FILES
from inference.engine.saes.decoder import decoder_rows
from inference.models import LanguageModel
from inference.reading import details
from inference.reading.asking import ReadingFailed
from inference.reading.request import Reading
from inference.tests.conftest import Server
from steering.formats import read_config
from steering.models import SAE, Feature

CONFIG = read_config(FILES / "sae")
DECODER = decoder_rows(CONFIG, range(CONFIG.d_sae))
FEATURE = 8


@pytest.fixture
def sae(server: Server) -> SAE:
    return SAE.objects.get(pk="demo-sae")


def test_promoted_tokens_and_nearest_features_are_those_of_the_weights(sae: SAE) -> None:
    assert details.ensure_details(sae, FEATURE) == ""
    row: Any = Feature.objects.get(sae=sae, index=FEATURE)
    model = AutoModelForCausalLM.from_pretrained(FILES / "model", dtype=torch.float32)
    tokenizer = AutoTokenizer.from_pretrained(FILES / "model")
    with torch.no_grad():
        logits = model.lm_head.weight @ (model.model.norm.weight * torch.from_numpy(DECODER[FEATURE]))
    for found, sign in ((row.promoted, 1), (row.suppressed, -1)):
        values, ids = (sign * logits).topk(details.TOP)
        assert [text for text, _ in found] == [tokenizer.decode([one]) for one in ids.tolist()]
        assert [value for _, value in found] == pytest.approx((sign * values).tolist(), abs=1e-3)
    cosines = DECODER @ DECODER[FEATURE] / np.linalg.norm(DECODER, axis=1) / np.linalg.norm(DECODER[FEATURE])
    cosines[FEATURE] = -1
    assert [index for index, _ in row.nearest] == np.argsort(-cosines)[: details.TOP].tolist()


def test_a_worker_is_asked_once(sae: SAE, monkeypatch: pytest.MonkeyPatch) -> None:
    details.ensure_details(sae, FEATURE)

    def again(*args: Any) -> Any:
        raise AssertionError("asked again")

    monkeypatch.setattr(Reading, "feature", again)
    assert details.ensure_details(sae, FEATURE) == ""


def test_statistics_in_the_row_are_kept(sae: SAE) -> None:
    Feature.objects.create(sae=sae, index=FEATURE, maximum=3.5, promoted=[["imported", 1.0]])
    details.ensure_details(sae, FEATURE)
    row: Any = Feature.objects.get(sae=sae, index=FEATURE)
    assert (row.maximum, row.promoted) == (3.5, [["imported", 1.0]])
    assert len(row.suppressed) == len(row.nearest) == details.TOP


def test_without_a_model_the_reason_comes_back(sae: SAE) -> None:
    LanguageModel.objects.update(is_current=False)
    assert "no model is loaded" in details.ensure_details(sae, FEATURE)
    assert not Feature.objects.filter(sae=sae, index=FEATURE).exists()


def test_where_redis_does_not_answer_the_reason_comes_back(sae: SAE, settings: Any) -> None:
    settings.REDIS_URL = "redis://127.0.0.1:1/0"
    assert details.ensure_details(sae, FEATURE) == "Redis does not answer: try again in a moment"


def test_the_reason_of_a_failed_reading_has_no_full_stop_since_pages_end_the_sentence() -> None:
    assert str(ReadingFailed(RequestFailed("no_worker", "No worker serves this model: start one."))).endswith("one")
