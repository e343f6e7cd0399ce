"""Tools and reasoning of chats by HTTP: a scripted model writes each form, and the `openai` package reads it."""

import json
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import openai
import pytest
from tokenizers import pre_tokenizers

from inference.broker import heartbeats
from inference.models import LanguageModel
from inference.tests.conftest import Server
from inference.tests.scripted import after, byte_level, scripted_model
from inference.tests.test_loading import eventually

PROPERTIES = {"at": {"type": "string"}, "n": {"type": "integer"}}
TIDE = {"type": "function", "function": {"name": "tide", "parameters": {"type": "object", "properties": PROPERTIES}}}
KNOWS_TOOLS = (
    "{# <tool_call> <think> #}{% if tools %}{{ tools | tojson }}{% endif %}"
    "{% for m in messages %}{{ m.content }}{% for c in m.tool_calls or [] %}{{ c.function.name }}{% endfor %}"
    "{% endfor %}"
)
SPECIAL = ["<|endoftext|>", "<|im_end|>", "<tool_call>", "</tool_call>", "[TOOL_CALLS]", "<|python_tag|>"]
# {the last word of the prompt: the tokens of the answer}: a token stands in one answer alone
ANSWERS = {
    "hermes": [
        *("Let me look.\n", "<tool_call>", '{"name": "tide", ', '"arguments": {"at": "né 🌊"}}', "</tool_call>"),
        '\n<tool_call>{"name": "tide", "arguments": {"n": 3}}</tool_call>',
    ],
    "llama": [
        *("<|python_tag|>", '{"name": "tide", "parameters"', ': {"at": "né 🌊"}}; {"name": "tide", '),
        '"parameters": {"n": 3}}',
    ],
    "mistral": [
        *("[TOOL_CALLS]", '[{"name": "tide", "arguments": {"at": "né 🌊"}}', ', {"name": "tide", "arguments": '),
        '{"n": 3}}]',
    ],
    "qwen": [
        *("Let me look.\n\n", "<tool_call>\n<function=tide>\n<parameter=at>\nné", " 🌊\n</parameter>\n</func"),
        *("tion>\n</tool_call>\n<tool_call>\n<function=tide>\n<parameter=n>\n3", "\n</parameter>\n</function>\n</tool"),
        "_call>",
    ],
    "broken": ['<tool_call>{"name": ', "tide}</tool_call>", " Oh."],
    "thinks": ["<think>", "Hm, ", "well.\n", "</think>", "\n\nYes."],
}
FORMS = {"hermes": "", "llama": "llama3", "mistral": "mistral", "qwen": "qwen3_coder"}
WORDS = [*ANSWERS, *(piece for pieces in ANSWERS.values() for piece in pieces)]
TOKENIZER = byte_level(WORDS, [*SPECIAL, "<think>", "</think>"], chat_template=KNOWS_TOOLS)


def piece_of(text: str) -> str:
    """The name of the token that is `text`."""
    if text in TOKENIZER.get_vocab():
        return text
    splitter = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    return "".join(piece for piece, _ in splitter.pre_tokenize_str(text))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("tools") / "caller"
    script: dict[int, list[int]] = {}
    for word, pieces in ANSWERS.items():
        script |= after(TOKENIZER, *map(piece_of, [word, *pieces, "<|im_end|>"]))
    scripted_model(TOKENIZER, script).save_pretrained(made)
    TOKENIZER.save_pretrained(made)
    return made


@pytest.fixture(scope="module")
def worker(processes: Server, folder: Path, django_db_blocker: Any) -> Iterator[Any]:
    with django_db_blocker.unblock():
        LanguageModel.objects.register(str(folder), anywhere=True)
    started = processes.start_worker(INFERENCE_MODEL="caller")
    yield started
    started.send_signal(signal.SIGTERM)
    assert started.wait(timeout=60) == 0


@pytest.fixture
def client(server: Server, api_key: str, worker: Any, folder: Path) -> openai.OpenAI:
    if not LanguageModel.objects.filter(name="caller").exists():
        LanguageModel.objects.register(str(folder), anywhere=True)
    eventually(lambda: any(beat.serves("caller") for beat in heartbeats.live_workers()))
    return server.openai(api_key)


def ask(client: openai.OpenAI, word: str, **options: Any) -> Any:
    messages = options.pop("messages", [{"role": "user", "content": word}])
    own = {"model": "caller", "messages": messages, "tools": [TIDE], "temperature": 0}
    return client.chat.completions.create(**(own | options))


