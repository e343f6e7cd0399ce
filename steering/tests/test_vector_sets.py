"""Vector sets: control vectors in GGUF as their writers lay them out, and folders of vectors. No encoder is needed."""

import hashlib
import json
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import pytest
from safetensors.numpy import save_file

from inference.engine.reading.nearest_features import nearest_features
from inference.engine.saes.decoder import decoder_chunks, decoder_rows
from inference.engine.saes.fingerprint import decoder_fingerprint
from steering.formats import BrokenDecoder, UnreadableSAE, read_config
from steering.hub.catalogue import LARGEST_CONTROL_VECTOR, find_saes, list_folder
from steering.tests.vector_files import (
    WIDTH,
    directions,
    write_control_vector,
    write_model_gguf,
    write_vectors,
)

VALUES = np.random.default_rng(1).standard_normal((3, WIDTH), dtype=np.float32)


# control vectors


def test_a_control_vector_of_repeng_is_read(tmp_path: Path) -> None:
    made = directions(5, 4, 3, 1)  # repeng's order: from the last layer to the first
    write_control_vector(tmp_path / "honesty.gguf", made, hint="mistral")
    config = read_config(tmp_path)
    assert (config.format, config.architecture, config.d_in, config.d_sae) == ("control_vector", "vectors", WIDTH, 1)
    assert (config.layer, config.layers, config.hook_name) == (1, (1, 3, 4, 5), "blocks.1.hook_resid_post")
    assert config.model_name == "mistral"
    for layer, direction in made.items():
        [row] = decoder_rows(config, [0], layer)
        np.testing.assert_array_equal(row, direction)
        [chunk] = decoder_chunks(config, layer=layer)
        np.testing.assert_array_equal(chunk, [direction])


def test_a_control_vector_of_easysteer_is_read(tmp_path: Path) -> None:
    """It has one key more, may have layer 0, and directions of one layer alone."""
    made = directions(0)
    config = read_config(write_control_vector(tmp_path / "happy.gguf", made, "qwen2", "diffmean").parent)
    assert (config.layers, config.model_name) == ((0,), "qwen2")
    np.testing.assert_array_equal(decoder_rows(config, [0]), [made[0]])


@pytest.mark.parametrize("dtype", [np.float16, np.float32])
def test_half_precision_is_read_without_a_loss(tmp_path: Path, dtype: Any) -> None:
    made = {layer: values.astype(dtype) for layer, values in directions(2, 3, width=7).items()}
    config = read_config(write_control_vector(tmp_path / "a.gguf", made))
    for layer, direction in made.items():
        np.testing.assert_array_equal(decoder_rows(config, [0], layer), [direction.astype(np.float32)])


def test_another_alignment_and_further_keys_are_read(tmp_path: Path) -> None:
    path = tmp_path / "a.gguf"
    writer = gguf.GGUFWriter(path, "controlvector")
    writer.add_custom_alignment(64)
    writer.add_array("controlvector.made.of", [["a", "b"], ["c"]][0])
    writer.add_float64("controlvector.share", 0.5)
    writer.add_bool("controlvector.normalize", False)
    made = directions(7, 8, width=5)
    for layer, values in made.items():
        writer.add_tensor(f"direction.{layer}", values)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    config = read_config(path)
    assert config.model_name == ""
    for layer, direction in made.items():
        np.testing.assert_array_equal(decoder_rows(config, [0], layer), [direction])


def test_a_set_of_several_layers_needs_the_layer(tmp_path: Path) -> None:
    config = read_config(write_control_vector(tmp_path / "a.gguf", directions(2, 3)))
    with pytest.raises(BrokenDecoder, match="spans the layers 2, 3: name one of them"):
        decoder_rows(config, [0])
    with pytest.raises(BrokenDecoder, match="no direction at layer 4: expected one of 2, 3"):
        decoder_rows(config, [0], 4)
    with pytest.raises(BrokenDecoder, match="feature 1 is out of range"):
        decoder_rows(config, [1], 2)


def test_a_control_vector_beside_a_model_is_found_and_of_two_one_must_be_named(tmp_path: Path) -> None:
    write_model_gguf(tmp_path / "a-model.gguf")
    write_control_vector(tmp_path / "b.gguf", directions(2))
    assert read_config(tmp_path).weights.name == "b.gguf"
    write_control_vector(tmp_path / "c.gguf", directions(4))
    with pytest.raises(UnreadableSAE, match=r"has 2 control vectors \(b.gguf, c.gguf\): name one of them in the path"):
        read_config(tmp_path)
    assert read_config(tmp_path / "c.gguf").layers == (4,)


def test_a_model_is_refused_by_its_architecture(tmp_path: Path) -> None:
    write_model_gguf(tmp_path / "model.gguf")
    with pytest.raises(UnreadableSAE, match=r"general\.architecture is 'llama': expected 'controlvector'"):
        read_config(tmp_path)


# vectors


@pytest.mark.parametrize("kind", [{}, {"npz": True}, {"npz": True, "compressed": True}])
def test_a_folder_of_vectors_is_read(tmp_path: Path, kind: dict[str, bool]) -> None:
    labels = ["sea", "", "Müsik"]
    config = read_config(write_vectors(tmp_path, VALUES, labels=labels, made={"by": "hand"}, **kind))
    assert (config.format, config.architecture, config.d_in, config.d_sae) == ("vectors", "vectors", WIDTH, 3)
    assert (config.layers, config.hook_name, config.model_name) == ((3,), "blocks.3.hook_resid_post", "gpt2")
    assert config.labels == tuple(labels)
    np.testing.assert_array_equal(decoder_rows(config, [2, 0]), VALUES[[2, 0]])
    np.testing.assert_array_equal(decoder_rows(config, [2, 0], 3), VALUES[[2, 0]])
    assert decoder_fingerprint(config) == hashlib.sha256(f"3x{WIDTH}".encode() + VALUES.tobytes()).hexdigest()


