"""SAEs that sae-lens, eai-sparsify and dictionary-learning wrote: our decoders and activations are theirs."""

import hashlib
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from django.conf import settings

from inference.engine.saes.decoder import decoder_chunks, decoder_rows
from inference.engine.saes.directions import steering_vector
from inference.engine.saes.encoders import load_encoder
from inference.engine.saes.fingerprint import decoder_fingerprint
from steering.formats import BrokenDecoder, read_config
from steering.tests import sae_files
from steering.tests.sae_files import Array

LIBRARIES = settings.BASE_DIR / ".clients" / "saelibs"

# path -> format, architecture, hook_name
WRITTEN = {
    "saelens/standard": ("saelens", "standard", "blocks.3.hook_resid_post"),
    "saelens/no_b_dec": ("saelens", "standard", "blocks.0.hook_resid_pre"),
    "saelens/constant_norm": ("saelens", "standard", "blocks.3.hook_resid_post"),
    "saelens/layer_norm": ("saelens", "standard", "blocks.3.hook_resid_post"),
    "saelens/float16": ("saelens", "standard", "blocks.3.hook_resid_post"),
    "saelens/bfloat16": ("saelens", "jumprelu", "blocks.3.hook_mlp_out"),
    "saelens/jumprelu": ("saelens", "jumprelu", "blocks.3.hook_attn_out"),
    "saelens/topk": ("saelens", "topk", "blocks.3.hook_resid_post"),
    "saelens/topk_rescaled": ("saelens", "topk", "blocks.3.hook_resid_post"),
    "saelens/gated": ("saelens", "gated", "blocks.3.hook_resid_post"),
    "saelens/batchtopk": ("saelens", "batchtopk", "blocks.3.hook_resid_post"),
    "saelens/batchtopk_saved": ("saelens", "jumprelu", "blocks.3.hook_resid_post"),
    "saelens_old/first": ("saelens", "standard", "blocks.8.hook_resid_pre"),
    "saelens_old/later": ("saelens", "standard", "blocks.8.hook_resid_pre"),
    "saelens_old/topk": ("saelens", "topk", "blocks.8.hook_resid_pre"),
    "gemma-scope-2b-pt-res/layer_20/width_16k/average_l0_71": ("gemma_scope", "jumprelu", "blocks.20.hook_resid_post"),
    "gemma-scope-9b-it-mlp/layer_7/width_16k/average_l0_9": ("gemma_scope", "jumprelu", "blocks.7.hook_mlp_out"),
    "Llama3_1-8B-Base-LXR-8x/Llama3_1-8B-Base-L15R-8x": ("llama_scope", "jumprelu", "blocks.15.hook_resid_post"),
    "run/layers.12": ("sparsify", "topk", "blocks.12.hook_resid_post"),
    "run/layers.2.mlp": ("sparsify", "topk", "blocks.2.hook_mlp_out"),
    "run/h.4.attn": ("sparsify", "groupmax", "blocks.4.hook_attn_out"),
    "dictionary_learning/standard": ("dictionary_learning", "standard", "blocks.3.hook_resid_post"),
    "dictionary_learning/gated": ("dictionary_learning", "gated", "blocks.3.hook_resid_post"),
    "dictionary_learning/jumprelu": ("dictionary_learning", "jumprelu", "blocks.3.hook_resid_post"),
    "dictionary_learning/topk": ("dictionary_learning", "topk", "blocks.3.hook_resid_post"),
    "dictionary_learning/batchtopk": ("dictionary_learning", "batchtopk", "blocks.3.hook_resid_post"),
    "dictionary_learning/matryoshka": ("dictionary_learning", "batchtopk", "blocks.3.hook_resid_post"),
}


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder that the libraries wrote."""
    return written_by_libraries(tmp_path_factory.mktemp("saes"))


def written_by_libraries(folder: Path, *inputs: Path) -> Path:
    """Have the libraries write their SAEs into `folder`, see `write_saes.py`, and return it."""
    assert LIBRARIES.is_dir(), (
        f"{LIBRARIES} is missing: run `make test`, which installs inference/tests/saelibs.txt there"
    )
    script = Path(__file__).parent / "write_saes.py"
    environment = {key: value for key, value in os.environ.items() if not key.startswith("PYTEST")}
    done = subprocess.run(
        [sys.executable, script, folder, *inputs],
        env=environment | {"PYTHONPATH": str(LIBRARIES)},
        capture_output=True,
        text=True,
        timeout=180,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return folder


@pytest.fixture(scope="module")
def expected(written: Path) -> dict[str, Array]:
    return dict(np.load(written / "expected.npz"))


def test_every_sae_that_was_written_is_tried(expected: dict[str, Array]) -> None:
    assert {name for name in expected if name != "x" and not name.endswith(":decoder")} == WRITTEN.keys()


@pytest.mark.parametrize("name", WRITTEN)
def test_the_activations_are_those_of_the_library(written: Path, expected: dict[str, Array], name: str) -> None:
    config = read_config(written / name)
    assert (config.format, config.architecture, config.hook_name) == WRITTEN[name]
    activations = load_encoder(config, "cpu", torch.float32).encode(torch.from_numpy(expected["x"])).numpy()
    assert activations.shape == (len(expected["x"]), config.d_sae)
    assert 0 < (expected[name] != 0).mean() < 1
    np.testing.assert_allclose(activations, expected[name], rtol=1e-4, atol=1e-4)
    assert ((activations != 0) == (expected[name] != 0)).all()


@pytest.mark.parametrize("name", WRITTEN)
def test_the_decoder_is_that_of_the_library(written: Path, expected: dict[str, Array], name: str) -> None:
    config = read_config(written / name)
    decoder = expected.get(f"{name}:decoder")
    if decoder is None:  # a checkpoint, of which the library made another file for inference
        decoder = expected[f"{name}_saved:decoder"]
    tolerance = 1e-6 if name.startswith(("Llama", "saelens/batchtopk")) else 0  # these the library scales
    wanted = [9, 0, 9, config.d_sae - 1]
    rescaled = decoder_rows(config, wanted)
    if name == "saelens/batchtopk":  # whose norms the library moved to the encoder
        rescaled = rescaled / np.linalg.norm(rescaled, axis=1, keepdims=True)
    else:
        whole = np.concatenate(list(decoder_chunks(config, 5)))
        np.testing.assert_allclose(whole, decoder, rtol=tolerance, atol=tolerance)
        digest = hashlib.sha256(f"{config.d_sae}x{config.d_in}".encode() + whole.astype("<f4").tobytes())
        assert decoder_fingerprint(config) == digest.hexdigest()
    np.testing.assert_allclose(rescaled, decoder[wanted], rtol=tolerance, atol=tolerance)


def test_a_steering_vector_is_the_sum_of_strength_times_row(written: Path, expected: dict[str, Array]) -> None:
    for name in ("saelens/bfloat16", "dictionary_learning/gated", "run/layers.12"):
        vector = steering_vector(read_config(written / name), [(3, 2.0), (40, -0.5)])
        decoder = expected[f"{name}:decoder"]
        assert vector.dtype == torch.float32
        np.testing.assert_allclose(vector.numpy(), 2 * decoder[3] - 0.5 * decoder[40], rtol=1e-6)


def test_llama_scope_scales_biases_by_the_norm_and_activations_by_the_decoders(tmp_path: Path) -> None:
    """As OpenMOSS's Language-Model-SAEs did when it loaded one: folded into the weights first, then encoded."""
    folder = sae_files.write_llama_scope(tmp_path / "a", apply_decoder_bias_to_pre_encoder=True)
    made, x = sae_files.weights(), np.random.default_rng(7).standard_normal((5, sae_files.D_IN), dtype=np.float32)
    norms = np.linalg.norm(made["W_dec"], axis=1)
    factor = sae_files.D_IN**0.5 / 17.0
    encoder, bias = made["W_enc"] * norms, made["b_enc"] / factor * norms
    pre = (x - made["b_dec"] / factor) @ encoder + bias
    activations = load_encoder(read_config(folder), "cpu", torch.float32).encode(torch.from_numpy(x))
    np.testing.assert_allclose(activations.numpy(), np.where(pre > 0.5, pre, 0), rtol=1e-4, atol=1e-5)


