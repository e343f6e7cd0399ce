"""A feature or a vector is exported as a control vector in GGUF: by REST and by command, read by the library `gguf`."""

from io import StringIO
from pathlib import Path
from typing import Any

import gguf
import httpx
import numpy as np
import pytest
from django.contrib.auth import get_user_model
from django.core.management import CommandError, call_command
from rest_framework.test import APIClient

from inference.demo.tiny import FILES
from inference.engine.saes.decoder import decoder_rows
from inference.models import LanguageModel
from inference.tests.conftest import Server
from steering.formats import read_config
from steering.formats.control_vector import NoControlVector, block_of, control_vector
from steering.models import SAE
from steering.tests.sae_files import Array
from steering.tests.vector_files import directions, write_control_vector, write_vectors

WIDTH = 128
CONFIG = read_config(FILES / "sae")


def read(path: Path) -> tuple[dict[str, Any], dict[str, Array]]:
    """Keys and tensors of a file, as the library `gguf` reads them."""
    found = gguf.GGUFReader(path)
    keys = {name: field.contents() for name, field in found.fields.items() if not name.startswith("GGUF.")}
    return keys, {tensor.name: np.array(tensor.data) for tensor in found.tensors}


def get(server: Server, api_key: str, path: str, **headers: str) -> httpx.Response:
    return httpx.get(f"{server.url}{path}", headers={"Authorization": f"Bearer {api_key}", **headers}, timeout=60)


def export(tmp_path: Path, sae: str, index: int = 0) -> tuple[Path, str]:
    """The file that the command writes, and what it says."""
    path, err = tmp_path / "exported.gguf", StringIO()
    call_command("export_vector", sae, str(index), str(path), stderr=err)
    return path, err.getvalue()


def test_a_feature_of_an_sae_is_a_control_vector_at_its_layer(server: Server, api_key: str, tmp_path: Path) -> None:
    url = "/api/saes/demo-sae/features/8/vector.gguf"
    answer = get(server, api_key, url, Accept="application/x-gguf")
    assert (answer.status_code, answer.headers["Content-Type"]) == (200, "application/octet-stream")
    assert answer.headers["Content-Disposition"] == 'attachment; filename="demo-sae-8.gguf"'
    (tmp_path / "a.gguf").write_bytes(answer.content)
    keys, tensors = read(tmp_path / "a.gguf")
    layer = f"direction.{CONFIG.layer}"
    assert keys == {
        "general.architecture": "controlvector",
        "controlvector.model_hint": "llama",
        "controlvector.layer_count": 1,
    }
    assert list(tensors) == [layer]
    np.testing.assert_array_equal(tensors[layer], decoder_rows(CONFIG, [8])[0])
    again = read_config(tmp_path / "a.gguf")  # and as we read it
    assert (again.layers, again.hook_name) == ((CONFIG.layer,), CONFIG.hook_name)
    np.testing.assert_array_equal(decoder_rows(again, [0]), decoder_rows(CONFIG, [8]))


def test_a_control_vector_comes_back_byte_for_byte(server: Server, tmp_path: Path) -> None:
    """As repeng writes one, layers from the last to the first, and as EasySteer does; more than one event's worth."""
    for name, method, width, layers in (("repeng", "", WIDTH, (2, 1)), ("wide", "diffmean", 50_001, (31, 30, 7, 1))):
        path = write_control_vector(tmp_path / name / "a.gguf", directions(*layers, width=width), method=method)
        sae = SAE.objects.register(str(path.parent), sae_id=name, anywhere=True)
        assert (sae.d_sae, sae.layers) == (1, sorted(layers))
        exported, told = export(tmp_path, name)
        assert exported.read_bytes() == path.read_bytes()
        assert "at layer " + ", ".join(map(str, sorted(layers))) in told


def test_half_precision_is_exported_as_float32_which_llama_cpp_reads(server: Server, tmp_path: Path) -> None:
    made = {layer: values.astype(np.float16) for layer, values in directions(2, 1).items()}
    write_control_vector(tmp_path / "half.gguf", made, "qwen2", "pca")
    SAE.objects.register(str(tmp_path), path="half.gguf", sae_id="half", anywhere=True)
    keys, tensors = read(export(tmp_path, "half")[0])
    assert (keys["controlvector.model_hint"], keys["controlvector.method"]) == ("qwen2", "pca")
    assert {name: values.dtype for name, values in tensors.items()} == dict.fromkeys(tensors, np.float32)
    for layer, direction in made.items():
        np.testing.assert_array_equal(tensors[f"direction.{layer}"], direction.astype(np.float32))


