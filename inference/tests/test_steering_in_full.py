"""Modes, positions, units and conditions in one mixed batch: each request gets what plain hooks give it alone.

The hooks are written from the formulas of `steering.spec.Change`, for `model.generate` of one request. They use the
encoders of whole SAEs, which `test_sae_encoders.py` compares with the libraries that wrote them.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from itertools import product
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor
from transformers import PreTrainedModel

from inference.engine.loading import load
from inference.engine.saes.encoders import Encoder, load_encoder
from inference.engine.steering.weights import SteeringWeights
from inference.tests.engines import ON_VLLM, Collected, not_on_vllm, run_engine
from inference.tests.test_architectures import ONE_HEAD, plain_model, save_small_model
from inference.tests.tiny import D_SAE, tiny_sae
from steering.formats import read_config
from steering.spec import Change, Condition, Positions, SAEPlace, SteeringPart, SteeringSpec

NEW = 10
SPECIAL = {0, 1}
KINDS: dict[str, tuple[int, dict[str, Any]]] = {
    # name: layer, what differs from the tiny SAE
    "standard": (0, {}),
    "jumprelu": (1, {"architecture": "jumprelu"}),
    "normed": (1, {"normalize_activations": "constant_norm_rescale"}),
    "topk": (1, {"architecture": "topk", "k": 6}),
    "late": (2, {"architecture": "jumprelu"}),
}


@dataclass
class Written:
    """The SAEs of KINDS in folders."""

    folder: Path
    encoders: dict[str, Encoder] = field(default_factory=dict)

    def part(self, kind: str, *changes: Change, **own: Any) -> SteeringPart:
        layer, _ = KINDS[kind]
        return SteeringPart(kind, "", layer, f"blocks.{layer}.hook_resid_post", changes, SAEPlace(kind), **own)

    def when(self, kind: str, index: int, above: float, so_far: bool = False) -> Condition:
        layer, _ = KINDS[kind]
        return Condition(kind, "", layer, f"blocks.{layer}.hook_resid_post", index, above, so_far, SAEPlace(kind))

    def weights(self) -> SteeringWeights:
        return SteeringWeights(lambda place: read_config(self.folder / place.source))

    def decoder(self, kind: str) -> Tensor:
        stored: Tensor = load_file(self.folder / kind / "sae_weights.safetensors")["W_dec"]
        return stored


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Written:
    return write_saes(tmp_path_factory.mktemp("saes"))


def write_saes(folder: Path) -> Written:
    made = Written(folder)
    for seed, (kind, (layer, own)) in enumerate(KINDS.items()):
        folder = tiny_sae(made.folder / kind, layer, seed)
        config = json.loads((folder / "cfg.json").read_text()) | own
        (folder / "cfg.json").write_text(json.dumps(config))
        weights = load_file(folder / "sae_weights.safetensors")
        generator = torch.Generator().manual_seed(100 + seed)
        weights["W_enc"] = weights["W_enc"] + 0.1 * torch.randn(weights["W_enc"].shape, generator=generator)
        weights["b_enc"] = 0.2 * torch.randn(D_SAE, generator=generator)
        weights["b_dec"] = 0.2 * torch.randn(len(weights["b_dec"]), generator=generator)
        weights["threshold"] = 0.3 * torch.rand(D_SAE, generator=generator)
        weights["W_dec"] = weights["W_dec"] * 1.7  # no unit vectors
        save_file(weights, folder / "sae_weights.safetensors")
        made.encoders[kind] = load_encoder(read_config(folder), "cpu", torch.float32)
    return made


@pytest.fixture(scope="module", params=["llama", "gemma2"] if ON_VLLM else ["llama", "gpt2", "gemma2"])
def model(request: Any, tmp_path_factory: pytest.TempPathFactory) -> tuple[Any, PreTrainedModel]:
    """A model as the engine loads it, and the same as transformers has it."""
    row = save_small_model(request.param, tmp_path_factory.mktemp("model"), **(ONE_HEAD if ON_VLLM else {}))
    return load(row.path, row.dtype, row.device), plain_model(row)


@pytest.fixture(scope="module")
def collected(model: Any, written: Written) -> Iterator[Collected]:
    (served, tokenizer), _ = model
    with run_engine(served, tokenizer, written.folder / "standard", weights=written.weights()) as engine:
        yield engine


class PlainHooks:
    """The formulas, for one text whose tokens come in order."""

    def __init__(self, written: Written, parts: list[SteeringPart], ids: list[int], model: Any) -> None:
        self.written, self.parts, self.prompt = written, parts, len(ids)
        self.ids = list(ids)
        self.held: dict[Condition, list[bool]] = {part.when: [] for part in parts if part.when}
        self.first: dict[Condition, int | None] = dict.fromkeys(self.held)
        self.seen = [0] * len(layers_of(model))

    def hook(self, layer: int, h: Tensor) -> Tensor:
        start = self.seen[layer]
        self.seen[layer] += h.size(1)
        for condition, held in self.held.items():
            if condition.layer != layer:
                continue
            values = self.written.encoders[condition.sae_id].encode(h[0])[:, condition.index]
            for position, value in enumerate(values.tolist(), start):
                above = value > condition.above
                if above and self.first[condition] is None:
                    self.first[condition] = position
                held.append(above or (condition.so_far and bool(held) and held[-1]))
        total = torch.zeros_like(h)
        for part in self.parts:
            if part.layer == layer:
                for offset in range(h.size(1)):
                    if self.steers(part, start + offset):
                        total[0, offset] += self.change(part, h[0, offset])
        return h + total

    def steers(self, part: SteeringPart, position: int) -> bool:
        where = part.positions
        if part.when and not self.held[part.when][position]:
            return False
        if not part.special_tokens and self.ids[position] in SPECIAL:
            return False
        inside, length = position, None
        if where.of == "answer":
            inside = position - self.prompt
        if where.of == "prompt":
            length = self.prompt
        if inside < 0 or (length is not None and inside >= length):
            return False
        if where.first is not None and inside >= where.first:
            return False
        return where.last is None or inside >= self.prompt - where.last

    def change(self, part: SteeringPart, h: Tensor) -> Tensor:
        decoder, total = self.written.decoder(part.sae_id), torch.zeros_like(h)
        f = self.written.encoders[part.sae_id].encode(h[None])[0]
        for one in part.changes:
            d = decoder[one.index]
            value = one.value / d.norm() if one.is_length else one.value
            if one.mode == "add":
                total += value * d
            elif one.mode == "clamp":
                total += one.weight * (value - f[one.index]) * d
            elif one.mode == "scale":
                total += (value - 1) * f[one.index] * d
            else:
                unit = d / d.norm()
                total -= value * (h @ unit) * unit
        return total

    @torch.no_grad()
    def generate(self, model: Any, new: int = NEW) -> list[int]:
        handles = [
            block.register_forward_hook(lambda _m, _a, out, layer=layer: self._hooked(layer, out))
            for layer, block in enumerate(layers_of(model))
        ]
        try:
            cache, ids, answer = None, torch.tensor([self.ids]), []
            for _ in range(new):
                output = model(ids, past_key_values=cache, use_cache=True)
                cache = output.past_key_values
                answer.append(int(output.logits[0, -1].argmax()))
                self.ids.append(answer[-1])
                if answer[-1] == 1:
                    break
                ids = torch.tensor([answer[-1:]])
        finally:
            for handle in handles:
                handle.remove()
        return answer

    def _hooked(self, layer: int, output: Any) -> Any:
        if isinstance(output, tuple):
            return (self.hook(layer, output[0]), *output[1:])
        return self.hook(layer, output)


def layers_of(model: Any) -> Any:
    return next(module for name, module in model.named_modules() if name.endswith((".layers", ".h")))


def prompt_of(length: int, seed: int = 0) -> list[int]:
    generator = torch.Generator().manual_seed(seed)
    ids = torch.randint(2, 320, (length,), generator=generator).tolist()
    return [0, *ids[:4], 0, *ids[4:]]


def steerings(w: Written) -> list[list[SteeringPart]]:
    """One of each kind, and mixtures; without those that the engine refuses."""
    add, clamp = Change(3, 9.0), Change(7, 6.0, "clamp")
    scale, project = Change(11, -1.5, "scale"), Change(5, 1.0, "project")
    ablated = [Change(index, 0.0, "clamp") for index in range(20)]
    prompt, answer, first_two = Positions("prompt"), Positions("answer"), Positions("answer", first=2)
    late = w.when("jumprelu", 6, 1.0, so_far=True)
    every = [
        [],
        [w.part("standard", add)],
        [w.part("jumprelu", clamp, Change(9, 0.5, "clamp", weight=0.5))],
        [w.part("jumprelu", *ablated)],
        [w.part("standard", scale, replace(scale, index=12, value=3.0))],
        [w.part("late", project, replace(project, index=6, value=0.5))],
        [w.part("topk", *(replace(clamp, index=index) for index in (1, 2, 3)), replace(scale, index=30))],
        [w.part("normed", clamp, Change(8, 2.0), replace(scale, index=20, value=2.5))],
        [w.part("standard", add), w.part("jumprelu", clamp), w.part("topk", clamp), w.part("late", add)],
        [w.part("jumprelu", Change(3, 6.0, is_length=True), Change(4, 5.0, "clamp", is_length=True))],
        [w.part("standard", add, clamp, positions=answer)],
        [w.part("jumprelu", add, clamp, positions=Positions("prompt", last=3))],
        [
            w.part("standard", add, positions=Positions(first=5)),
            w.part("late", clamp, positions=first_two),
        ],
        [w.part("standard", replace(add, value=9.0), special_tokens=False), w.part("late", add, positions=prompt)],
        [w.part("jumprelu", add, clamp, when=w.when("standard", 2, 0.5))],
        [w.part("late", clamp, replace(add, value=6.0), when=late, positions=answer)],
    ]
    return [parts for parts in every if not (ON_VLLM and any(part.when or part.sae_id == "topk" for part in parts))]


def test_16_requests_of_every_kind_get_in_one_batch_what_each_gets_alone(
    collected: Collected, model: Any, written: Written
) -> None:
    _, plain = model
    jobs = [(prompt_of(20 + 3 * i, seed=i), parts) for i, parts in enumerate(steerings(written))]
    references = [PlainHooks(written, parts, ids, plain) for ids, parts in jobs]
    expected = [reference.generate(plain) for reference in references]
    unsteered = [PlainHooks(written, [], ids, plain).generate(plain) for ids, _ in jobs]
    assert sum(steered != plainly for steered, plainly in zip(expected, unsteered, strict=True)) >= len(jobs) - 6
    submitted = [collected.submit(ids, SteeringSpec.of(parts), max_new_tokens=NEW) for ids, parts in jobs]
    assert [collected.tokens(one) for one in submitted] == expected
    for one, reference in zip(submitted, references, strict=True):
        data = collected.wait(one)[-1].data
        assert data.get("conditions", []) == [reference.first[part.when] for part in reference.parts if part.when]
    assert ON_VLLM or any(position is not None for reference in references for position in reference.first.values())


def test_one_long_prompt_under_all_steerings_in_turn_shares_no_block_that_another_steering_wrote(
    collected: Collected, model: Any, written: Written
) -> None:
    _, plain = model
    ids = prompt_of(70, seed=99)
    for parts in [*steerings(written), *steerings(written)[:4]]:
        expected = PlainHooks(written, parts, ids, plain).generate(plain)
        assert collected.tokens(collected.submit(ids, SteeringSpec.of(parts), max_new_tokens=NEW)) == expected


@not_on_vllm
def test_a_steering_of_the_answer_alone_shares_its_prompt_with_unsteered_requests(
    collected: Collected, written: Written
) -> None:
    if not collected.engine._manager.batch_processor.cache.use_prefix_sharing:
        pytest.skip("transformers shares no blocks of sliding windows")
    ids = prompt_of(170, seed=7)
    collected.tokens(collected.submit(ids, None, max_new_tokens=2))
    answer_only = SteeringSpec.of([written.part("standard", Change(3, 4.0), positions=Positions("answer"))])
    assert collected.cached_tokens(collected.submit(ids, answer_only, max_new_tokens=2)) >= 128
    everywhere = SteeringSpec.of([written.part("standard", Change(3, 4.0))])
    assert collected.cached_tokens(collected.submit(ids, everywhere, max_new_tokens=2)) == 0


@not_on_vllm
def test_a_condition_holds_at_all_tokens_of_a_request_that_has_several_rows(
    collected: Collected, model: Any, written: Written
) -> None:
    _, plain = model
    add, when = Change(3, 9.0), [written.when("standard", 2, 0.5, so_far) for so_far in (False, True)]
    for seed, (condition, last) in enumerate(product(when, (3, 9, 20))):
        ids = prompt_of(25, seed=seed)
        # Three sets of parts, whose rows come in any order of their numbers.
        parts = [
            written.part("jumprelu", add, when=condition, positions=Positions("prompt", last=last)),
            written.part("late", add, when=condition, special_tokens=False),
        ]
        expected = PlainHooks(written, parts, ids, plain).generate(plain)
        assert collected.tokens(collected.submit(ids, SteeringSpec.of(parts), max_new_tokens=NEW)) == expected
