"""Calls and the reasoning of a chat by HTTP, token for token as a plain hook that is off over their tokens gives them.

The scripted model writes `lost` after a steered token, but for two whose successors no steering changes.
"""

import json
import signal
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import httpx
import pytest
import torch
from safetensors.torch import save_file
from transformers import LlamaForCausalLM

from inference.broker import heartbeats
from inference.models import LanguageModel
from inference.tests.conftest import Server
from inference.tests.response_streams import stream
from inference.tests.scripted import after, byte_level, ids_of, scripted_model
from inference.tests.test_loading import eventually
from steering.models import SAE

NEW, STRENGTH = 14, 3.0
CALL = ['{"name":"tide",', '"arguments":{"n":3}}']
THOUGHT, CALLED = ["<think>", "Hm", "well", "</think>"], ["<tool_call>", *CALL, "</tool_call>"]
SCRIPT = ["start", *THOUGHT, "Look", *CALLED, "Yes", "<|im_end|>"]
SPECIAL = ["<|endoftext|>", "<|im_end|>", "<think>", "</think>", "<tool_call>", "</tool_call>"]
TEMPLATE = (
    "{# <tool_call> <think> #}{% if tools %}{{ tools | tojson }}{% endif %}"
    "{% for m in messages %}{{ '\\n' + m.content }}{% endfor %}"
)
TOKENIZER = byte_level(["start", "Hm", "well", "Look", "Yes", "sea", "lost", *CALL], SPECIAL, chat_template=TEMPLATE)
FUNCTION = {"name": "tide", "parameters": {"type": "object", "properties": {"n": {"type": "integer"}}}}
ASKED: list[dict[str, Any]] = [{"role": "user", "content": "start"}]
REGIONS = {"thinking": ("<think>", "</think>"), "tools": ("<tool_call>", "</tool_call>")}
FLAGS: list[dict[str, bool]] = [{}, {"tools": False}, {"thinking": False}, {"tools": False, "thinking": False}]


def scripted() -> LlamaForCausalLM:
    model = scripted_model(TOKENIZER, after(TOKENIZER, *SCRIPT) | after(TOKENIZER, "sea", "lost"))
    with torch.no_grad():
        for last, following in (("start", "<think>"), ("Look", "<tool_call>")):
            [column, row] = ids_of(TOKENIZER, last, following)
            model.lm_head.weight[row, column] = 100.0
    return model


def direction(width: int) -> torch.Tensor:
    """The direction of the only feature, towards the token `sea`."""
    made = torch.zeros(1, width)
    made[0, ids_of(TOKENIZER, "sea")] = 1.0
    return made


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("unsteered") / "calling"
    model = scripted()
    model.save_pretrained(made)
    TOKENIZER.save_pretrained(made)
    width = model.config.hidden_size
    decoder, zeros = direction(width), {"b_enc": torch.zeros(1), "b_dec": torch.zeros(width)}
    (made / "sae").mkdir()
    save_file({"W_enc": decoder.T.clone(), "W_dec": decoder, **zeros}, made / "sae" / "sae_weights.safetensors")
    metadata = {"hook_name": "blocks.0.hook_resid_post", "model_name": "calling"}
    config = {"architecture": "standard", "d_in": width, "d_sae": 1, "dtype": "float32", "metadata": metadata}
    (made / "sae" / "cfg.json").write_text(json.dumps(config))
    return made


@pytest.fixture(scope="module")
def worker(processes: Server, folder: Path, django_db_blocker: Any) -> Iterator[Any]:
    with django_db_blocker.unblock():
        LanguageModel.objects.register(str(folder), anywhere=True)
    started = processes.start_worker(INFERENCE_MODEL="calling")
    yield started
    started.send_signal(signal.SIGTERM)
    assert started.wait(timeout=60) == 0


@pytest.fixture
def client(server: Server, api_key: str, worker: Any, folder: Path) -> Iterator[httpx.Client]:
    model = LanguageModel.objects.filter(name="calling").first()
    model = model or LanguageModel.objects.register(str(folder), anywhere=True)
    model.make_current()
    model.attach(SAE.objects.register(str(folder / "sae"), sae_id="sea", anywhere=True))
    eventually(lambda: any(beat.serves("calling") for beat in heartbeats.live_workers()))
    headers = {"Authorization": f"Bearer {api_key}"}
    with httpx.Client(base_url=f"{server.url}/v1", headers=headers, timeout=60) as made:
        yield made


