"""`echo` with `logprobs`: the log-probabilities of the prompt, as evaluation harnesses ask for them."""

from typing import Any

import openai
import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from inference.demo.tiny import FILES
from inference.engine.prompt_reader import PromptReader
from inference.engine.steering.passes import PassSteering
from inference.tests.conftest import Server
from inference.tests.engines import GivenDirections
from inference.tests.tiny import D_MODEL, tiny_model
from profiles.models import Profile
from steering.spec import SteeringSpec

PROMPT = "The whale dives deep and sings."


@pytest.fixture
def client(server: Server, api_key: str) -> Any:
    return server.openai(api_key).completions


def test_a_prompt_is_echoed_with_its_log_probabilities(client: Any) -> None:
    options = {"model": "demo", "prompt": PROMPT, "echo": True, "logprobs": 2, "temperature": 0}
    [choice] = client.create(**options, max_tokens=1).choices
    model = AutoModelForCausalLM.from_pretrained(FILES / "model", dtype=torch.float32).eval()
    ids = AutoTokenizer.from_pretrained(FILES / "model")(PROMPT, return_tensors="pt")["input_ids"]
    with torch.no_grad():
        expected = model(ids).logits[0].log_softmax(-1)
    found = choice.logprobs
    assert len(found.tokens) == ids.size(1) + 1  # the prompt's and the one generated
    assert found.token_logprobs[0] is found.top_logprobs[0] is None
    own = expected[:-1].gather(1, ids[0, 1:].unsqueeze(1)).squeeze(1)
    torch.testing.assert_close(torch.tensor(found.token_logprobs[1:-1]), own, atol=1e-3, rtol=1e-3)
    assert all(len(top) <= 2 for top in found.top_logprobs[1:])
    assert found.text_offset[0] == 0
    assert choice.text.startswith(PROMPT)

    [only] = client.create(**options, max_tokens=0).choices
    assert only.text == PROMPT
    assert only.finish_reason == "length"
    assert only.logprobs.token_logprobs == found.token_logprobs[:-1]
    [streamed] = [chunk for chunk in client.create(**options, max_tokens=0, stream=True) if chunk.choices[0].text]
    assert streamed.choices[0].logprobs == only.logprobs


def test_a_steered_prompt_has_other_probabilities_and_the_unsteered_ones_come_back(client: Any) -> None:
    options = {"prompt": PROMPT, "echo": True, "logprobs": 0, "max_tokens": 0}
    plain = client.create(model="demo", **options).choices[0].logprobs.token_logprobs
    steered = client.create(model="demo:ocean", **options).choices[0].logprobs.token_logprobs
    assert steered != plain
    assert client.create(model="demo", **options).choices[0].logprobs.token_logprobs == plain
    Profile.objects.get(name="ocean").activate()
    assert client.create(model="demo", **options).choices[0].logprobs.token_logprobs == steered


@pytest.mark.parametrize("max_tokens", [0, 2])
@pytest.mark.parametrize("logprobs", [None, 1])
def test_each_choice_of_each_prompt_begins_with_its_prompt(client: Any, max_tokens: int, logprobs: int | None) -> None:
    prompts = [PROMPT, "Mountains"]
    options = {"model": "demo", "prompt": prompts, "echo": True, "logprobs": logprobs, "n": 3, "max_tokens": max_tokens}
    choices = client.create(**options).choices
    assert [choice.text.startswith(prompts[choice.index // 3]) for choice in choices] == [True] * 6
    texts = [""] * 6
    for chunk in client.create(**options, stream=True):
        for choice in chunk.choices:
            texts[choice.index] += choice.text
    assert [text.startswith(prompts[index // 3]) for index, text in enumerate(texts)] == [True] * 6
    if logprobs is not None:
        assert all(choice.logprobs.token_logprobs[0] is None for choice in choices)


def test_an_echo_alone_is_within_the_context_too(client: Any) -> None:
    with pytest.raises(openai.BadRequestError) as refused:
        client.create(model="demo", prompt="whale " * 20_000, max_tokens=0, echo=True, n=16)
    assert refused.value.code == "context_length_exceeded"
    assert refused.value.param == "prompt"


def test_nothing_asked_for_is_refused(client: Any) -> None:
    with pytest.raises(openai.BadRequestError, match="leaves no answer"):
        client.create(model="demo", prompt=PROMPT, max_tokens=0)


def test_a_long_prompt_goes_chunk_by_chunk_through_a_plain_hook() -> None:
    ids = [(i * 31) % 300 + 2 for i in range(700)]
    vector = torch.linspace(-1, 1, D_MODEL)
    spec = SteeringSpec.build("s", "f", 1, "blocks.1.hook_resid_post", {1: 1.0})
    assert spec is not None
    found = PromptReader(tiny_model()).prompt_logprobs(
        ids, PassSteering(spec, GivenDirections(lambda _part: vector)), top=3
    )
    model = tiny_model()
    model.model.layers[1].register_forward_hook(lambda _module, _args, output: output + vector)
    with torch.no_grad():
        expected = model(torch.tensor([ids])).logits[0].log_softmax(-1)
    for position, (own, others) in enumerate(found):
        assert own == pytest.approx(expected[position, ids[position + 1]].item(), abs=1e-3)
        assert [token for token, _ in others] == expected[position].topk(3).indices.tolist()
    assert len(found) == len(ids) - 1