def streamed(client: openai.OpenAI, word: str, **options: Any) -> dict[str, Any]:
    """The message that the chunks of a stream add up to, as clients add them."""
    made: dict[str, Any] = {"content": "", "reasoning": "", "calls": []}
    for chunk in ask(client, word, stream=True, stream_options={"include_usage": True}, **options):
        made["usage"] = chunk.usage
        for choice in chunk.choices:
            made["content"] += choice.delta.content or ""
            made["reasoning"] += getattr(choice.delta, "reasoning_content", None) or ""
            made["finish_reason"] = choice.finish_reason
            for call in choice.delta.tool_calls or []:
                if call.index == len(made["calls"]):
                    made["calls"].append(
                        {"id": call.id, "type": call.type, "name": call.function.name, "arguments": ""}
                    )
                made["calls"][call.index]["arguments"] += call.function.arguments
    return made


@pytest.mark.parametrize("word", FORMS)
def test_calls_of_each_form_are_calls_whole_and_streamed(client: openai.OpenAI, word: str) -> None:
    LanguageModel.objects.filter(name="caller").update(answer_form=FORMS[word])
    [choice] = ask(client, word).choices
    calls = choice.message.tool_calls
    assert [(call.type, call.function.name) for call in calls] == [("function", "tide")] * 2
    assert [json.loads(call.function.arguments) for call in calls] == [{"at": "né 🌊"}, {"n": 3}]
    said = "Let me look." if word in {"hermes", "qwen"} else None
    assert (choice.message.content, choice.finish_reason) == (said, "tool_calls")
    assert len({call.id for call in calls}) == 2
    stream = streamed(client, word)
    assert (stream["content"] or None, stream["finish_reason"]) == (said, "tool_calls")
    own = [{"type": "function", "name": "tide", "arguments": call.function.arguments} for call in calls]
    assert [{**call, "id": ""} for call in stream["calls"]] == [{**call, "id": ""} for call in own]
    assert all(call["id"].startswith("call_") for call in stream["calls"])


def test_one_call_ends_the_answer_where_parallel_calls_are_off(client: openai.OpenAI) -> None:
    answer = ask(client, "hermes", parallel_tool_calls=False)
    assert len(answer.choices[0].message.tool_calls) == 1
    assert answer.choices[0].finish_reason == "tool_calls"
    assert len(streamed(client, "hermes", parallel_tool_calls=False)["calls"]) == 1


def test_a_broken_call_is_text(client: openai.OpenAI) -> None:
    text = "".join(ANSWERS["broken"])
    [choice] = ask(client, "broken").choices
    assert (choice.message.content, choice.message.tool_calls, choice.finish_reason) == (text, None, "stop")
    assert streamed(client, "broken")["content"] == text


def test_a_call_that_max_tokens_cuts_is_text(client: openai.OpenAI) -> None:
    [choice] = ask(client, "hermes", max_tokens=3).choices
    assert (choice.message.content, choice.finish_reason) == ('Let me look.\n<tool_call>{"name": "tide", ', "length")


def test_without_tools_and_with_the_choice_none_a_call_is_text(client: openai.OpenAI) -> None:
    text = "".join(ANSWERS["qwen"])
    plain = ask(client, "qwen", tools=openai.NOT_GIVEN)
    none = ask(client, "qwen", tool_choice="none")
    assert plain.choices[0].message.content == none.choices[0].message.content == text
    assert none.usage.prompt_tokens == plain.usage.prompt_tokens  # the model is not shown the tools
    assert ask(client, "qwen").usage.prompt_tokens > plain.usage.prompt_tokens


def test_of_allowed_tools_alone_calls_are_calls(client: openai.OpenAI) -> None:
    tools = [TIDE, {"type": "function", "function": {"name": "ebb"}}]

    def choice(mode: str, name: str) -> dict[str, Any]:
        tool = {"type": "function", "function": {"name": name}}
        return {"type": "allowed_tools", "allowed_tools": {"mode": mode, "tools": [tool]}}

    both = ask(client, "hermes", tools=tools, tool_choice=choice("auto", "tide"))
    assert [call.function.name for call in both.choices[0].message.tool_calls] == ["tide", "tide"]
    assert both.usage.prompt_tokens == ask(client, "hermes").usage.prompt_tokens  # the model is shown these alone
    other = ask(client, "hermes", tools=tools, tool_choice=choice("auto", "ebb")).choices[0].message
    assert (other.content, other.tool_calls) == ("".join(ANSWERS["hermes"]), None)
    held = ask(client, "hermes", tools=tools, tool_choice=choice("required", "ebb"), max_tokens=200)
    assert held.choices[0].message.tool_calls[0].function.name == "ebb"


def test_reasoning_is_apart_from_the_content(client: openai.OpenAI) -> None:
    for tools in ([TIDE], openai.NOT_GIVEN):
        answer = ask(client, "thinks", tools=tools)
        message = answer.choices[0].message
        assert (message.content, message.reasoning_content) == ("Yes.", "Hm, well.")
        assert answer.usage.completion_tokens_details.reasoning_tokens == 4
        stream = streamed(client, "thinks", tools=tools)
        assert (stream["content"], stream["reasoning"]) == ("Yes.", "Hm, well.")
        assert stream["usage"].completion_tokens_details.reasoning_tokens == 4
    cut = ask(client, "thinks", max_tokens=2).choices[0]
    assert (cut.message.content, cut.message.reasoning_content, cut.finish_reason) == (None, "Hm,", "length")