def is_steered(ids: Sequence[int], prompt: int, flags: dict[str, bool]) -> torch.Tensor:
    """True for the tokens of a text that are steered, (tokens,)."""
    found, ends = [], None
    spans = {tuple(ids_of(TOKENIZER, *span)) for name, span in REGIONS.items() if not flags.get(name, True)}
    for position, token in enumerate(ids):
        opened = next((end for begin, end in spans if begin == token), None) if position >= prompt else None
        ends = opened if ends is None else ends
        found.append(ends is None)
        ends = None if token == ends else ends
    return torch.tensor(found)


@torch.no_grad()
def hooked(flags: dict[str, bool]) -> list[str]:
    """The tokens that a plain hook gives, by transformers alone."""
    template: Any = TOKENIZER.apply_chat_template(
        ASKED, tools=[{"type": "function", "function": FUNCTION}], return_dict=False
    )
    ids, prompt, model = list(template), len(template), scripted()
    vector = STRENGTH * direction(model.config.hidden_size)

    def add(module: Any, args: Any, output: Any) -> Any:
        states = output[0] if isinstance(output, tuple) else output
        states += is_steered(ids, prompt, flags).unsqueeze(1) * vector

    model.model.layers[0].register_forward_hook(add)
    while len(ids) < prompt + NEW and ids[-1] != TOKENIZER.eos_token_id:
        ids.append(int(model(torch.tensor([ids])).logits[0, -1].argmax()))
    return [str(token) for token in TOKENIZER.convert_ids_to_tokens(ids[prompt:])]


def steering(flags: dict[str, bool]) -> dict[str, Any]:
    return {"features": {"0": STRENGTH}, **flags}


@pytest.mark.parametrize("flags", FLAGS)
def test_a_chat_has_the_tokens_of_a_hook_that_is_off_there(client: httpx.Client, flags: dict[str, bool]) -> None:
    body = {
        "model": "calling",
        "messages": ASKED,
        "tools": [{"type": "function", "function": FUNCTION}],
        "temperature": 0,
        "max_tokens": NEW,
        "logprobs": True,
        "steering": steering(flags),
    }
    answer = client.post("/chat/completions", json=body)
    assert answer.status_code == 200, answer.text
    [choice] = answer.json()["choices"]
    tokens = hooked(flags)
    assert [entry["token"] for entry in choice["logprobs"]["content"]] == tokens
    assert choice["message"].get("reasoning_content") == ("Hmwell" if "thinking" in flags else "lost" * (NEW - 1))
    calls = [call["function"] for call in choice["message"].get("tool_calls", [])]
    assert calls == ([{"name": "tide", "arguments": '{"n": 3}'}] if len(flags) == 2 else [])
    assert "lost" in tokens


def test_the_hook_breaks_calls_and_the_reasoning_unless_it_is_off_there() -> None:
    assert hooked({}) == ["<think>", *["lost"] * (NEW - 1)]
    assert hooked({"tools": False, "thinking": False}) == [*SCRIPT[1:11], *["lost"] * (NEW - 10)]


def test_a_stream_of_a_response_has_the_same_reasoning_and_call(client: httpx.Client) -> None:
    own = {"model": "calling", "input": "start", "tools": [{"type": "function", **FUNCTION}], "temperature": 0}
    limits = {"max_output_tokens": NEW, "store": False}
    events = stream(client, **own, **limits, steering=steering({"tools": False, "thinking": False}))
    items = events[-1]["response"]["output"]
    assert [item["type"] for item in items] == ["reasoning", "message", "function_call", "message"]
    assert items[0]["content"][0]["text"] == "Hmwell"
    assert items[2]["arguments"] == '{"n": 3}'
    [broken] = stream(client, **own, **limits, steering=steering({}))[-1]["response"]["output"]
    assert broken["content"][0]["text"] == "lost" * (NEW - 1)
