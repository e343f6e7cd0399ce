"""Vector sets made to do harm, or broken: an error that says what is wrong, soon and in little memory."""

import json
import struct
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from inference.engine.saes.decoder import decoder_rows
from steering.formats import UnreadableSAE, read_config
from steering.formats.gguf import packed_file, packed_keys
from steering.formats.tensors import LARGEST_HEADER
from steering.tests.refusals import bounded, refused
from steering.tests.vector_files import WIDTH, directions, write_control_vector, write_vectors

pytestmark = pytest.mark.usefixtures(bounded.__name__)

ARCHITECTURE = packed_keys([("general.architecture", "controlvector")])
HUGE = 2**64 - 1


def text(value: str) -> bytes:
    return struct.pack("<Q", len(value)) + value.encode()


def header(tensors: int, keys: int, version: int = 3, magic: bytes = b"GGUF") -> bytes:
    return magic + struct.pack("<IQQ", version, tensors, keys)


def info(name: str, length: int, offset: int = 0, kind: int = 0, dimensions: int = 1) -> bytes:
    return text(name) + struct.pack("<I", dimensions) + struct.pack("<QIQ", length, kind, offset)


def array(of: int, count: int) -> bytes:
    return text("a") + struct.pack("<IIQ", 9, of, count)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "is no GGUF file"),
        (b"GGUF", "is cut short"),
        (b"PK\x03\x04" + b"\0" * 100, "is no GGUF file: it begins with"),
        (header(0, 0, version=1), "is of GGUF version 1: expected 2 or 3"),
        (header(0, 0, version=0x03000000), "expected 2 or 3, little-endian"),
        (header(HUGE, 1) + ARCHITECTURE, f"says {HUGE} tensors and 1 keys: expected at most"),
        (header(1, HUGE) + ARCHITECTURE, f"says 1 tensors and {HUGE} keys: expected at most"),
        (header(0, 0), "general.architecture is '': expected 'controlvector'"),
        (header(0, 1) + packed_keys([("general.architecture", 3)]), "general.architecture is '3'"),
        (header(0, 1) + ARCHITECTURE, "has no direction"),
        (header(1, 1) + ARCHITECTURE, "is cut short"),
        (header(0, 2) + ARCHITECTURE * 2, "has the key 'general.architecture' twice"),
        (header(0, 2) + ARCHITECTURE + struct.pack("<Q", HUGE), "is cut short"),
        (header(0, 2) + ARCHITECTURE + struct.pack("<Q", 2) + b"\xff\xfe\0\0\0\0", "is no UTF-8"),
        (header(0, 2) + ARCHITECTURE + text("a") + struct.pack("<I", 99), "'a' is of an unknown type, 99"),
        (header(0, 2) + ARCHITECTURE + array(0, HUGE), "is cut short"),
        (header(0, 2) + ARCHITECTURE + array(8, HUGE), "is cut short"),
        (header(0, 2) + ARCHITECTURE + array(99, HUGE), "of an unknown type"),
        (header(0, 2) + ARCHITECTURE + array(9, 1) + struct.pack("<IQ", 9, 1) * 100, "of an unknown type"),
        (header(1, 1) + ARCHITECTURE + info("token_embd.weight", 8) + b"\0" * 96, "has the tensor 'token_embd.weight'"),
        (header(1, 1) + ARCHITECTURE + info("direction.-1", 8) + b"\0" * 96, "has the tensor 'direction.-1'"),
        (header(1, 1) + ARCHITECTURE + info("direction.99999", 8) + b"\0" * 96, "has the tensor 'direction.99999'"),
        (header(1, 1) + ARCHITECTURE + info("direction.1", HUGE) + b"\0" * 96, "is cut short"),
        (header(1, 1) + ARCHITECTURE + info("direction.1", 0) + b"\0" * 96, "expected one width, 1 to"),
        (header(1, 1) + ARCHITECTURE + info("direction.1", 2**18) + b"\0" * 2**21, "expected one width, 1 to"),
        (header(1, 1) + ARCHITECTURE + info("direction.1", 8, kind=2) + b"\0" * 96, "of the GGML type 2"),
        (
            header(1, 1) + ARCHITECTURE + info("direction.1", 8, dimensions=2) + b"\0" * 96,
            "has 2 dimensions: expected 1",
        ),
        (header(1, 1) + ARCHITECTURE + info("direction.1", 8, offset=32) + b"\0" * 200, "offset 32: expected 0"),
        (
            header(2, 1) + ARCHITECTURE + info("direction.1", 8) + info("direction.1", 8, 32) + b"\0" * 200,
            "has the tensor 'direction.1' twice",
        ),
        (
            header(2, 1) + ARCHITECTURE + info("direction.1", 8) + info("direction.2", 4, 32) + b"\0" * 200,
            "has directions of 4, 8 values: expected one width",
        ),
        # many names for the same bytes: what is read would be far larger than the file
        (
            header(2, 1) + ARCHITECTURE + info("direction.1", 8) + info("direction.2", 8) + b"\0" * 200,
            "offset 0: expected 32, behind the tensor before it",
        ),
    ],
)
def test_a_gguf_file_that_lies_is_refused(tmp_path: Path, content: bytes, said: str) -> None:
    path = tmp_path / "a.gguf"
    path.write_bytes(content)
    assert said in refused(tmp_path)


