"""SAEs made to do harm, or broken: an error that says what is wrong, soon and in little memory, never a crash."""

import json
import os
import struct
from pathlib import Path
from typing import Any

import pytest
import torch

from inference.engine.saes.decoder import decoder_rows
from inference.engine.saes.directions import steering_vector
from inference.engine.saes.encoders import load_encoder
from inference.engine.saes.fingerprint import decoder_fingerprint
from steering.formats import BrokenDecoder, UnreadableSAE, read_config
from steering.tests import sae_files
from steering.tests.refusals import bounded, refused
from steering.tests.sae_files import D_IN, D_SAE

pytestmark = pytest.mark.usefixtures(bounded.__name__)


# configurations


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (b"[1]", "holds list: expected an object"),
        (b"null", "holds NoneType: expected an object"),
        (b"", "is not JSON"),
        (b"{", "is not JSON"),
        (b"\xff\xfe\xfa", "is not JSON"),
        (b"[" * 500_000, "is not JSON"),
        (b'{"d_in": ' + b"9" * 10_000 + b"}", "is not JSON"),
    ],
)
def test_json_that_is_no_configuration_is_refused(tmp_path: Path, text: bytes, said: str) -> None:
    (sae_files.write_saelens(tmp_path) / "cfg.json").write_bytes(text)
    assert said in refused(tmp_path)


@pytest.mark.parametrize(
    "config",
    [
        {"d_in": "8"},
        {"d_in": True},
        {"d_in": -8},
        {"d_in": 0},
        {"d_in": 8.5},
        {"d_in": float("nan")},
        {"d_in": 10**30},
        {"d_sae": [16]},
        {"hook_name": 3},
        {"hook_name": ["blocks.3.hook_resid_post"]},
        {"hook_name": "blocks.99999999999999999999.hook_resid_post"},
        {"hook_name": "blocks.³.hook_resid_post"},
        {"hook_layer": "3"},
        {"metadata": [1]},
        {"architecture": {}},
        {"apply_b_dec_to_input": "yes"},
        {"model_name": 1},
        {"normalize_activations": ["none"]},
        {"normalize_activations": {"a": 1}},
        {"activation_fn_str": "topk", "activation_fn_kwargs": [5]},
        {"extra_metadata": 5, "mistudio_training_id": "x"},
        {"extra_metadata": {"top_k_sparsity": "5"}, "mistudio_training_id": "x"},
        {"extra_metadata": {"top_k_sparsity": 10**12}, "mistudio_training_id": "x"},
        {"extra_metadata": {"top_k_sparsity": -3}, "mistudio_training_id": "x"},
    ],
)
def test_a_value_of_another_kind_is_refused(tmp_path: Path, config: dict[str, Any]) -> None:
    refused(sae_files.write_saelens(tmp_path, **config))


def test_a_configuration_of_100_mb_is_not_read(tmp_path: Path) -> None:
    sae_files.write_saelens(tmp_path)
    with (tmp_path / "cfg.json").open("r+b") as file:
        file.truncate(100 * 2**20)
    assert "has 104857600 bytes: expected a configuration of at most 1048576" in refused(tmp_path)


@pytest.mark.parametrize("name", ["cfg.json", "sae_weights.safetensors"])
def test_a_pipe_or_a_folder_in_place_of_a_file_is_refused(tmp_path: Path, name: str) -> None:
    (sae_files.write_saelens(tmp_path) / name).unlink()
    os.mkfifo(tmp_path / name)  # to open one waits for whoever writes into it
    refused(tmp_path)
    (tmp_path / name).unlink()
    (tmp_path / name).mkdir()
    refused(tmp_path)


# safetensors


def safetensors(header: object, data: bytes = b"", length: int | None = None) -> bytes:
    raw = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(raw) if length is None else length) + raw + data


def entry(**changes: Any) -> dict[str, Any]:
    return {"W_dec": {"dtype": "F32", "shape": [D_SAE, D_IN], "data_offsets": [0, 4 * D_SAE * D_IN]} | changes}


