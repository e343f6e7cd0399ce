"""The whole making of an SAE and its profiles, on the grammar demo's model in place of SmolLM2."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from inference.demo.smollm2 import activations, own_words, pipeline, sae, search, texts
from inference.demo.smollm2.judge import SEEDS
from inference.demo.smollm2.pipeline import Making
from inference.demo.smollm2.themes import Theme
from inference.demo.tiny import FILES
from inference.engine.saes.encoders import load_encoder
from inference.measuring.results import read_file
from steering.formats import read_config

LAYER = 1


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Few questions, few features, few steps; the texts of no Debian package."""
    themes = [Theme("ocean", "", ("whales", "waves", "ships", "fish")), Theme("winter", "", ("snow", "ice", "skis"))]
    saying = texts.Document("The whale dives because the wave is salty. The snow is cold.", "Tell me something.")
    own = texts.Source("none", FILES, 1.0, lambda path: [saying] * 2 * texts.HELD_OUT)
    changes: list[tuple[Any, str, Any]] = [
        (own_words, "THEMES", themes),
        (own_words, "_nouns", lambda count: iter(())),
        (pipeline, "THEMES", themes),
        (activations, "SOURCES", (own,)),
        (activations, "SHARD", 3000),
        (sae, "D_SAE", 64),
        (sae, "K", 8),
        (sae, "BATCH", 256),
        (pipeline, "HELD_OUT_TOKENS", 500),
        (search, "COUNTS", (2,)),
        (search, "TRIES", 2),
        (pipeline, "DESCRIBED", 20),
    ]
    for module, name, value in changes:
        monkeypatch.setattr(module, name, value)


@pytest.mark.usefixtures("small")
def test_an_sae_is_trained_described_and_its_profiles_searched_and_judged(tmp_path: Path) -> None:
    making = Making(FILES / "model", tmp_path / "work", tmp_path / "files", LAYER)
    answers = making.own_answers()
    assert {one.theme for one in answers} == {"ocean", "winter", "plain"}
    assert making.own_answers() == answers, "the answers that are there are not made again"

    figures = making.train(tokens=6000, epochs=6, seed=0)
    assert 0.3 < figures.explained < 1
    assert figures.loss < figures.loss_with_sae < figures.loss_with_mean
    assert json.loads((tmp_path / "files/sae/figures.json").read_text())["trained_on"] == 6000

    making.describe()
    assert (tmp_path / "files/labels.csv").read_text().count("\n") > 10
    measured = read_file(tmp_path / "files/features.jsonl.gz")
    assert len(list(measured.features)) == 64

    judged = making.judge()
    assert {*judged} <= {"ocean", "winter"}
    assert all(len(one.answers) == 50 * len(SEEDS) for one in judged.values())
    shipped = {path.stem for path in (tmp_path / "files/profiles").glob("*.json")}
    assert shipped == {name for name, one in judged.items() if one.is_shipped}


@pytest.mark.usefixtures("small")
def test_the_saved_sae_is_read_as_the_training_computes_it(tmp_path: Path) -> None:
    making = Making(FILES / "model", tmp_path / "work", tmp_path / "files", LAYER)
    making.own_answers()
    making.train(tokens=3000, epochs=1, seed=0)
    config = read_config(tmp_path / "files/sae")
    assert (config.architecture, config.layer, config.d_sae) == ("jumprelu", LAYER, 64)
    x = torch.from_numpy(np.load(tmp_path / "work/layer-1/0000.npy")[:50]).float()
    ours = making._sae().encode(x)
    torch.testing.assert_close(load_encoder(config, "cpu", torch.float32).encode(x), ours)
    assert (ours > 0).any()


@pytest.mark.usefixtures("small")
def test_an_interrupted_training_ends_as_one_that_was_not(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    making = Making(FILES / "model", tmp_path / "work", tmp_path / "files", LAYER)
    making.own_answers()
    own = [texts.Document(one.text, one.question) for one in making.known_answers()]
    shards = activations.collect(tmp_path / "shards", *making._load(), LAYER, own, 6000)
    whole = sae.Trainer(shards, 2, seed=0)
    whole.train(tmp_path / "whole.pt")

    cut, steps = sae.Trainer(shards, 2, seed=0), iter(range(15))
    step = cut._step

    def interrupted(x: torch.Tensor) -> float:
        if next(steps, None) is None:
            raise KeyboardInterrupt
        return step(x)

    monkeypatch.setattr(cut, "_step", interrupted)
    with pytest.raises(KeyboardInterrupt):
        cut.train(tmp_path / "cut.pt")
    again = sae.Trainer(shards, 2, seed=0)
    again.train(tmp_path / "cut.pt")
    for name, value in whole.weights().items():
        torch.testing.assert_close(again.weights()[name], value, msg=name)
