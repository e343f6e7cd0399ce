"""Room for two models: a web tells from heartbeats and headers what a load will find; a worker decides it exactly."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from inference.admin import consequences
from inference.broker import heartbeats
from inference.broker.heartbeats import Heartbeat
from inference.models import LanguageModel
from inference.room import Room, room_beside
from inference.tests.tiny import tiny_model
from inference.worker import memory
from inference.worker.memory import fits_beside, needs, unused_cache

GIB = 2**30
MIB = 2**20


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """0.2 MB of weights."""
    made = tmp_path_factory.mktemp("tiny")
    tiny_model().save_pretrained(made)
    return made


@pytest.fixture
def models(db: None, own_redis: Any, folder: Path) -> tuple[LanguageModel, LanguageModel]:
    """The current model, and another one."""
    served, other = (LanguageModel.objects.register(str(folder), name=name, anywhere=True) for name in ("a", "b"))
    served.load()
    return served, other


def beat(model: LanguageModel, free_bytes: int | None, worker: str = "w:1", **fields: Any) -> None:
    told = Heartbeat(worker, model.name, "ready", "cpu", 0, 0, 16, 0, is_open=True, load=model.load_id)
    heartbeats.write_heartbeat(replace(told, free_bytes=free_bytes, **fields))


def room(models: tuple[LanguageModel, LanguageModel]) -> Room:
    served, other = models
    served.refresh_from_db()
    assert served.status == "ready"
    return room_beside(other, served)


@pytest.mark.parametrize(
    ("free_bytes", "found"), [(GIB, Room.BOTH), (MIB, Room.UNKNOWN), (MIB // 100, Room.ONE), (None, Room.UNKNOWN)]
)
def test_the_room_is_known_where_it_is_plenty_or_far_too_little(
    models: Any, free_bytes: int | None, found: Room
) -> None:
    beat(models[0], free_bytes)
    assert room(models) == found


def test_the_room_is_that_of_the_worker_with_the_least_and_pinned_ones_do_not_count(models: Any) -> None:
    beat(models[0], GIB)
    beat(models[0], 0, "pinned:1", is_pinned=True)
    assert room(models) == Room.BOTH
    beat(models[0], MIB, "w:2")
    assert room(models) == Room.UNKNOWN


def test_the_room_on_another_device_or_for_files_that_are_not_here_is_not_known(models: Any) -> None:
    beat(models[0], GIB)
    other = models[1]
    other.device = "cuda:1"
    assert room(models) == Room.UNKNOWN
    other.device, other.source = "auto", "owner/of-the-hub"
    assert room(models) == Room.UNKNOWN


@pytest.mark.parametrize(
    ("free_bytes", "told"),
    [
        (GIB, "Model a answers, unsteered, until b is ready: the memory holds both. Answers in progress may finish"),
        (0, "until the files of b are checked; then no model answers until b is ready: the memory does not hold both."),
        (None, "until b is ready, where the memory holds both; otherwise until the files of b are checked; then no"),
    ],
)
def test_the_confirmation_of_a_load_says_which_will_happen(models: Any, free_bytes: int | None, told: str) -> None:
    beat(models[0], free_bytes)
    assert told in consequences.of_loading(models[1])[0]


def test_a_worker_keeps_a_model_where_the_other_fits_beside_it_with_its_whole_cache(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    row, served = LanguageModel(name="b", source=str(folder), dtype="float32", device="cpu"), tiny_model()
    [needed] = needs(row).values()
    exact = needed + unused_cache(served)
    assert unused_cache(served) > 0
    for free, fits in ((exact, True), (exact - 1, False)):
        monkeypatch.setattr(memory, "free_bytes", lambda device, free=free: free)
        assert fits_beside(row, served) is fits
    assert served.device == torch.device("cpu")
