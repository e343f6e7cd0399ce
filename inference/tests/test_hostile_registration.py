"""Files made to do harm, registered through REST: an error that says what is wrong, never a 500, and no row."""

import json
import pickle
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from django.contrib.auth import get_user_model
from rest_framework.test import APIClient

from inference.models import LanguageModel
from inference.tests.tiny import tiny_model
from inference.worker.saes import preparation
from steering.models import SAE
from steering.tests import sae_files

RAN = "/tmp/millm-hostile-pickle-ran"


@pytest.fixture
def api(db: None, tmp_path: Path, settings: Any) -> APIClient:
    settings.MODEL_DIRS = [str(tmp_path)]
    client = APIClient()
    client.force_authenticate(get_user_model().objects.create_superuser("root"))
    return client


def refused(answer: Any, said: str) -> None:
    assert answer.status_code == 409, answer.content[:500]
    assert len(answer.content) < 1000
    assert said in answer.json()["detail"]
    assert not SAE.objects.exists()


@pytest.mark.parametrize("name", ["a\0b", "\ud800"])
@pytest.mark.parametrize("write", ["saelens", "mistudio", "llama_scope", "dictionary_learning"])
def test_a_name_that_is_no_text_is_refused_or_left_out(api: APIClient, tmp_path: Path, name: str, write: str) -> None:
    fields: dict[str, Any] = {"lm_name" if write == "dictionary_learning" else "model_name": name}
    if write == "mistudio":
        fields = {"extra_metadata": {"hf_model_name": name}, "model_name": None}
    folder = getattr(sae_files, f"write_{write}")(tmp_path / "sae", **fields)
    answer = api.post("/api/saes", {"source": str(folder)})
    if answer.status_code == 201:  # it does not read that field
        assert name not in SAE.objects.get().model_name
    else:
        refused(answer, "expected text")


class Payload:
    def __reduce__(self) -> Any:
        return open, (RAN, "w")


def test_a_pickle_with_code_runs_nothing(api: APIClient, tmp_path: Path) -> None:
    folder = sae_files.write_dictionary_learning(tmp_path / "sae", {"decoder.weight": Payload()})
    refused(api.post("/api/saes", {"source": str(folder)}), "ae.pt")
    (folder / "ae.pt").write_bytes(pickle.dumps({"decoder.weight": Payload()}))
    refused(api.post("/api/saes", {"source": str(folder)}), "ae.pt")
    assert not Path(RAN).exists()


@pytest.mark.parametrize("d_sae", [2**31, 2**31 - 1, 2**63, 10**30, -1])
def test_dimensions_that_the_weights_do_not_have_are_refused(api: APIClient, tmp_path: Path, d_sae: int) -> None:
    for name in ("saelens", "llama_scope", "sparsify", "dictionary_learning"):
        key = {"sparsify": "num_latents", "dictionary_learning": "dict_size"}.get(name, "d_sae")
        folder = getattr(sae_files, f"write_{name}")(tmp_path / f"{name}-layers.3", **{key: d_sae})
        refused(api.post("/api/saes", {"source": str(folder)}), "")


@pytest.mark.parametrize("dtype", [np.int64, np.complex64, np.bool_])
def test_weights_of_another_dtype_are_refused(api: APIClient, tmp_path: Path, dtype: Any) -> None:
    made = sae_files.weights()
    if dtype is not np.complex64:  # which safetensors does not write
        folder = sae_files.write_saelens(tmp_path / "saelens", made | {"W_dec": made["W_dec"].astype(dtype)})
        refused(api.post("/api/saes", {"source": str(folder)}), "no decoder")
    place = tmp_path / "gemma-scope-2b-pt-res" / "layer_20" / "width_16k" / "average_l0_71"
    odd = made | {"W_dec": made["W_dec"].astype(dtype), "threshold": np.ones(16, np.float32)}
    refused(api.post("/api/saes", {"source": str(sae_files.write_gemma_scope(place, odd))}), "no decoder")
    state = {"decoder.weight": torch.from_numpy(made["W_dec"].astype(dtype)).T}
    folder = sae_files.write_dictionary_learning(tmp_path / "dl", state)
    answer = api.post("/api/saes", {"source": str(folder)})
    if answer.status_code == 201:  # the web has no torch: a worker finds it
        with pytest.MonkeyPatch.context() as patch:  # a worker's thread closes its connection, here the test's
            patch.setattr(preparation, "connection", SimpleNamespace(close=lambda: None))
            preparation.prepare(SAE.objects.get(pk="dl"))
        assert "decoder.weight is missing" in SAE.objects.get().error
    else:
        refused(answer, "ae.pt")


@pytest.mark.parametrize(
    "changes",
    [
        {"model_type": "x" * 100_000},
        {"model_type": "\ud800"},
        {"model_type": ["llama"] * 10_000},
        {"hidden_size": [1] * 100_000},
        {"hidden_size": 2**31},
        {"hidden_size": 10**4000},
        {"num_hidden_layers": True},
        {"max_position_embeddings": 1e400},
    ],
)
def test_a_model_with_an_odd_description_is_refused(api: APIClient, tmp_path: Path, changes: dict[str, Any]) -> None:
    tiny_model().save_pretrained(tmp_path / "tiny")
    config = json.loads((tmp_path / "tiny/config.json").read_text())
    (tmp_path / "tiny/config.json").write_text(json.dumps(config | changes))
    answer = api.post("/api/models", {"source": str(tmp_path / "tiny")})
    assert answer.status_code == 400, answer.content[:500]
    assert len(answer.content) < 1000
    assert not LanguageModel.objects.exists()