def test_the_metadata_of_a_safetensors_file_say_the_same(tmp_path: Path) -> None:
    metadata = {"hook_name": "blocks.7.hook_resid_pre", "labels": json.dumps(["a", "b", "c"]), "format": "pt"}
    save_file({"vectors": VALUES}, tmp_path / "vectors.safetensors", metadata=metadata)
    config = read_config(tmp_path)
    assert (config.layer, config.hook_point, config.labels) == (7, "hook_resid_pre", ("a", "b", "c"))
    save_file({"vectors": VALUES}, tmp_path / "vectors.safetensors", metadata={"layer": "2"})
    assert read_config(tmp_path).hook_name == "blocks.2.hook_resid_post"


@pytest.mark.parametrize(
    ("config", "said"),
    [
        ({"hook_name": None}, "lacks 'hook_name'"),
        ({"layer": 4}, "expected one layer"),
        ({"hook_name": "blocks.1.hook_z"}, "hook point 'blocks.1.hook_z' is not supported"),
        ({"format": "sae"}, "format is 'sae': expected 'vectors'"),
        ({"labels": ["one"]}, "labels are 1 labels: expected a list of 3 strings"),
        ({"labels": "abc"}, "labels are a string: expected a list of 3 strings"),
        ({"labels": ["a", 2, "c"]}, "label 1 is 2: expected text"),
    ],
)
def test_a_wrong_configuration_is_refused(tmp_path: Path, config: dict[str, Any], said: str) -> None:
    with pytest.raises(UnreadableSAE) as error:
        read_config(write_vectors(tmp_path, VALUES, **config))
    assert said in str(error.value)


@pytest.mark.parametrize("values", [VALUES[0], VALUES[:0], VALUES.astype(np.int32), VALUES[None]])
def test_tensors_of_another_shape_or_type_are_refused(tmp_path: Path, values: Any) -> None:
    with pytest.raises(UnreadableSAE, match="expected <vectors> x <d_model>"):
        read_config(write_vectors(tmp_path, values))


def test_npz_without_a_configuration_is_refused(tmp_path: Path) -> None:
    (write_vectors(tmp_path, VALUES, npz=True) / "cfg.json").unlink()
    with pytest.raises(UnreadableSAE, match=r"has vectors.npz, and cfg.json is missing in the same folder"):
        read_config(tmp_path)


# fingerprints, neighbours, the catalogue


def test_the_fingerprint_is_over_all_layers_and_over_their_values_alone(tmp_path: Path) -> None:
    made = directions(2, 5)
    config = read_config(write_control_vector(tmp_path / "a.gguf", made, "x"))
    naive = hashlib.sha256(f"1x{WIDTH}@2,5".encode() + made[2].tobytes() + made[5].tobytes()).hexdigest()
    told: list[float] = []
    assert decoder_fingerprint(config, told.append) == naive
    assert told == [0.5, 1.0]
    turned = {5: made[5], 2: made[2]}
    same = read_config(write_control_vector(tmp_path / "b.gguf", turned, "another name", "method"))
    assert decoder_fingerprint(same) == naive
    elsewhere = read_config(write_control_vector(tmp_path / "c.gguf", {2: made[2], 6: made[5]}))
    assert decoder_fingerprint(elsewhere) != naive
    broken = directions(2, 5)
    broken[5][1] = np.nan
    with pytest.raises(BrokenDecoder, match="feature 0 at layer 5 is not finite"):
        decoder_fingerprint(read_config(write_control_vector(tmp_path / "d.gguf", broken)))


def test_vectors_have_neighbours_in_their_set_and_one_alone_has_none(tmp_path: Path) -> None:
    config = read_config(write_vectors(tmp_path / "a", VALUES))
    near = dict(nearest_features(config, 1, 10))
    unit = VALUES / np.linalg.norm(VALUES, axis=1, keepdims=True)
    assert near == pytest.approx({0: unit[1] @ unit[0], 2: unit[1] @ unit[2]}, abs=1e-6)
    alone = read_config(write_control_vector(tmp_path / "a.gguf", directions(2, 5)))
    assert nearest_features(alone, 0, 10, 5) == []


def test_the_catalogue_lists_each_control_vector_by_its_file_and_no_model(tmp_path: Path) -> None:
    write_control_vector(tmp_path / "vectors" / "honesty.gguf", directions(2))
    write_control_vector(tmp_path / "vectors" / "joy.gguf", directions(2))
    write_vectors(tmp_path / "made", VALUES)
    with (tmp_path / "model.gguf").open("wb") as file:
        file.truncate(LARGEST_CONTROL_VECTOR + 1)
    found = {one.path: (one.format, one.hook_point, one.files) for one in list_folder(tmp_path)}
    assert found == {
        "vectors/honesty.gguf": ("control_vector", "hook_resid_post", ("vectors/honesty.gguf",)),
        "vectors/joy.gguf": ("control_vector", "hook_resid_post", ("vectors/joy.gguf",)),
        "made": ("vectors", "hook_resid_post", ("made/vectors.safetensors",)),
    }
    assert [one.format for one in find_saes(["a/sae_weights.safetensors", "a/cfg.json", "a/x.bin"])] == ["saelens"]