@pytest.mark.parametrize("alignment", [0, 3, 2**31])
def test_an_alignment_that_is_none_is_refused(tmp_path: Path, alignment: int) -> None:
    keys = packed_keys([("general.architecture", "controlvector"), ("general.alignment", alignment)])
    (tmp_path / "a.gguf").write_bytes(header(1, 2) + keys + info("direction.1", 8) + b"\0" * 200)
    assert "expected a power of two" in refused(tmp_path)


def test_every_file_that_is_cut_short_is_refused(tmp_path: Path) -> None:
    path = write_control_vector(tmp_path / "a.gguf", directions(1, 2), method="pca")
    whole = path.read_bytes()
    config = read_config(path)
    for end in range(len(whole) - 1):
        path.write_bytes(whole[:end])
        refused(tmp_path)
        with pytest.raises(UnreadableSAE):  # it was whole when its configuration was read
            decoder_rows(config, [0], 1)


def test_a_header_of_a_gigabyte_is_not_read(tmp_path: Path) -> None:
    path = tmp_path / "a.gguf"
    path.write_bytes(header(1, 2) + ARCHITECTURE + array(0, 2**30))
    with path.open("r+b") as file:
        file.truncate(2**31)
    assert f"of a header beyond {LARGEST_HEADER} bytes" in refused(tmp_path)


def test_a_long_array_makes_no_objects(tmp_path: Path) -> None:
    path = tmp_path / "a.gguf"
    keys = ARCHITECTURE + array(0, 2**21) + b"\0" * 2**21
    path.write_bytes(packed_file(keys, 2, [("direction.1", np.ones(WIDTH, np.float32))], 32))
    assert read_config(path).layers == (1,)


def test_a_model_hint_of_another_type_is_refused(tmp_path: Path) -> None:
    keys = packed_keys([("general.architecture", "controlvector"), ("controlvector.model_hint", 5)])
    content = packed_file(keys, 2, [("direction.1", np.ones(WIDTH, np.float32))], 32)
    (tmp_path / "a.gguf").write_bytes(content)
    assert "controlvector.model_hint is a number: expected a string" in refused(tmp_path)


@pytest.mark.parametrize("labels", ["[" * 100_000, "{", '["a"]', "[1, 2]", '["\\u0000", "b"]', '["\\ud800", "b"]'])
def test_labels_that_are_none_are_refused(tmp_path: Path, labels: str) -> None:
    metadata = {"layer": "1", "labels": labels}
    save_file({"vectors": np.ones((2, WIDTH), np.float32)}, tmp_path / "vectors.safetensors", metadata=metadata)
    refused(tmp_path)


def test_metadata_that_are_no_strings_are_refused(tmp_path: Path) -> None:
    values = np.ones((1, WIDTH), np.float32).tobytes()
    entries = {"__metadata__": {"layer": 1}, "vectors": {"dtype": "F32", "shape": [1, WIDTH], "data_offsets": [0, 32]}}
    raw = json.dumps(entries).encode()
    (tmp_path / "vectors.safetensors").write_bytes(struct.pack("<Q", len(raw)) + raw + values)
    assert "are not an object of strings" in refused(tmp_path)


def test_a_million_labels_are_not_read(tmp_path: Path) -> None:
    folder = write_vectors(tmp_path, np.ones((2, WIDTH), np.float32), labels=["a"] * 2**20)
    assert "bytes" in refused(folder)
