"""One encoder is in memory: loaded when it is needed, dropped for another, refused where it does not fit."""

import gc
import weakref
from pathlib import Path

import pytest
import torch

from inference.tests.tiny import tiny_sae
from inference.worker.memory import NotEnoughMemory
from inference.worker.reading import encoder_cache
from inference.worker.reading.encoder_cache import EncoderCache
from steering.errors import Refused
from steering.spec import SAEPlace


@pytest.fixture
def places(tmp_path: Path) -> list[SAEPlace]:
    return [SAEPlace(str(tiny_sae(tmp_path / name))) for name in ("a", "b")]


def test_the_encoder_that_was_used_last_stays_and_another_takes_its_place(places: list[SAEPlace]) -> None:
    cache = EncoderCache(torch.device("cpu"))
    first = cache.get(places[0])
    assert cache.get(places[0]) is first
    dropped = weakref.ref(first.weight)
    del first
    cache.get(places[1])
    gc.collect()
    assert dropped() is None


def test_what_does_not_fit_is_refused_with_the_figures(places: list[SAEPlace], monkeypatch: pytest.MonkeyPatch) -> None:
    cache = EncoderCache(torch.device("cpu"))
    monkeypatch.setattr(encoder_cache, "free_bytes", lambda device: 1000)
    with pytest.raises(NotEnoughMemory, match=r"needs .* on cpu, and .* are free: choose a smaller SAE"):
        cache.get(places[0])
    monkeypatch.undo()
    assert cache.get(places[0])


def test_a_missing_encoder_is_named(places: list[SAEPlace]) -> None:
    from safetensors.torch import load_file, save_file

    weights = Path(places[0].source) / "sae_weights.safetensors"
    save_file({name: value for name, value in load_file(weights).items() if name != "W_enc"}, weights)
    with pytest.raises(Refused, match="has no W_enc"):
        EncoderCache(torch.device("cpu")).get(places[0])
