"""The decoder of an SAE: the same rows and fingerprint from every kind of file, read without torch and in no time."""

import hashlib
import json
import os
import struct
import subprocess
import sys
import time
import tracemalloc
from pathlib import Path
from typing import IO

import numpy as np
import pytest
from django.conf import settings
from safetensors import safe_open
from safetensors.numpy import load_file, save_file

from inference.engine.saes.decoder import decoder_chunks, decoder_rows
from inference.engine.saes.fingerprint import decoder_fingerprint
from steering.formats import BrokenDecoder, SAEConfig, read_config
from steering.formats.tensors import Float32, StoredTensor, stored_tensors
from steering.tests import sae_files
from steering.tests.sae_files import D_IN, D_SAE

GEMMA = "gemma-scope-2b-pt-res/layer_20/width_16k/average_l0_71"


def naive_fingerprint(decoder: sae_files.Array) -> str:
    rows, columns = decoder.shape
    return hashlib.sha256(f"{rows}x{columns}".encode() + decoder.astype("<f4").tobytes()).hexdigest()


def decoders_of_one_sae(folder: Path) -> dict[str, SAEConfig]:
    """The same decoder in every form that a file can have it in."""
    made = sae_files.weights() | {"threshold": np.ones(D_SAE, np.float32)}
    turned = made | {"W_dec": np.asfortranarray(made["W_dec"])}
    transposed = made | {"W_dec": made["W_dec"].T.copy()}
    gemma = {"plain": made, "fortran": turned, "transposed": transposed}
    return {
        "saelens": read_config(sae_files.write_saelens(folder / "a")),
        "saelens transposed": read_config(sae_files.write_saelens(folder / "b", transposed)),
        "saelens float64": read_config(
            sae_files.write_saelens(folder / "c", {"W_dec": made["W_dec"].astype(np.float64)})
        ),
        "mistudio": read_config(sae_files.write_mistudio(folder / "d")),
        "llama scope": read_config(sae_files.write_llama_scope(folder / "e")),
        "sparsify": read_config(sae_files.write_sparsify(folder / "layers.3")),
        "dictionary_learning": read_config(sae_files.write_dictionary_learning(folder / "f")),
        **{
            f"gemma scope {kind} {compressed=}": read_config(
                sae_files.write_gemma_scope(folder / f"{kind}{compressed}" / GEMMA, tensors, compressed)
            )
            for kind, tensors in gemma.items()
            for compressed in (False, True)
        },
    }


def test_one_decoder_has_one_fingerprint_and_the_same_rows_in_every_file(tmp_path: Path) -> None:
    decoder = sae_files.weights()["W_dec"]
    for name, config in decoders_of_one_sae(tmp_path).items():
        told: list[float] = []
        assert decoder_fingerprint(config, told.append) == naive_fingerprint(decoder), name
        assert told[-1] == 1.0
        wanted = [D_SAE - 1, 0, 7, 7]
        rows = decoder_rows(config, wanted)
        assert rows.dtype == np.float32, name
        np.testing.assert_array_equal(rows, decoder[wanted], err_msg=name)
        blocks = list(decoder_chunks(config, 5))
        assert [len(block) for block in blocks] == [5, 5, 5, 1], name
        np.testing.assert_array_equal(np.concatenate(blocks), decoder, err_msg=name)
        assert decoder_rows(config, []).shape == (0, D_IN), name


def test_the_fingerprint_of_the_demo_is_that_of_all_its_values() -> None:
    config = read_config(settings.BASE_DIR / "inference" / "demo" / "tiny" / "files" / "sae")
    assert decoder_fingerprint(config) == naive_fingerprint(load_file(config.weights)["W_dec"])


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_half_precision_is_read_without_a_loss(tmp_path: Path, dtype: str) -> None:
    import torch
    from safetensors.torch import save_file as save_torch

    folder = sae_files.write_saelens(tmp_path)
    decoder = torch.from_numpy(sae_files.weights()["W_dec"]).to(getattr(torch, dtype))
    decoder[0, :4] = torch.tensor([0.0, -0.0, 1e-7, -65000.0])
    save_torch({"W_dec": decoder}, folder / "sae_weights.safetensors")
    np.testing.assert_array_equal(decoder_rows(read_config(folder), range(D_SAE)), decoder.float().numpy())


