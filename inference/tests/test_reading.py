"""Activations read beside the batch equal those of a plain forward pass, before and after a steering."""

import threading
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from inference.engine.reading.reader import PASS_TOKENS, FeatureReader, Stage, Steering
from inference.engine.saes.encoders import load_encoder
from inference.engine.steering.passes import PassSteering
from inference.tests.engines import GivenDirections
from inference.tests.tiny import D_MODEL, D_SAE, tiny_model, tiny_sae
from steering.formats import SAEConfig, read_config
from steering.spec import SteeringSpec

TEXTS = [[5, 9, 31], [7] * 40, list(range(2, 2 + 20)), [11]]
STAGES: tuple[Stage, ...] = ("before", "after")
LONG = [(37 * position) % 300 + 2 for position in range(3 * PASS_TOKENS + 17)]


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> SAEConfig:
    return read_config(tiny_sae(tmp_path_factory.mktemp("sae")))


@pytest.fixture
def reader(config: SAEConfig) -> FeatureReader:
    return FeatureReader(tiny_model(), load_encoder(config, "cpu", torch.float32), threading.Lock())


def streams(ids: list[int], layer: int) -> Tensor:
    """The residual stream behind a block, (tokens, d_model), by transformers' own word."""
    with torch.no_grad():
        found = tiny_model()(torch.tensor([ids]), output_hidden_states=True).hidden_states[layer + 1][0]
    assert isinstance(found, Tensor)
    return found


def spec_at(layer: int, hook_name: str) -> SteeringSpec:
    spec = SteeringSpec.build("sae", "", layer, hook_name, {3: 1.0})
    assert spec is not None
    return spec


def steering(spec: SteeringSpec, vector: Tensor, stage: Stage) -> Steering:
    return Steering(PassSteering(spec, GivenDirections(lambda _part: vector)), stage)


def read(reader: FeatureReader, texts: list[list[int]], steering: Steering | None = None) -> list[Tensor]:
    """(tokens, d_sae) of each text."""
    found: dict[int, list[Tensor]] = {index: [] for index in range(len(texts))}
    for chunk in reader.chunks(texts, steering):
        assert chunk.start == sum(map(len, found[chunk.text]))
        found[chunk.text].append(chunk.activations)
    return [torch.cat(parts) for parts in found.values()]


def test_texts_of_any_length_are_read_as_a_plain_pass_reads_them(reader: FeatureReader, config: SAEConfig) -> None:
    encoder = load_encoder(config, "cpu", torch.float32)
    texts = [*TEXTS, LONG]
    for ids, activations in zip(texts, read(reader, texts), strict=True):
        torch.testing.assert_close(activations, encoder.encode(streams(ids, 1)), atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("hook_name", ["blocks.1.hook_resid_pre", "blocks.1.hook_mlp_out", "blocks.2.hook_attn_out"])
def test_every_kind_of_hook_point_is_read(reader: FeatureReader, config: SAEConfig, hook_name: str) -> None:
    encoder = load_encoder(replace(config, hook_name=hook_name), "cpu", torch.float32)
    model = tiny_model()
    layer, point = int(hook_name.split(".")[1]), hook_name.rpartition(".")[2]
    seen: list[Tensor] = []
    block = model.model.layers[layer]
    module = {"hook_mlp_out": block.mlp, "hook_attn_out": block.self_attn}.get(point)
    if module is None:
        seen.append(streams(TEXTS[1], layer - 1))
    else:
        module.register_forward_hook(lambda _m, _a, out: seen.append((out[0] if isinstance(out, tuple) else out)[0]))
        with torch.no_grad():
            model(torch.tensor([TEXTS[1]]))
    [activations] = read(FeatureReader(tiny_model(), encoder, threading.Lock()), [TEXTS[1]])
    torch.testing.assert_close(activations, encoder.encode(seen[0]), atol=1e-4, rtol=1e-4)


def test_a_pass_stops_at_the_layer(config: SAEConfig) -> None:
    model = tiny_model()
    ran: list[int] = []
    for layer, block in enumerate(model.model.layers):
        block.register_forward_hook(lambda _m, _a, _o, layer=layer: ran.append(layer))
    read(FeatureReader(model, load_encoder(config, "cpu", torch.float32), threading.Lock()), [TEXTS[0]])
    assert ran == [0, 1]


@pytest.mark.parametrize(("stage", "steps"), [("before", 0.0), ("after", 1.0)])
def test_under_a_steering_at_the_same_hook_point_before_and_after_differ_by_its_vector(
    reader: FeatureReader, config: SAEConfig, stage: Stage, steps: float
) -> None:
    vector = torch.randn(D_MODEL, generator=torch.Generator().manual_seed(3))
    spec = spec_at(1, config.hook_name)
    encoder = load_encoder(config, "cpu", torch.float32)
    found = read(reader, [LONG, TEXTS[0]], steering(spec, vector, stage))
    for ids, activations in zip([LONG, TEXTS[0]], found, strict=True):
        expected = encoder.encode(streams(ids, 1) + steps * vector)
        torch.testing.assert_close(activations, expected, atol=1e-4, rtol=1e-4)


def test_a_steering_at_an_earlier_layer_is_seen_in_both_stages(reader: FeatureReader) -> None:
    vector = torch.full((D_MODEL,), 0.5)
    spec = spec_at(0, "blocks.0.hook_resid_post")
    [plain] = read(reader, [TEXTS[1]])
    [before], [after] = (read(reader, [TEXTS[1]], steering(spec, vector, stage)) for stage in STAGES)
    torch.testing.assert_close(before, after)
    assert not torch.allclose(plain, after, atol=1e-2)


def test_nothing_is_left_behind_in_the_model(reader: FeatureReader) -> None:
    spec = spec_at(1, "blocks.1.hook_resid_post")
    [before] = read(reader, [TEXTS[1]])
    read(reader, [TEXTS[1]], steering(spec, torch.ones(D_MODEL), "after"))
    [after] = read(reader, [TEXTS[1]])
    torch.testing.assert_close(before, after)


def test_a_reading_ends_between_two_passes_when_it_is_told_to(reader: FeatureReader) -> None:
    answers = iter([False, False, True])
    read_tokens = sum(len(chunk.activations) for chunk in reader.chunks([LONG], stop=lambda: next(answers)))
    assert read_tokens == 2 * PASS_TOKENS


def test_activations_of_a_wide_sae_come_in_parts(reader: FeatureReader, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = read(reader, TEXTS)
    monkeypatch.setattr("inference.engine.reading.reader.ACTIVATIONS", 7 * D_SAE)
    assert max(len(chunk.activations) for chunk in reader.chunks(TEXTS)) == 7
    for parts, at_once in zip(read(reader, TEXTS), whole, strict=True):
        torch.testing.assert_close(parts, at_once)
