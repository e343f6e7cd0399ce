"""Activations over REST are those of the libraries that wrote the SAEs, on the same texts: six formats."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from inference.broker import heartbeats
from inference.models import LanguageModel
from inference.tests.conftest import Server
from inference.tests.test_load import wait_for
from inference.tests.test_sae_encoders import WRITTEN, written_by_libraries
from inference.tests.tiny import tiny_tokenizer
from steering.models import SAE
from steering.tests.sae_files import Array

TEXTS = ["The quick brown fox", "jumps over the lazy dog, twice."]
LAYERS, D_MODEL = 21, 24


def small_model(tokenizer: PreTrainedTokenizerFast) -> LlamaForCausalLM:
    torch.manual_seed(3)
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=D_MODEL,
        intermediate_size=48,
        num_hidden_layers=LAYERS,
        num_attention_heads=2,
        initializer_range=0.3,
        max_position_embeddings=256,
    )
    return LlamaForCausalLM(config).eval()


def streams(model: LlamaForCausalLM, tokenizer: PreTrainedTokenizerFast) -> dict[str, Array]:
    """By the path of each SAE the residual stream of all texts at its hook point, (tokens, D_MODEL), by plain hooks."""
    seen: dict[str, list[Array]] = {}

    def keep(name: str) -> Any:
        def hook(_module: Any, args: Any, output: Any = None) -> None:
            found = output if output is not None else args
            tensor = found[0] if isinstance(found, tuple) else found
            seen.setdefault(name, []).append(tensor.reshape(-1, D_MODEL).numpy().copy())

        return hook

    for layer, block in enumerate(model.model.layers):
        block.register_forward_pre_hook(keep(f"blocks.{layer}.hook_resid_pre"))
        block.register_forward_hook(keep(f"blocks.{layer}.hook_resid_post"))
        block.mlp.register_forward_hook(keep(f"blocks.{layer}.hook_mlp_out"))
        block.self_attn.register_forward_hook(keep(f"blocks.{layer}.hook_attn_out"))
    with torch.no_grad():
        for text in TEXTS:
            model(**tokenizer(text, return_tensors="pt", return_token_type_ids=False))
    return {path: np.concatenate(seen[hook_name]) for path, (_, _, hook_name) in WRITTEN.items()}


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The model in `model/`, SAEs of the libraries in `saes/`."""
    folder = tmp_path_factory.mktemp("libraries")
    tokenizer = tiny_tokenizer()
    model = small_model(tokenizer)
    model.save_pretrained(folder / "model")
    tokenizer.save_pretrained(folder / "model")
    arrays: dict[str, Any] = streams(model, tokenizer)
    np.savez(folder / "inputs.npz", **arrays)
    (folder / "saes").mkdir()
    written_by_libraries(folder / "saes", folder / "inputs.npz")
    return folder


@pytest.fixture
def small(server: Server, files: Path) -> Iterator[LanguageModel]:
    """The small model, current and served by a worker of its own."""
    model = LanguageModel.objects.register(str(files / "model"), name="small", anywhere=True)
    model.make_current()
    worker = server.start_worker(INFERENCE_MODEL="small")
    try:
        wait_for(lambda: any(beat.serves("small") for beat in heartbeats.live_workers()), timeout_s=90)
        yield model
    finally:
        worker.terminate()
        worker.wait(timeout=90)


def test_the_activations_of_every_format_are_those_of_the_library_that_wrote_it(
    server: Server, api_key: str, small: LanguageModel, files: Path
) -> None:
    expected = np.load(files / "saes" / "expected.npz")
    formats = set()
    for number, (path, (sae_format, _, _)) in enumerate(WRITTEN.items()):
        sae = SAE.objects.register(str(files / "saes"), path=path, sae_id=f"sae-{number}", anywhere=True)
        found = read(server, api_key, sae)
        np.testing.assert_allclose(found, expected[path], rtol=1e-4, atol=1e-4, err_msg=path)
        assert (found > 0).any(), path
        formats.add(sae_format)
    assert len(formats) == 5


def read(server: Server, key: str, sae: SAE) -> Array:
    """(tokens of all texts, d_sae) over REST."""
    body = {"texts": TEXTS, "sae": sae.pk, "features": [*range(sae.d_sae)], "skip_special": False, "top_k": sae.d_sae}
    headers = {"Authorization": f"Bearer {key}"}
    answer = httpx.post(f"{server.url}/api/activations", json=body, headers=headers, timeout=60)
    assert answer.status_code == 200, answer.text
    tokens = [token for text in answer.json()["texts"] for token in text["tokens"]]
    found = np.zeros((len(tokens), sae.d_sae), dtype=np.float32)
    for row, token in zip(found, tokens, strict=True):
        for feature in token["features"]:
            row[feature["index"]] = feature["activation"]
    return found
