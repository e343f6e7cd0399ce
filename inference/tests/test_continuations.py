"""Log-probabilities of continuations, beside plain forward passes over each whole text."""

import random
from pathlib import Path

import pytest
import torch

from inference.engine import continuations as module
from inference.engine.continuations import Continuations
from inference.engine.prompt_reader import PromptReader
from inference.engine.steering.passes import PassSteering
from inference.engine.steering.weights import SteeringWeights
from inference.interface import ContextLengthExceeded
from inference.tests.tiny import CONTEXT, tiny_model, tiny_sae
from steering.formats import read_config
from steering.spec import Change, Condition, Positions, SteeringPart, SteeringSpec

HOOK = "blocks.1.hook_resid_post"


@pytest.fixture(scope="module")
def reader() -> PromptReader:
    return PromptReader(tiny_model())


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> SteeringWeights:
    config = read_config(tiny_sae(tmp_path_factory.mktemp("sae")))
    return SteeringWeights(lambda _place: config)


def tokens(count: int, seed: int = 0) -> list[int]:
    rng = random.Random(seed)
    return [rng.randrange(2, 320) for _ in range(count)]


WORDS = [tokens(1, 1), tokens(3, 2), tokens(1, 3), tokens(7, 4), []]


def naive(reader: PromptReader, prompt: list[int], ids: list[int]) -> list[float]:
    """One pass over the whole text, without a cache."""
    text = torch.tensor([[*prompt, *ids]])
    with torch.no_grad():
        logprobs = reader.model(text).logits[0].log_softmax(-1)
    return [float(logprobs[len(prompt) + at - 1, token]) for at, token in enumerate(ids)]


def close(found: list[list[float]], expected: list[list[float]]) -> None:
    assert list(map(len, found)) == list(map(len, expected))
    flat = [torch.tensor([one for ids in several for one in ids]) for several in (found, expected)]
    torch.testing.assert_close(*flat, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("chunk", [256, 4])
def test_unsteered_continuations_are_those_of_a_plain_pass(
    reader: PromptReader, monkeypatch: pytest.MonkeyPatch, chunk: int
) -> None:
    monkeypatch.setattr(module, "CHUNK_TOKENS", chunk)
    prompt = tokens(11)
    found = Continuations(reader).logprobs(prompt, [*WORDS, tokens(30, 9)])
    close(found, [naive(reader, prompt, ids) for ids in [*WORDS, tokens(30, 9)]])


@pytest.mark.parametrize("positions", [Positions(), Positions("prompt"), Positions("answer"), Positions("answer", 2)])
def test_steered_continuations_are_those_of_one_word_alone(
    reader: PromptReader, weights: SteeringWeights, positions: Positions
) -> None:
    part = SteeringPart("s", "", 1, HOOK, (Change(3, 4.0), Change(9, -3.0)), positions=positions)
    steering = PassSteering(SteeringSpec((part,)), weights)
    prompt = tokens(11)
    found = Continuations(reader).logprobs(prompt, WORDS, steering)
    close(found, [one for ids in WORDS for one in Continuations(reader).logprobs(prompt, [ids], steering)])
    if positions == Positions():
        read = [reader.prompt_logprobs([*prompt, *ids], steering, 0)[len(prompt) - 1 :] for ids in WORDS]
        close(found, [[own for own, _ in several] for several in read])
    plain = Continuations(reader).logprobs(prompt, WORDS)
    begins_alike = found[1][0] == pytest.approx(plain[1][0], abs=1e-4)
    assert begins_alike == (positions.of == "answer")
    assert found[1][1:] != pytest.approx(plain[1][1:], abs=1e-4)


def test_a_condition_that_held_in_one_word_does_not_hold_in_the_next(
    reader: PromptReader, weights: SteeringWeights, tmp_path: Path
) -> None:
    whole = [*tokens(11), *WORDS[3]]
    for index in range(64):  # a feature that fires on the first word and not before
        when = Condition("s", "", 1, HOOK, index, 0.5, so_far=True)
        part = SteeringPart("s", "", 1, HOOK, (Change(3, 4.0),), when=when)
        steering = PassSteering(SteeringSpec((part,)), weights)
        alone = [Continuations(reader).logprobs(whole[:11], [ids], steering)[0] for ids in (WORDS[3], WORDS[1])]
        close(Continuations(reader).logprobs(whole[:11], [WORDS[3], WORDS[1]], steering), alone)


def test_a_continuation_beyond_the_context_is_refused(reader: PromptReader) -> None:
    with pytest.raises(ContextLengthExceeded, match="prompt and continuation have 2049 tokens"):
        Continuations(reader).logprobs(tokens(CONTEXT), [tokens(1)])