def test_a_vector_of_a_set_is_exported_and_the_export_is_exported_the_same(server: Server, tmp_path: Path) -> None:
    values = np.random.default_rng(0).standard_normal((3, WIDTH), dtype=np.float32)
    write_vectors(tmp_path / "set", values, hook_name="blocks.2.hook_resid_pre")
    SAE.objects.register(str(tmp_path / "set"), sae_id="set", anywhere=True)
    first = export(tmp_path, "set", 1)[0].rename(tmp_path / "first.gguf")
    _, tensors = read(first)
    assert list(tensors) == ["direction.1"]  # before block 2 is behind block 1
    np.testing.assert_array_equal(tensors["direction.1"], values[1])
    SAE.objects.register(str(tmp_path), path="first.gguf", sae_id="first", anywhere=True)
    assert export(tmp_path, "first")[0].read_bytes() == first.read_bytes()


def test_a_direction_behind_block_0_is_told_of(server: Server, tmp_path: Path) -> None:
    write_control_vector(tmp_path / "zero.gguf", directions(0, 1))
    SAE.objects.register(str(tmp_path), path="zero.gguf", sae_id="zero", anywhere=True)
    exported, told = export(tmp_path, "zero")
    assert list(read(exported)[1]) == ["direction.0", "direction.1"]
    assert "llama.cpp refuses it" in told


@pytest.mark.parametrize(
    ("hook_name", "block"),
    [("blocks.3.hook_resid_post", 3), ("blocks.3.hook_resid_pre", 2), ("blocks.3.hook_mlp_out", 3)],
)
def test_the_block_behind_which_a_hook_point_lies(hook_name: str, block: int) -> None:
    assert block_of(hook_name) == block


@pytest.mark.parametrize("hook_name", ["blocks.3.hook_attn_out", "blocks.0.hook_resid_pre"])
def test_a_hook_point_that_is_behind_no_block_is_refused(hook_name: str) -> None:
    with pytest.raises(NoControlVector, match="is added behind a block, not at blocks"):
        block_of(hook_name)


def test_a_direction_that_is_not_finite_is_refused() -> None:
    with pytest.raises(Exception, match="the direction at layer 1 is not finite"):
        control_vector(CONFIG, {1: np.full(4, np.nan, np.float32)}, "llama")


def test_what_cannot_be_exported_is_refused(server: Server, api_key: str, tmp_path: Path) -> None:
    write_vectors(tmp_path / "set", np.ones((1, WIDTH), np.float32), hook_name="blocks.1.hook_attn_out")
    SAE.objects.register(str(tmp_path / "set"), sae_id="set", anywhere=True)
    SAE.objects.create(id="far", source="owner/far")
    SAE.objects.create(
        id="gone", source=str(tmp_path / "gone"), status="ready", d_in=8, d_sae=1, hook_name="blocks.1.hook_resid_post"
    )
    for path, status, code in (
        ("demo-sae/features/99999/vector.gguf", 404, "feature_not_found"),
        ("nobody/features/0/vector.gguf", 404, "sae_not_found"),
        ("far/features/0/vector.gguf", 409, "sae_not_ready"),
        ("set/features/0/vector.gguf", 409, "no_control_vector"),
        ("gone/features/0/vector.gguf", 409, "sae_unavailable"),
    ):
        answer = get(server, api_key, f"/api/saes/{path}", Accept="application/octet-stream")
        assert (answer.status_code, answer.json()["code"]) == (status, code), path
    for words, told in (
        (("demo-sae", "-1"), "INDEX: got -1"),
        (("demo-sae", "99999"), "is out of range"),
        (("nobody", "0"), "there is no SAE 'nobody'"),
    ):
        with pytest.raises(CommandError, match=told):
            export(tmp_path, words[0], int(words[1]))
    with pytest.raises(CommandError, match="cannot be written"):
        export(tmp_path / "no" / "such", "demo-sae", 1)
    LanguageModel.objects.update(is_current=False)
    assert get(server, api_key, "/api/saes/demo-sae/features/8/vector.gguf").json()["code"] == "no_current_model"


def test_it_needs_the_permission_to_see_features(db: None) -> None:
    SAE.objects.create(id="s", source="/s", status="ready", d_sae=1, d_in=8, hook_name="blocks.1.hook_resid_post")
    client = APIClient()
    client.force_authenticate(get_user_model().objects.create_user("nobody"))
    assert client.get("/api/saes/s/features/0/vector.gguf").status_code == 403