def test_our_safetensors_headers_are_those_of_its_library(tmp_path: Path) -> None:
    tensors = sae_files.weights() | {"counter": np.arange(3), "scalar": np.array(2, np.float32)}
    save_file(tensors, tmp_path / "a.safetensors", metadata={"format": "pt"})
    stored = stored_tensors(tmp_path / "a.safetensors")
    with safe_open(tmp_path / "a.safetensors", framework="np") as file:
        assert stored.keys() == set(file.keys()) - {"counter"}
        for name, tensor in stored.items():
            assert tensor.shape == tuple(file.get_slice(name).get_shape())
            np.testing.assert_array_equal(tensor.read(), file.get_tensor(name))


def test_a_large_sae_costs_what_its_few_rows_cost(tmp_path: Path) -> None:
    """65,536 x 2,304 float32, 604 MB, as a sparse file of zeros with one row of ones."""
    d_sae, d_in, marked = 65_536, 2_304, 65_000
    header = json.dumps({"W_dec": {"dtype": "F32", "shape": [d_sae, d_in], "data_offsets": [0, d_sae * d_in * 4]}})
    with (tmp_path / "sae_weights.safetensors").open("wb") as file:
        file.write(struct.pack("<Q", len(header)) + header.encode())
        start = file.tell()
        file.seek(start + marked * d_in * 4)
        file.write(np.ones(d_in, "<f4").tobytes())
        file.truncate(start + d_sae * d_in * 4)
    sae_files.write_config(tmp_path / "cfg.json", {"d_in": d_in, "d_sae": d_sae, "hook_name": sae_files.HOOK_NAME})
    tracemalloc.start()
    started = time.thread_time()  # not what other processes take
    rows = decoder_rows(read_config(tmp_path), [marked, *range(0, 57_000, 3_000)])
    took_s = time.thread_time() - started
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert rows.shape == (20, d_in)
    assert (rows[0] == 1).all()
    assert not rows[1:].any()
    assert took_s < 0.05
    assert peak < 5e6


def test_a_compressed_decoder_is_unpacked_once_for_the_same_features(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / GEMMA
    made = sae_files.weights() | {"threshold": np.ones(D_SAE, np.float32)}
    config = read_config(sae_files.write_gemma_scope(folder, made, compressed=True))
    taken: list[int] = []
    take = StoredTensor.take

    def counted(tensor: StoredTensor, file: IO[bytes], count: int) -> Float32:
        taken.append(count)
        return take(tensor, file, count)

    monkeypatch.setattr(StoredTensor, "take", counted)
    for _ in range(3):
        rows = decoder_rows(config, [5, 2])
        np.testing.assert_array_equal(rows, made["W_dec"][[5, 2]])
        rows[:] = 0  # its own
    assert len(taken) == 1
    made["W_dec"] = made["W_dec"] + 1
    sae_files.write_gemma_scope(folder, made, compressed=True)
    os.utime(config.weights, ns=(1, 1))
    np.testing.assert_array_equal(decoder_rows(config, [5, 2]), made["W_dec"][[5, 2]])


def test_configurations_and_rows_are_read_without_torch(tmp_path: Path) -> None:
    folder = sae_files.write_saelens(tmp_path)
    code = (
        "import sys, pathlib, steering.formats, inference.engine.saes.decoder, inference.engine.saes.fingerprint\n"
        f"config = steering.formats.read_config(pathlib.Path({str(folder)!r}))\n"
        "inference.engine.saes.decoder.decoder_rows(config, [1])\n"
        "inference.engine.saes.fingerprint.decoder_fingerprint(config)\n"
        "assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], cwd=settings.BASE_DIR, check=True, timeout=60)


def test_a_feature_that_the_sae_does_not_have_is_refused(tmp_path: Path) -> None:
    config = read_config(sae_files.write_saelens(tmp_path))
    for index in (D_SAE, -1, 10**12):
        with pytest.raises(BrokenDecoder, match=f"feature {index} is out of range: .* has 16 features"):
            decoder_rows(config, [0, index])


def test_a_square_decoder_is_read_as_its_name_says(tmp_path: Path) -> None:
    made = sae_files.weights(D_IN, D_IN)
    rows = read_config(sae_files.write_saelens(tmp_path / "a", made, d_sae=D_IN))
    linear = {"encoder.weight": made["W_enc"].T.copy(), "decoder.weight": made["W_dec"].T.copy()}
    columns = read_config(sae_files.write_llama_scope(tmp_path / "b", linear, d_sae=D_IN))
    assert (rows.transposed, columns.transposed) == (False, True)
    np.testing.assert_array_equal(decoder_rows(rows, [1]), made["W_dec"][[1]])
    np.testing.assert_array_equal(decoder_rows(columns, [1]), made["W_dec"][[1]])
