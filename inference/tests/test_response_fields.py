"""The fields of a request for a response: what is honoured, what is refused by its name."""

import json
from typing import Any

import pytest

from inference.openai.errors import OpenAIError
from inference.responses.request import ResponseRequest


def asked(*, strict: bool = False, **fields: Any) -> ResponseRequest:
    body = {"model": "m", "input": "x"} | fields
    return ResponseRequest.parse(json.dumps(body).encode(), strict=strict)


def refused(*, strict: bool = False, **fields: Any) -> OpenAIError:
    with pytest.raises(OpenAIError) as error:
        asked(strict=strict, **fields)
    assert error.value.status == 400
    return error.value


UNSUPPORTED: dict[str, Any] = {
    "access_programs": {"cyber": "standard"},
    "background": True,
    "context_management": [{"type": "compaction"}],
    "conversation": "conv_1",
    "image": {"context_compression": "auto"},
    "moderation": {"model": "m"},
    "prompt": {"id": "pmpt_1"},
    "truncation": "auto",
    "messages": [{"role": "user", "content": "x"}],
    "response_format": {"type": "json_object"},
    "max_tokens": 5,
    "max_completion_tokens": 5,
    "n": 2,
    "logprobs": True,
    "reasoning_effort": "low",
    "verbosity": "low",
    "modalities": ["audio"],
    "audio": {},
    "functions": [{}],
    "web_search_options": {},
    "echo": True,
    "continue_final_message": True,
}


@pytest.mark.parametrize("name", UNSUPPORTED)
def test_what_would_change_the_answer_and_is_not_honoured_is_refused_by_name(name: str) -> None:
    error = refused(**dict[str, Any]({name: UNSUPPORTED[name]}))
    assert (error.param, error.code) == (name, "unsupported_parameter")
    assert asked(**dict[str, Any]({name: None}))


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"text": {"verbosity": "low"}}, "text.verbosity"),
        ({"text": {"format": {"type": "grammar"}}}, "text.format"),
        ({"text": {"colour": "red"}}, "text.colour"),
        ({"text": {"format": {"type": "json_schema", "name": "a"}}}, "text.format.json_schema.schema"),
        ({"text": {"format": {"type": "json_schema", "name": "a b", "schema": {}}}}, "text.format.json_schema.name"),
        ({"reasoning": {"summary": "detailed"}}, "reasoning.summary"),
        ({"reasoning": {"effort": "some"}}, "reasoning.effort"),
        ({"reasoning": {"mode": "pro"}}, "reasoning.mode"),
        ({"reasoning": {"context": "current_turn"}}, "reasoning.context"),
        ({"include": ["web_search_call.results"]}, "include.0"),
        ({"top_logprobs": 21}, "top_logprobs"),
        ({"max_output_tokens": 0}, "max_output_tokens"),
        ({"metadata": {"a": 1}}, "metadata.a"),
        ({"metadata": {str(number): "" for number in range(17)}}, "metadata"),
        ({"stream_options": {"include_obfuscation": True}}, "stream_options.include_obfuscation"),
        ({"chat_template_kwargs": {"tokenize": True}}, "chat_template_kwargs"),
        ({"previous_response_id": 5}, "previous_response_id"),
    ],
)
def test_what_is_wrong_in_an_option_is_named(fields: Any, param: str) -> None:
    assert refused(**fields).param == param


def test_what_clients_send_without_meaning_it_is_taken() -> None:
    asked(background=False, truncation="disabled", n=1, context_management=[], max_tool_calls=3, user="u")
    asked(text={"format": {"type": "text"}, "verbosity": "medium"}, reasoning={"summary": "auto"})
    asked(service_tier="auto", prompt_cache_key="k", safety_identifier="s", include=["reasoning.encrypted_content"])
    asked(stream_options={"include_obfuscation": False}, store=None, instructions=None, metadata=None)


def test_unknown_fields_are_refused_where_the_client_is_strict() -> None:
    assert asked(colour="red")
    assert refused(strict=True, colour="red").code == "unknown_parameter"
    assert asked(strict=True, background=False, user="u", max_tool_calls=1, metadata={"a": "b"}, store=False)


def test_the_form_of_the_text_is_a_schema() -> None:
    assert asked().answer_schema is None
    assert asked(text={"format": {"type": "text"}}).answer_schema is None
    assert asked(text={"format": {"type": "json_object"}}).answer_schema == '{"type": "object"}'
    form = {"type": "json_schema", "name": "a", "schema": {"type": "array"}, "strict": True}
    assert asked(text={"format": form}).answer_schema == '{"type": "array"}'
    assert asked(text={"format": form}).echo()["text"]["format"] == form


def test_the_effort_of_reasoning_goes_to_the_template() -> None:
    assert asked().template == {"add_generation_prompt": True}
    assert asked(reasoning={"effort": "none"}).template["enable_thinking"] is False
    effort = asked(reasoning={"effort": "low"}).template
    assert (effort["enable_thinking"], effort["reasoning_effort"]) == (True, "low")
    own = asked(reasoning={"effort": "low"}, chat_template_kwargs={"enable_thinking": False})
    assert own.template["enable_thinking"] is False


def test_log_probabilities_are_asked_for_by_include_or_by_their_number() -> None:
    assert asked().alternatives is None
    assert asked(top_logprobs=0).alternatives is None
    assert asked(include=["message.output_text.logprobs"]).alternatives == 0
    assert asked(include=["message.output_text.logprobs"], top_logprobs=4).alternatives == 4
    assert asked(top_logprobs=3).alternatives == 3


def test_sampling_and_limits_are_those_of_a_chat() -> None:
    request = asked(temperature=0.5, top_p=0.9, top_k=7, seed=3, stop="a", max_output_tokens=9, logit_bias={"5": 1})
    sampling = request.sampling({})
    assert (sampling.temperature, sampling.top_p, sampling.top_k, sampling.seed) == (0.5, 0.9, 7, 3)
    assert (request.stops, request.token_limit, sampling.logit_bias) == (["a"], 9, ((5, 1.0),))
    assert asked().token_limit is None
