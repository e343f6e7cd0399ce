"""npz and ae.pt, zip archives both, made to do harm, and random damage to all that is read."""

import os
import pickle
import random
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from inference.engine.saes.decoder import decoder_chunks, decoder_rows
from inference.engine.saes.encoders import load_encoder
from inference.engine.saes.fingerprint import decoder_fingerprint
from steering.formats import BrokenDecoder, UnreadableSAE, read_config
from steering.tests import sae_files
from steering.tests.refusals import bounded, refused
from steering.tests.sae_files import D_IN, D_SAE

pytestmark = pytest.mark.usefixtures(bounded.__name__)

GEMMA = "gemma-scope-2b-pt-res/layer_20"


# npz


def write_npz(folder: Path, members: dict[str, bytes], compression: int = zipfile.ZIP_STORED) -> Path:
    folder.mkdir(parents=True)
    with zipfile.ZipFile(folder / "params.npz", "w", compression) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return folder


def npy(shape: tuple[int, ...], data: bytes, dtype: str = "<f4") -> bytes:
    header = repr({"descr": dtype, "fortran_order": False, "shape": shape}).encode() + b"\n"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header + data


def test_a_zip_bomb_is_not_unpacked(tmp_path: Path) -> None:
    """50 MB of zeros in 50 kB; who would read it as it says would need a thousand times the file."""
    folder = tmp_path / GEMMA
    folder.mkdir(parents=True)
    with zipfile.ZipFile(folder / "params.npz", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("b_dec.npy", npy((D_IN,), bytes(4 * D_IN)))
        with archive.open("W_dec.npy", "w") as member:
            member.write(npy((50 * 2**20 // 32, D_IN), b""))
            for _ in range(50):
                member.write(bytes(2**20))
    assert "expected weights, not a zip bomb" in refused(folder)


def test_a_member_that_is_larger_than_it_says_is_an_error(tmp_path: Path) -> None:
    """The directory says a size that fits; the compressed bytes go on."""
    made = sae_files.weights() | {"threshold": np.ones(D_SAE, np.float32)}
    folder = sae_files.write_gemma_scope(tmp_path / GEMMA, made, compressed=True)
    path = folder / "params.npz"
    content = path.read_bytes()
    with zipfile.ZipFile(path) as archive:
        size = archive.getinfo("W_dec.npy").file_size
    entry_at = content.rindex(b"W_dec.npy") - 46
    assert struct.unpack_from("<I", content, entry_at + 24) == (size,)
    smaller = npy((D_SAE // 2, D_IN), b"")
    for claimed in (size - 4, size + 4, len(smaller), 2**31):
        path.write_bytes(content[: entry_at + 24] + struct.pack("<I", claimed) + content[entry_at + 28 :])
        refused(folder)


@pytest.mark.parametrize("zip64", [False, True])
def test_a_directory_of_gigabytes_is_not_read(tmp_path: Path, zip64: bool) -> None:
    folder = sae_files.write_gemma_scope(tmp_path / GEMMA)
    path = folder / "params.npz"
    content = path.read_bytes()
    end = content.rindex(b"PK\x05\x06")
    if zip64:
        record = b"PK\x06\x06" + struct.pack("<QHHIIQQQQ", 44, 45, 45, 0, 0, 2**27, 2**27, 2**33, 0)
        locator = b"PK\x06\x07" + struct.pack("<IQI", 0, end, 1)
        path.write_bytes(content[:end] + record + locator + content[end:])
    else:
        path.write_bytes(content[: end + 12] + struct.pack("<I", 2**31) + content[end + 16 :])
    assert "its directory would have" in refused(folder)


def test_an_archive_of_thousands_of_members_is_refused(tmp_path: Path) -> None:
    folder = write_npz(tmp_path / GEMMA, {f"{number}.npy": b"" for number in range(2000)})
    assert "has 2000 members: expected at most 1000" in refused(folder)


@pytest.mark.parametrize(
    ("members", "said"),
    [
        ({}, "has no b_dec"),
        ({"b_dec.npy": b""}, "malformed"),
        ({"b_dec.npy": b"\x93NUMPY\x09\x00" + bytes(100)}, "malformed"),
        ({"b_dec.npy": b"\x93NUMPY\x02\x00\xff\xff\xff\xff"}, "malformed"),
        ({"b_dec.npy": npy((D_IN,), bytes(4 * D_IN - 1))}, "says shape (8,), and has 31 bytes"),
        ({"b_dec.npy": npy((-8,), bytes(4 * D_IN))}, "says shape (-8,)"),
        ({"b_dec.npy": npy((10**6,), bytes(4 * 10**6))}, "of a width up to 131072"),
        ({"b_dec.npy": npy((D_IN,), bytes(4 * D_IN))}, "has no decoder"),
        ({"b_dec.npy": npy((D_IN,), bytes(4 * D_IN)), "W_dec.npy": npy((3, 3), bytes(36))}, "W_dec is 3 x 3: expected"),
        ({"b_dec.npy": npy((D_IN,), bytes(4 * D_IN)), "W_dec.npy": npy((2, 8), b"x", "|O")}, "has no decoder"),
        ({"b_dec.npy": b"\x93NUMPY\x01\x00" + struct.pack("<H", 20) + b"__import__('os').x()"}, "malformed"),
    ],
)
def test_a_broken_npz_file_is_refused(tmp_path: Path, members: dict[str, bytes], said: str) -> None:
    assert said in refused(write_npz(tmp_path / GEMMA, members))


def test_a_cut_or_unknown_archive_is_refused(tmp_path: Path) -> None:
    folder = sae_files.write_gemma_scope(tmp_path / GEMMA)
    content = (folder / "params.npz").read_bytes()
    for broken in (b"", content[:-30], content[: len(content) // 2], b"PK" + bytes(1000), bytes(2**20)):
        (folder / "params.npz").write_bytes(broken)
        refused(folder)
    other = write_npz(tmp_path / "bzip2" / GEMMA, {"b_dec.npy": npy((D_IN,), bytes(32))}, zipfile.ZIP_BZIP2)
    assert "another compression than numpy's" in refused(other)


# ae.pt


class Code:
    """Unpickled, it would make the file whose path it has."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[str]]:
        return os.mkdir, (str(self.path),)


def test_a_pickle_with_code_runs_nothing(tmp_path: Path) -> None:
    made = {"decoder.weight": torch.randn(D_IN, D_SAE), "code": Code(tmp_path / "ran")}
    config = read_config(sae_files.write_dictionary_learning(tmp_path, made))
    for use in (
        lambda: decoder_rows(config, [1]),
        lambda: decoder_fingerprint(config),
        lambda: load_encoder(config, "cpu", torch.float32),
    ):
        with pytest.raises(BrokenDecoder, match="not a file of tensors alone"):
            use()
    assert not (tmp_path / "ran").exists()


def test_a_bare_pickle_is_refused_before_torch_sees_it(tmp_path: Path) -> None:
    folder = sae_files.write_dictionary_learning(tmp_path)
    (folder / "ae.pt").write_bytes(pickle.dumps(Code(tmp_path / "ran")))
    assert "is no zip archive" in refused(folder)
    torch.save({"a": torch.ones(2)}, folder / "ae.pt", _use_new_zipfile_serialization=False)
    assert "is no zip archive" in refused(folder)
    assert not (tmp_path / "ran").exists()


def test_an_archive_that_torch_would_unpack_into_memory_is_refused(tmp_path: Path) -> None:
    folder = sae_files.write_dictionary_learning(tmp_path)
    with zipfile.ZipFile(folder / "ae.pt") as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    with zipfile.ZipFile(folder / "ae.pt", "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    assert "compressed members" in refused(folder)
    with zipfile.ZipFile(folder / "ae.pt", "w") as archive:
        for name, content in members.items():
            archive.writestr(name, content + bytes(2**21) if name.endswith("data.pkl") else content)
    assert "no data.pkl of at most 1048576 bytes" in refused(folder)


@pytest.mark.parametrize(
    ("state", "said"),
    [
        ({"decoder.weight": torch.zeros(1).expand(D_IN, D_SAE)}, "decoder.weight is missing"),
        ({"decoder.weight": torch.zeros(D_SAE, D_IN)}, r"decoder.weight is \(16, 8\): expected \(8, 16\)"),
        ({"decoder.weight": torch.zeros(D_IN, D_SAE, dtype=torch.int32)}, "decoder.weight is missing"),
        ({"decoder.weight": torch.zeros(D_IN, D_SAE).to_sparse()}, "decoder.weight is missing"),
        ({"decoder.weight": [1.0]}, "decoder.weight is missing"),
        ([torch.zeros(D_IN, D_SAE)], "holds list: expected a state dict"),
    ],
)
def test_a_state_that_is_no_dictionary_is_an_error(tmp_path: Path, state: Any, said: str) -> None:
    filler = torch.zeros(D_IN, D_SAE)  # for the bytes that the configuration says
    state = [*state, filler] if isinstance(state, list) else state | {"filler": filler}
    config = read_config(sae_files.write_dictionary_learning(tmp_path, state))
    with pytest.raises(BrokenDecoder, match=said):
        decoder_rows(config, [1])


# whatever else


@pytest.mark.parametrize(
    "write",
    [
        lambda folder: sae_files.write_saelens(folder) / "sae_weights.safetensors",
        lambda folder: sae_files.write_saelens(folder) / "cfg.json",
        lambda folder: sae_files.write_gemma_scope(folder / GEMMA) / "params.npz",
        lambda folder: sae_files.write_gemma_scope(folder / GEMMA, compressed=True) / "params.npz",
        lambda folder: sae_files.write_llama_scope(folder) / "hyperparams.json",
        lambda folder: sae_files.write_dictionary_learning(folder) / "ae.pt",
        lambda folder: sae_files.write_dictionary_learning(folder) / "config.json",
    ],
    ids=["safetensors", "cfg.json", "npz", "compressed npz", "hyperparams.json", "ae.pt", "config.json"],
)
def test_random_damage_is_read_or_refused(tmp_path: Path, write: Callable[[Path], Path]) -> None:
    path = write(tmp_path)
    content, dice, refusals = path.read_bytes(), random.Random(5), 0
    for _ in range(200):
        damaged = bytearray(content)
        for _ in range(dice.choice((1, 1, 4))):
            damaged[dice.randrange(len(damaged))] = dice.randrange(256)
        path.write_bytes(damaged[: dice.choice((None, None, None, dice.randrange(len(damaged))))])
        try:
            config = read_config(path.parent)
            decoder_rows(config, [0, config.d_sae - 1])
            for _ in decoder_chunks(config):
                pass
            load_encoder(config, "cpu", torch.float32)
        except UnreadableSAE:
            refusals += 1
    assert 10 < refusals < 200
