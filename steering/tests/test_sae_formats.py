"""What the folders of SAEs say: format, layer, hook point and model, or an error that names what is wrong."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import save_file

from inference.engine.saes.decoder import decoder_rows
from steering.formats import UnreadableSAE, read_config
from steering.tests import sae_files
from steering.tests.sae_files import D_SAE

GEMMA = "gemma-scope-2b-pt-res/layer_20/width_16k/average_l0_71"


@pytest.mark.parametrize("point", ["hook_resid_pre", "hook_attn_out", "hook_mlp_out", "hook_resid_post"])
def test_the_four_hook_points_are_read(tmp_path: Path, point: str) -> None:
    config = read_config(sae_files.write_saelens(tmp_path, hook_name=f"blocks.11.{point}"))
    assert (config.layer, config.hook_point) == (11, point)


@pytest.mark.parametrize(
    "hook_name",
    [
        "blocks.3.attn.hook_z",
        "blocks.3.hook_mlp_in",
        "hook_embed",
        "blocks.x.hook_resid_post",
        "blocks.3.hook_resid_post\n",
    ],
)
def test_any_other_hook_point_is_refused_by_name(tmp_path: Path, hook_name: str) -> None:
    folder = sae_files.write_saelens(tmp_path, hook_name=hook_name)
    with pytest.raises(UnreadableSAE) as error:
        read_config(folder)
    assert repr(hook_name) in str(error.value)


def test_old_and_new_keys_of_saelens_say_the_same(tmp_path: Path) -> None:
    where: dict[str, Any] = {"hook_name": "blocks.2.hook_resid_pre", "model_name": "pythia-70m"}
    forms: dict[str, dict[str, Any]] = {
        "new": {"hook_name": None, "model_name": None, "metadata": where},
        "flat": where | {"hook_layer": 2},
        "point": {"hook_name": None, "hook_point": "blocks.2.hook_resid_pre", "hook_point_layer": 2},
        "pattern": {"hook_name": None, "hook_point": "blocks.{layer}.hook_resid_pre", "hook_point_layer": 2},
        "no d_sae": where | {"d_sae": None},
    }
    for name, config in forms.items():
        read = read_config(sae_files.write_saelens(tmp_path / name, **{"model_name": "pythia-70m", **config}))
        found = (read.format, read.layer, read.hook_name, read.model_name, read.d_sae)
        assert found == ("saelens", 2, "blocks.2.hook_resid_pre", "pythia-70m", D_SAE), name


@pytest.mark.parametrize(
    ("config", "said"),
    [
        ({"hook_name": None}, "lacks 'hook_name'"),
        ({"hook_layer": 4}, "expected one layer"),
        ({"d_in": None}, "lacks 'd_in'"),
        ({"d_sae": 17}, r"W_dec is 16 x 8: expected 17 x 8"),
        ({"d_in": 9}, r"W_dec is 16 x 8: expected 16 x 9"),
        ({"architecture": "temporal"}, "architecture 'temporal' is not supported"),
        ({"architecture": "topk"}, "lacks 'k'"),
        ({"architecture": "topk", "k": 17}, "k is 17: expected 1 to 16"),
        ({"normalize_activations": "whatever"}, "normalize_activations 'whatever' is not supported"),
        ({"metadata": {"hook_name_out": "blocks.3.hook_mlp_out"}}, "transcoder"),
    ],
)
def test_a_saelens_configuration_that_does_not_fit_is_refused(
    tmp_path: Path, config: dict[str, Any], said: str
) -> None:
    with pytest.raises(UnreadableSAE, match=said):
        read_config(sae_files.write_saelens(tmp_path, **config))


@pytest.mark.parametrize(
    ("path", "found"),
    [
        (GEMMA, (20, "hook_resid_post", "google/gemma-2-2b")),
        ("gemma-scope-9b-it-res/layer_0/width_131k/average_l0_9", (0, "hook_resid_post", "google/gemma-2-9b-it")),
        ("gemma-scope-27b-pt-mlp/layer_12/width_16k/canonical", (12, "hook_mlp_out", "google/gemma-2-27b")),
        ("gemma-scope-2b-pt-res-canonical/layer_5/width_1m/canonical", (5, "hook_resid_post", "google/gemma-2-2b")),
        (
            "models--google--gemma-scope-2b-pt-res/snapshots/fd57/layer_7/width_16k/average_l0_6",
            (7, "hook_resid_post", "google/gemma-2-2b"),
        ),
        (
            "gemma-scope-2-1b-pt/resid_post/layer_13_width_16k_l0_small",
            (13, "hook_resid_post", "google/gemma-3-1b-pt"),
        ),
        ("gemma-scope-2-270m-it/mlp_out/layer_5_width_16k_l0_big", (5, "hook_mlp_out", "google/gemma-3-270m-it")),
    ],
)
def test_gemma_scope_is_placed_by_its_path(tmp_path: Path, path: str, found: tuple[int, str, str]) -> None:
    by_folder = read_config(sae_files.write_gemma_scope(tmp_path / path))
    by_path = read_config(sae_files.write_gemma_scope(tmp_path / "copied"), path=path)
    for config in (by_folder, by_path):
        assert (config.layer, config.hook_point, config.model_name) == found
        assert (config.format, config.architecture, config.d_in, config.d_sae) == ("gemma_scope", "jumprelu", 8, 16)


def test_the_path_that_is_told_wins_over_that_of_the_folder(tmp_path: Path) -> None:
    folder = sae_files.write_gemma_scope(tmp_path / GEMMA)
    config = read_config(folder, path="google/gemma-scope-9b-pt-mlp/layer_3/width_16k/average_l0_7")
    assert (config.hook_name, config.model_name) == ("blocks.3.hook_mlp_out", "google/gemma-2-9b")


@pytest.mark.parametrize(
    ("path", "said"),
    [
        ("copied", "says where it steers"),
        ("layer_20/width_16k/average_l0_71", "says where it steers"),
        ("gemma-scope-2b-pt-res/width_16k/average_l0_71", "layer_<number>"),
        ("gemma-scope-2b-pt-res/embedding/width_4k/average_l0_6", "embedding"),
        ("gemma-scope-2b-pt-att/layer_20/width_16k/average_l0_71", "before W_O"),
        ("gemma-scope-2b-pt-transcoders/layer_20/width_16k/average_l0_71", "gemma-scope-2b-pt-transcoders"),
        ("gemma-scope-2-1b-pt/attn_out/layer_13_width_16k_l0_small", "before W_O"),
        ("gemma-scope-2-1b-pt/transcoder/layer_13_width_16k_l0_small", "not supported"),
    ],
)
def test_gemma_scope_without_a_place_that_steers_is_refused(tmp_path: Path, path: str, said: str) -> None:
    with pytest.raises(UnreadableSAE, match=said):
        read_config(sae_files.write_gemma_scope(tmp_path / path))


def test_gemma_scope_2_is_read_from_safetensors(tmp_path: Path) -> None:
    folder = tmp_path / "gemma-scope-2-1b-pt" / "resid_post" / "layer_13_width_16k_l0_small"
    folder.mkdir(parents=True)
    made = sae_files.weights() | {"threshold": np.ones(D_SAE, np.float32)}
    save_file({name.replace("W_", "w_"): values for name, values in made.items()}, folder / "params.safetensors")
    config = read_config(folder)
    assert (config.layer, config.model_name, config.decoder) == (13, "google/gemma-3-1b-pt", "w_dec")
    np.testing.assert_array_equal(decoder_rows(config, [3]), made["W_dec"][[3]])


@pytest.mark.parametrize(("site", "point"), [("R", "hook_resid_post"), ("M", "hook_mlp_out"), ("A", "hook_attn_out")])
def test_llama_scope_is_placed_by_its_configuration_or_its_folder(tmp_path: Path, site: str, point: str) -> None:
    folder = tmp_path / f"Llama3_1-8B-Base-L9{site}-8x"
    for hook_point in (f"blocks.9.{point}", None):
        where: dict[str, Any] = {"hook_point_in": hook_point, "hook_point_out": hook_point}
        config = read_config(sae_files.write_llama_scope(folder, **where))
        assert (config.layer, config.hook_point, config.model_name) == (9, point, "meta-llama/Llama-3.1-8B")


@pytest.mark.parametrize(
    ("folder", "config", "said"),
    [
        ("Llama3_1-8B-Base-L9M-8x", {}, "says blocks.15.hook_resid_post, the folder's name blocks.9.hook_mlp_out"),
        ("copied", {"hook_point_in": None, "hook_point_out": None}, "lacks 'hook_point_in'"),
        ("Llama3_1-8B-Base-L9TC-8x", {}, "expected one of R, M and A"),
        ("copied", {"hook_point_out": "blocks.15.hook_mlp_out"}, "transcoder"),
        ("copied", {"use_glu_encoder": True}, "GLU"),
        ("copied", {"dataset_average_activation_norm": None}, "lacks 'in'"),
        ("copied", {"dataset_average_activation_norm": {"in": 0}}, "expected more than 0"),
    ],
)
def test_a_llama_scope_that_does_not_fit_is_refused(
    tmp_path: Path, folder: str, config: dict[str, Any], said: str
) -> None:
    with pytest.raises(UnreadableSAE, match=said):
        read_config(sae_files.write_llama_scope(tmp_path / folder, **config))


@pytest.mark.parametrize(
    ("folder", "found"),
    [
        ("layers.12", (12, "hook_resid_post")),
        ("layers_12", (12, "hook_resid_post")),
        ("gpt_neox.layers.0", (0, "hook_resid_post")),
        ("h.7", (7, "hook_resid_post")),
        ("layers.12.mlp", (12, "hook_mlp_out")),
        ("layers.3.self_attn", (3, "hook_attn_out")),
        ("layers.3.attention", (3, "hook_attn_out")),
    ],
)
def test_sparsify_is_placed_by_its_folder(tmp_path: Path, folder: str, found: tuple[int, str]) -> None:
    config = read_config(sae_files.write_sparsify(tmp_path / folder))
    assert (config.format, config.architecture, config.k) == ("sparsify", "topk", 4)
    assert (config.layer, config.hook_point) == found
    assert read_config(sae_files.write_sparsify(tmp_path / "copied"), path=f"sae/{folder}").layer == found[0]


@pytest.mark.parametrize(
    ("folder", "config", "said"),
    [
        ("embed_tokens", {}, "hook point"),
        ("layers.12.mlp.down_proj", {}, "hook point"),
        ("layers.12.input_layernorm", {}, "hook point 'layers.12.input_layernorm' is not supported"),
        ("layers.12", {"transcode": True}, "transcoder"),
        ("layers.12", {"k": None}, "lacks 'k'"),
        ("layers.12", {"activation": "groupmax", "k": 3}, "groups of one size"),
    ],
)
def test_a_sparsify_folder_that_does_not_fit_is_refused(
    tmp_path: Path, folder: str, config: dict[str, Any], said: str
) -> None:
    with pytest.raises(UnreadableSAE, match=said):
        read_config(sae_files.write_sparsify(tmp_path / folder, **config))


@pytest.mark.parametrize(
    ("name", "point"),
    [
        (None, "hook_resid_post"),
        ("resid_post_layer_3", "hook_resid_post"),
        ("mlp_out_layer3", "hook_mlp_out"),
        ("attention_out_layer_3", "hook_attn_out"),
    ],
)
def test_dictionary_learning_is_placed_by_its_trainer(tmp_path: Path, name: str | None, point: str) -> None:
    config = read_config(sae_files.write_dictionary_learning(tmp_path, submodule_name=name))
    assert (config.format, config.layer, config.hook_point) == ("dictionary_learning", 3, point)
    assert (config.decoder, config.transposed) == ("decoder.weight", True)


@pytest.mark.parametrize(
    ("trainer", "said"),
    [
        ({"layer": None}, "lacks 'layer'"),
        ({"submodule_name": "resid_post_layer_4"}, "expected one layer"),
        ({"submodule_name": "hook_z_layer_3"}, "hook point 'hook_z_layer_3' is not supported"),
        ({"dict_class": "IdentityDict"}, "dict_class 'IdentityDict' is not supported"),
        ({"dict_size": 17}, "no tensor of the 136 values"),
    ],
)
def test_a_dictionary_that_does_not_fit_is_refused(tmp_path: Path, trainer: dict[str, Any], said: str) -> None:
    with pytest.raises(UnreadableSAE, match=said):
        read_config(sae_files.write_dictionary_learning(tmp_path, **trainer))


def test_a_folder_without_an_sae_says_what_was_expected(tmp_path: Path) -> None:
    for folder in (tmp_path, tmp_path / "missing"):
        with pytest.raises(UnreadableSAE, match=r"expected one of sae_weights.safetensors, sae.safetensors"):
            read_config(folder)
    (tmp_path / "cfg.json").write_text("{}")
    with pytest.raises(UnreadableSAE, match=r"sae_weights.safetensors or sae.safetensors is missing"):
        read_config(tmp_path)
