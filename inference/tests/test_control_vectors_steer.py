"""A control vector that the library gguf wrote steers at all its layers, as plain hooks that add its directions do."""

from collections.abc import Iterator
from typing import Any

import pytest
import torch
from torch import Tensor

from inference.engine.steering.weights import SteeringWeights
from inference.tests.engines import Collected, not_on_vllm, run_engine
from inference.tests.tiny import D_MODEL, tiny_model, tiny_sae, tiny_tokenizer
from steering.formats import read_config
from steering.spec import Change, Condition, Mode, SteeringPart, SteeringSpec
from steering.tests.vector_files import directions, write_control_vector

LAYERS, NEW = (1, 2), 12
PROMPT = [(11 * i) % 300 + 5 for i in range(40)]
MADE = directions(*LAYERS, width=D_MODEL)


@pytest.fixture(scope="module")
def collected(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Collected]:
    folder = tmp_path_factory.mktemp("files")
    config = read_config(write_control_vector(folder / "happy.gguf", MADE).parent)
    weights = SteeringWeights(lambda _place: config)
    with run_engine(tiny_model(), tiny_tokenizer(), tiny_sae(folder / "sae"), weights=weights) as engine:
        yield engine


def spec(value: float, mode: Mode = "add", when: Condition | None = None) -> SteeringSpec | None:
    return SteeringSpec.of(
        SteeringPart("happy", "", layer, f"blocks.{layer}.hook_resid_post", (Change(0, value, mode),), when=when)
        for layer in LAYERS
    )


def expected(change: Any) -> list[int]:
    """Greedy tokens of `generate`, with `change(stream, direction)` at each of the layers."""
    model: Any = tiny_model()
    for layer in LAYERS:
        direction = torch.from_numpy(MADE[layer])
        model.model.layers[layer].register_forward_hook(lambda _m, _a, out, direction=direction: change(out, direction))
    ids = torch.tensor([PROMPT])
    answer = model.generate(
        ids, attention_mask=torch.ones_like(ids), max_new_tokens=NEW, do_sample=False, pad_token_id=1
    )
    found: list[int] = answer[0, len(PROMPT) :].tolist()
    return found


def test_it_is_added_at_each_of_its_layers(collected: Collected) -> None:
    [plain] = collected.greedy([(PROMPT, None)], NEW)
    [steered] = collected.greedy([(PROMPT, spec(3.0))], NEW)
    assert steered == expected(lambda stream, direction: stream + 3.0 * direction) != plain


def test_it_is_projected_out_at_each_of_its_layers(collected: Collected) -> None:
    def without(stream: Tensor, direction: Tensor) -> Tensor:
        unit = direction / direction.norm()
        taken: Tensor = (stream @ unit).unsqueeze(-1) * unit
        return stream - taken

    assert collected.greedy([(PROMPT, spec(1.0, "project"))], NEW) == [expected(without)]


@not_on_vllm  # which steers under no condition
def test_it_steers_only_where_the_stream_points_along_a_vector(collected: Collected) -> None:
    when = Condition("happy", "", 1, "blocks.1.hook_resid_post", 0, 0.5)
    unit = torch.from_numpy(MADE[1]) / torch.from_numpy(MADE[1]).norm()
    held: dict[str, Tensor] = {}

    def change(stream: Tensor, direction: Tensor) -> Tensor:
        if torch.equal(direction, torch.from_numpy(MADE[1])):
            held["now"] = ((stream @ unit) > 0.5).unsqueeze(-1)
        return stream + 9.0 * direction * held["now"]

    assert collected.greedy([(PROMPT, spec(9.0, when=when))], NEW) == [expected(change)]