def test_mistudio_keeps_a_percentage_of_the_features_of_a_rescaled_input(tmp_path: Path) -> None:
    """As SparseAutoencoder.normalize and .encode of miStudio do it."""
    extra = {"hf_model_name": "openai-community/gpt2", "top_k_sparsity": 20.0}
    config = read_config(sae_files.write_mistudio(tmp_path, activation_fn_str="topk", extra_metadata=extra))
    assert (config.format, config.architecture, config.k, config.layer) == ("mistudio", "topk", 3, 5)
    made, x = sae_files.weights(), np.random.default_rng(7).standard_normal((5, sae_files.D_IN), dtype=np.float32)
    x_scaled = x * sae_files.D_IN**0.5 / np.linalg.norm(x, axis=1, keepdims=True)
    pre = np.maximum(x_scaled @ made["W_enc"] + made["b_enc"], 0)
    naive = np.where(pre >= np.sort(pre, axis=1)[:, -3:-2], pre, 0)
    activations = load_encoder(config, "cpu", torch.float32).encode(torch.from_numpy(x))
    np.testing.assert_allclose(activations.numpy(), naive, rtol=1e-4, atol=1e-5)


def test_a_threshold_may_be_stored_as_its_logarithm(tmp_path: Path) -> None:
    """As SAELens trained JumpReLU until it stored the threshold itself."""
    made, x = sae_files.weights(), torch.ones(3, sae_files.D_IN)
    threshold = np.linspace(0.1, 3, sae_files.D_SAE, dtype=np.float32)
    activations = [
        load_encoder(config, "cpu", torch.float32).encode(x)
        for config in (
            read_config(sae_files.write_saelens(tmp_path / name, made | {name: values}, architecture="jumprelu"))
            for name, values in (("threshold", threshold), ("log_threshold", np.log(threshold)))
        )
    ]
    assert 0 < activations[0].count_nonzero() < activations[0].numel()
    torch.testing.assert_close(*activations)


def test_an_encoder_computes_in_the_dtype_it_is_asked_for(tmp_path: Path) -> None:
    encoder = load_encoder(read_config(sae_files.write_saelens(tmp_path)), "cpu", torch.bfloat16)
    assert encoder.encode(torch.ones(2, sae_files.D_IN)).dtype == torch.bfloat16


def test_an_encoder_without_its_tensors_is_refused(tmp_path: Path) -> None:
    made = sae_files.weights()
    for case, architecture, tensors, said in [
        ("none", "standard", {"W_dec": made["W_dec"]}, "has no W_enc"),
        ("no threshold", "jumprelu", made, "log_threshold"),
        ("no gate", "gated", made, "has no b_gate"),
        ("shape", "standard", made | {"b_enc": made["b_dec"]}, "expected"),
        ("nan", "standard", made | {"b_enc": made["b_enc"] * np.float32("nan")}, "not finite"),
    ]:
        config = read_config(sae_files.write_saelens(tmp_path / case, tensors, architecture=architecture))
        with pytest.raises(BrokenDecoder, match=said):
            load_encoder(config, "cpu", torch.float32)