def test_choices_are_parsed_each_for_itself(client: openai.OpenAI) -> None:
    answer = ask(client, "hermes", n=3)
    assert [len(choice.message.tool_calls) for choice in answer.choices] == [2, 2, 2]
    assert len({call.id for choice in answer.choices for call in choice.message.tool_calls}) == 6


def test_results_and_reasoning_go_back_to_the_model(client: openai.OpenAI) -> None:
    called = ask(client, "hermes").choices[0].message.model_dump(exclude_none=True)
    thought = ask(client, "thinks").choices[0].message.model_dump(exclude_none=True)
    result = {"role": "tool", "tool_call_id": called["tool_calls"][0]["id"], "content": "noon"}
    messages = [{"role": "user", "content": "hermes"}, called, result, thought, {"role": "user", "content": "thinks"}]
    assert ask(client, "", messages=messages).choices[0].message.content == "Yes."


def test_a_stop_string_and_log_probabilities_work_with_calls(client: openai.OpenAI) -> None:
    assert ask(client, "hermes", stop="look").choices[0].message.content == "Let me "
    answer = ask(client, "hermes", logprobs=True)
    entries = answer.choices[0].logprobs.content
    assert len(entries) == answer.usage.completion_tokens
    assert "".join(entry.token for entry in entries) == "".join(ANSWERS["hermes"]) + "<|im_end|>"


def test_the_form_none_finds_nothing(client: openai.OpenAI) -> None:
    LanguageModel.objects.filter(name="caller").update(answer_form="none")
    assert ask(client, "thinks").choices[0].message.content == "Hm, well.\n\n\nYes."
    message = ask(client, "qwen").choices[0].message
    assert (message.content, message.tool_calls) == ("".join(ANSWERS["qwen"]), None)


def test_a_plain_model_is_given_the_tools_as_text(server: Server, api_key: str) -> None:
    """The demo's template knows no tools."""
    headers = {"Authorization": f"Bearer {api_key}"}
    body = {"model": "demo", "messages": [{"role": "user", "content": "Hi."}], "max_tokens": 4}
    answers = [
        httpx.post(f"{server.url}/v1/chat/completions", json=body | more, headers=headers, timeout=60)
        for more in ({}, {"tools": [TIDE]}, {"tools": [TIDE], "tool_choice": "none"})
    ]
    assert [answer.status_code for answer in answers] == [200] * 3, answers[1].text
    plain, given, none = (answer.json()["usage"]["prompt_tokens"] for answer in answers)
    assert plain == none < given


def test_required_calls_follow_the_schema_under_strong_steering(server: Server, api_key: str) -> None:
    properties = {"place": {"type": "string", "maxLength": 9}, "hour": {"type": "integer", "minimum": 0, "maximum": 23}}
    parameters = {"type": "object", "properties": properties, "required": ["place", "hour"]}
    tool = {"type": "function", "function": {"name": "sail", "parameters": parameters}}
    body = {"model": "demo", "messages": [{"role": "user", "content": "Sail."}], "tools": [tool]}
    held = {"tool_choice": "required", "n": 8, "steering": {"features": {"3": 60.0, "100": -45.0}}}
    headers = {"Authorization": f"Bearer {api_key}"}
    answer = httpx.post(f"{server.url}/v1/chat/completions", json=body | held, headers=headers, timeout=300)
    assert answer.status_code == 200, answer.text
    for choice in answer.json()["choices"]:
        assert (choice["finish_reason"], choice["message"]["content"]) == ("tool_calls", None)
        [call] = choice["message"]["tool_calls"]
        arguments = json.loads(call["function"]["arguments"])
        assert {*arguments} == {"place", "hour"}
        assert 0 <= arguments["hour"] <= 23
        assert len(arguments["place"]) <= 9


def test_tools_that_cannot_be_held_are_the_requests_error(server: Server, api_key: str) -> None:
    odd = {"type": "object", "properties": {"a": {"type": "array", "contains": {}}}}
    tool = {"type": "function", "function": {"name": "odd", "parameters": odd, "strict": True}}
    body = {"model": "demo", "messages": [{"role": "user", "content": "Hi."}], "tools": [tool]}
    headers = {"Authorization": f"Bearer {api_key}"}
    for more in ({}, {"tool_choice": "required"}, {"stream": True}):
        answer = httpx.post(f"{server.url}/v1/chat/completions", json=body | more, headers=headers, timeout=60)
        error = answer.json()["error"]
        assert (answer.status_code, error["param"]) == (400, "tools"), error
        assert "strict function odd" in error["message"]