DATA = bytes(4 * D_SAE * D_IN)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "no safetensors file or is cut short"),
        (b"\x10\0\0", "no safetensors file or is cut short"),
        (safetensors({}, length=2**62), "its header would have 4611686018427387904 bytes"),
        (safetensors({}, length=2**64 - 1), "its header would have"),
        (safetensors({}, length=0), "its header would have 0 bytes"),
        (safetensors(b"[" * 100_000), "the safetensors header is not JSON"),
        (safetensors(b"\xff" * 100), "the safetensors header is not JSON"),
        (safetensors([1]), "the safetensors header is a list"),
        (safetensors({}), "has no decoder"),
        (safetensors({"W_dec": 5}), "is malformed"),
        (safetensors({"W_dec": {}}), "is malformed"),
        (safetensors(entry(shape=5), DATA), "is malformed"),
        (safetensors(entry(data_offsets=[0]), DATA), "is malformed"),
        (safetensors(entry(dtype=["F32"]), DATA), "has no decoder"),
        (safetensors(entry(dtype="I64"), DATA), "has no decoder"),
        (safetensors(entry(), DATA[:-1]), "is cut short: 'W_dec' ends at byte"),
        (safetensors(entry(data_offsets=[-512, 0]), DATA), "which do not fit"),
        (safetensors(entry(data_offsets=[0, 4]), DATA), "which do not fit"),
        (safetensors(entry(shape=[-D_SAE, -D_IN]), DATA), "which do not fit"),
        (safetensors(entry(shape=["16", 8]), DATA), "which do not fit"),
        (safetensors(entry(shape=[16.0, 8.0]), DATA), "which do not fit"),
        (safetensors(entry(shape=[D_SAE * D_IN]), DATA), "W_dec is 128: expected 16 x 8"),
        (safetensors(entry(shape=[4, 32]), DATA), "W_dec is 4 x 32: expected 16 x 8"),
        (safetensors(entry(shape=[D_SAE, D_IN, 1]), DATA), "W_dec is 16 x 8 x 1: expected 16 x 8"),
        (safetensors(entry(shape=[999_999_999] * 300_000), DATA), "which do not fit"),
        (safetensors(entry(shape=["9" * 10**6, 8]), DATA), "which do not fit"),
        (safetensors(entry(shape=[10**13, D_IN], data_offsets=[0, 32 * 10**13]), DATA), "is cut short"),
    ],
)
def test_a_broken_safetensors_file_is_refused(tmp_path: Path, content: bytes, said: str) -> None:
    (sae_files.write_saelens(tmp_path) / "sae_weights.safetensors").write_bytes(content)
    assert said in refused(tmp_path)


def test_a_file_that_is_cut_short_after_it_was_registered_is_an_error(tmp_path: Path) -> None:
    config = read_config(sae_files.write_saelens(tmp_path))
    with config.weights.open("r+b") as file:
        file.truncate(config.weights.stat().st_size // 2)
    for use in (
        lambda: decoder_rows(config, [1]),
        lambda: decoder_fingerprint(config),
        lambda: load_encoder(config, "cpu", torch.float32),
    ):
        with pytest.raises(UnreadableSAE, match="cut short"):
            use()
    config.weights.unlink()
    with pytest.raises(UnreadableSAE, match="is missing"):
        steering_vector(config, [(1, 1.0)])


def test_a_file_that_is_another_now_is_an_error(tmp_path: Path) -> None:
    config = read_config(sae_files.write_saelens(tmp_path))
    sae_files.write_saelens(tmp_path, sae_files.weights(d_sae=12), d_sae=12)
    with pytest.raises(BrokenDecoder, match=r"W_dec is \(12, 8\): expected \(16, 8\)"):
        decoder_rows(config, [1])


@pytest.mark.parametrize("value", ["nan", "inf", "-inf"])
def test_weights_that_are_not_finite_steer_nothing(tmp_path: Path, value: str) -> None:
    made = sae_files.weights()
    made["W_dec"][5, 2] = float(value)
    config = read_config(sae_files.write_saelens(tmp_path, made))
    with pytest.raises(BrokenDecoder, match="not finite"):
        steering_vector(config, [(4, 1.0), (5, 1.0)])
    with pytest.raises(BrokenDecoder, match="feature 5 is not finite"):
        decoder_fingerprint(config)
    assert torch.isfinite(steering_vector(config, [(4, 1.0)])).all()
