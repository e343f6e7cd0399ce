"""What a reading finds of a feature that a steering clamps: the value, where the decoder and the encoder agree."""

import threading
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from inference.engine.reading.reader import FeatureReader, Steering
from inference.engine.saes.encoders import load_encoder
from inference.engine.steering.passes import PassSteering
from inference.engine.steering.weights import SteeringWeights
from inference.tests.tiny import D_SAE, tiny_model, tiny_sae
from steering.formats import read_config
from steering.spec import Change, SteeringPart, SteeringSpec

IDS = [(7 * i) % 300 + 10 for i in range(300)]  # two passes
FEATURE, VALUE, THRESHOLD = 12, 4.0, 0.1


@pytest.fixture(scope="module", params=["standard", "jumprelu"])
def sae(request: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An SAE whose encoder is the transposed decoder of unit vectors: a step along a direction is read in full."""
    folder = tiny_sae(tmp_path_factory.mktemp("sae") / "sae")
    weights = load_file(folder / "sae_weights.safetensors")
    weights["b_enc"] = torch.linspace(-0.2, 0.2, D_SAE)
    weights["threshold"] = torch.full((D_SAE,), THRESHOLD)
    save_file(weights, folder / "sae_weights.safetensors")
    config = folder / "cfg.json"
    config.write_text(config.read_text().replace('"standard"', f'"{request.param}"'))
    return folder


def read(sae: Path, change: Change | None) -> Tensor:
    """The activations of the feature on each token, under the change."""
    config = read_config(sae)
    steering = None
    if change:
        spec = SteeringSpec.of([SteeringPart("sae", "", config.layer, config.hook_name, (change,))])
        assert spec is not None
        steering = Steering(PassSteering(spec, SteeringWeights(lambda _place: config)))
    reader = FeatureReader(tiny_model(), load_encoder(config, "cpu", torch.float32), threading.Lock())
    return torch.cat([chunk.activations for chunk in reader.chunks([IDS], steering)])[:, FEATURE]


def test_a_clamped_feature_has_its_value_at_every_token_where_it_fires(sae: Path) -> None:
    plain, clamped = read(sae, None), read(sae, Change(FEATURE, VALUE, "clamp"))
    fires = plain > 0
    assert 20 < fires.sum() < len(IDS) - 20
    torch.testing.assert_close(clamped[fires], torch.full_like(clamped[fires], VALUE), atol=1e-3, rtol=0)
    # Elsewhere the formula starts at f = 0, wherever the stream is below the threshold.
    assert (clamped[~fires] <= VALUE + THRESHOLD).all()


def test_half_a_clamp_goes_half_of_the_way(sae: Path) -> None:
    plain, clamped = read(sae, None), read(sae, Change(FEATURE, VALUE, "clamp", weight=0.5))
    fires = plain > 0
    torch.testing.assert_close(clamped[fires], (plain[fires] + VALUE) / 2, atol=1e-3, rtol=0)


def test_an_ablated_feature_fires_nowhere(sae: Path) -> None:
    assert read(sae, Change(FEATURE, 0.0, "clamp")).abs().max() < 1e-3


def test_a_scaled_feature_has_the_multiple(sae: Path) -> None:
    plain, scaled = read(sae, None), read(sae, Change(FEATURE, 2.5, "scale"))
    torch.testing.assert_close(scaled, 2.5 * plain, atol=1e-3, rtol=1e-3)
