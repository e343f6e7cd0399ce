"""Passes outside the batch leave the tokens of calls and of the reasoning unsteered too: readings, echoes, sweeps."""

from typing import Any

import pytest
import torch

from inference.engine.continuations import Continuations
from inference.engine.prompt_reader import PromptReader
from inference.engine.reading.residual_reader import ResidualReader, Steering
from inference.engine.steering.passes import PassSteering
from inference.tests.test_steering_in_full import Written, layers_of, prompt_of, write_saes
from inference.tests.test_steering_regions import END, FLAGS, Interrupted, interrupted, letters
from inference.tests.tiny import tiny_model, tiny_tokenizer
from steering.spec import Change, SteeringPart, SteeringSpec

SPECIAL = {0, END}


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Written:
    return write_saes(tmp_path_factory.mktemp("saes"))


@pytest.fixture(scope="module")
def reader() -> PromptReader:
    return PromptReader(tiny_model())


def passes(written: Written, parts: list[SteeringPart]) -> PassSteering:
    spec = SteeringSpec.of(parts)
    assert spec is not None
    return PassSteering(spec, written.weights(), SPECIAL, letters(tiny_tokenizer()))


@torch.no_grad()
def plainly(written: Written, parts: list[SteeringPart], ids: list[int], prompt: int) -> tuple[torch.Tensor, Any]:
    """The logits, (tokens, vocab), and the last residual stream of one pass, with the hook that is switched off."""
    model = tiny_model()
    hooks = Interrupted(written, parts, ids, model)
    hooks.tokenizer, hooks.prompt = tiny_tokenizer(), prompt
    streams: list[torch.Tensor] = []
    for layer, block in enumerate(layers_of(model)):
        block.register_forward_hook(lambda _m, _a, out, layer=layer: hooks._hooked(layer, out))
        block.register_forward_hook(lambda _m, _a, out: streams.append(out[0] if isinstance(out, tuple) else out))
    logits = model(torch.tensor([ids])).logits[0]
    return logits, streams[-1][0]


def test_readings_and_log_probabilities_are_those_of_a_hook_that_is_switched_off(
    written: Written, reader: PromptReader
) -> None:
    texts = [prompt_of(60 + 9 * at, seed=at) for at in range(8)]
    for at, parts in enumerate(interrupted(written)[1:9]):
        ids, steering = texts[at], passes(written, parts)
        logits, _ = plainly(written, parts, ids, len(ids))
        found = [own for own, _ in reader.prompt_logprobs(ids, steering, top=0)]
        expected = logits.log_softmax(-1)[:-1].gather(1, torch.tensor(ids[1:])[:, None]).squeeze(1)
        torch.testing.assert_close(torch.tensor(found), expected, atol=1e-3, rtol=1e-3)
        streams = ResidualReader(reader.model, "blocks.2.hook_resid_post", reader.lock)
        for prompt_tokens in (None, 20):
            read = streams.residual_streams(texts, Steering(steering, prompt_tokens=prompt_tokens))
            [stream] = [stream for index, _, stream in read if index == at]
            _, expected = plainly(written, parts, ids, prompt_tokens or len(ids))
            torch.testing.assert_close(stream, expected, atol=1e-3, rtol=1e-3)


def test_a_text_of_several_passes_keeps_its_regions(written: Written, reader: PromptReader) -> None:
    ids = prompt_of(600, seed=3)
    part = written.part("standard", Change(3, 9.0), **FLAGS[2])
    streams = ResidualReader(reader.model, "blocks.2.hook_resid_post", reader.lock)
    read = streams.residual_streams([ids], Steering(passes(written, [part])))
    _, expected = plainly(written, [part], ids, len(ids))
    torch.testing.assert_close(torch.cat([one for _, _, one in read]), expected, atol=1e-3, rtol=1e-3)


def test_no_continuation_begins_in_the_region_of_the_one_before(written: Written, reader: PromptReader) -> None:
    prompt, steering = prompt_of(30, seed=5), [written.part("standard", Change(3, 9.0), **FLAGS[2])]
    several = [prompt_of(12, seed=seed)[1:] for seed in (6, 7, 8)]
    found = Continuations(reader).logprobs(prompt, several, passes(written, steering))
    for ids, own in zip(several, found, strict=True):
        logits, _ = plainly(written, steering, [*prompt, *ids], len(prompt))
        expected = logits.log_softmax(-1)[len(prompt) - 1 : -1].gather(1, torch.tensor(ids)[:, None]).squeeze(1)
        torch.testing.assert_close(torch.tensor(own), expected, atol=1e-3, rtol=1e-3)
