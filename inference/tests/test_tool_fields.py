"""The fields of tools: what is wrong is named, and what is right reaches the worker."""

from typing import Any

import pytest

from inference.openai.fields.tools import MAX_TOOLS
from inference.tests.test_request_fields import chat, refused

TIDE: dict[str, Any] = {"type": "function", "function": {"name": "tide"}}


def tide(**fields: Any) -> dict[str, Any]:
    return {"type": "function", "function": {"name": "tide"} | fields}


FLAT = {"type": "function", "name": "tide"}
FLAT_ALLOWED = {"mode": "auto", "tools": [FLAT]}


def allowed(mode: str, *tools: dict[str, Any]) -> dict[str, Any]:
    return {"type": "allowed_tools", "allowed_tools": {"mode": mode, "tools": tools}}


def nested(levels: int) -> dict[str, Any]:
    schema: dict[str, Any] = {"type": "object"}
    for _ in range(levels):
        schema = {"type": "object", "properties": {"a": schema}}
    return schema


@pytest.mark.parametrize(
    ("fields", "param", "words"),
    [
        ({"tools": [{}]}, "tools.0.type", "this field is missing"),
        ({"tools": [{"type": "web_search"}]}, "tools.0.type", "expected 'function'"),
        ({"tools": [tide(name="a b")]}, "tools.0.function.name", "a b"),
        ({"tools": [tide(name="")]}, "tools.0.function.name", ""),
        ({"tools": [tide(name="x" * 65)]}, "tools.0.function.name", ""),
        ({"tools": [tide(strict="yes")]}, "tools.0.function.strict", "got 'yes'"),
        ({"tools": [TIDE, TIDE]}, "tools", "the function 'tide' is given twice"),
        ({"tools": [tide(name=f"t{n}") for n in range(MAX_TOOLS + 1)]}, "tools", "at most 128"),
        ({"tools": [tide(parameters={"type": "string"})]}, "tools.0.function.parameters", "the type 'string'"),
        (
            {"tools": [tide(parameters={"type": "object", "properties": {"n": {"type": "whole"}}})]},
            "tools.0.function.parameters",
            "$.properties.n.type: 'whole'",
        ),
        ({"tools": [tide(parameters=nested(40))]}, "tools.0.function.parameters", "nested too deeply"),
        ({"tool_choice": "required"}, "tool_choice", "tools is empty"),
        ({"tool_choice": "required", "tools": []}, "tool_choice", "tools is empty"),
        ({"tool_choice": "any", "tools": [TIDE]}, "tool_choice", "expected one of none, auto, required, or {"),
        ({"tool_choice": "function:tide", "tools": [TIDE]}, "tool_choice", "expected one of none"),
        ({"tool_choice": {"type": "custom"}, "tools": [TIDE]}, "tool_choice", "expected one of none"),
        ({"tool_choice": {"type": "allowed_tools"}, "tools": [TIDE]}, "tool_choice", "expected one of auto, required"),
        ({"tool_choice": allowed("none", TIDE), "tools": [TIDE]}, "tool_choice", "expected one of auto, required"),
        ({"tool_choice": allowed("auto"), "tools": [TIDE]}, "tool_choice", "expected at least one, each as {"),
        ({"tool_choice": allowed("auto", FLAT), "tools": [TIDE]}, "tool_choice", "expected at least one, each as {"),
        ({"tool_choice": {**allowed("auto", FLAT), **FLAT_ALLOWED}, "tools": [TIDE]}, "tool_choice", "each as {"),
        ({"tool_choice": allowed("auto", TIDE, tide(name="ebb")), "tools": [TIDE]}, "tool_choice", "'ebb', expected"),
        ({"tool_choice": allowed("auto", TIDE), "tools": []}, "tool_choice", "tools is empty"),
        ({"tool_choice": {"type": "function", "function": 5}, "tools": [TIDE]}, "tool_choice", "expected one of none"),
        ({"tool_choice": tide(name="ebb"), "tools": [TIDE]}, "tool_choice", "'ebb', expected one of tools: tide"),
        ({"parallel_tool_calls": "no"}, "parallel_tool_calls", "got 'no'"),
    ],
)
def test_what_is_wrong_with_tools_is_named(fields: dict[str, Any], param: str, words: str) -> None:
    error = refused(**fields)
    assert (error.param, words in error.message) == (param, True), (error.param, error.message)


def test_tools_reach_the_worker_with_their_parameters() -> None:
    asked = chat(tools=[tide(strict=True, description=None)], tool_choice=tide(), parallel_tool_calls=False)
    function = {"name": "tide", "strict": True, "parameters": {"type": "object", "properties": {}}}
    assert asked.parts == {
        "parsed": True,
        "tools": [{"type": "function", "function": function}],
        "tool_choice": "function:tide",
        "parallel_tool_calls": False,
    }


@pytest.mark.parametrize("mode", ["auto", "required"])
def test_the_allowed_tools_alone_reach_the_worker(mode: str) -> None:
    tools = [tide(name=name) for name in ("ebb", "tide", "flow")]
    parts = chat(tools=tools, tool_choice=allowed(mode, tools[2], tools[0])).parts
    assert [tool["function"]["name"] for tool in parts["tools"]] == ["ebb", "flow"]
    assert parts["tool_choice"] == mode


def test_what_means_no_tools_is_taken() -> None:
    every: list[dict[str, Any]] = [{}, {"tools": []}, {"tools": None, "tool_choice": None}, {"tool_choice": "none"}]
    for off in every:
        none = chat(**off).parts
        assert none["tools"] == []
        assert none["parallel_tool_calls"]
    for choice in ("none", "auto", "required"):
        assert chat(tools=[TIDE], tool_choice=choice).parts["tool_choice"] == choice


def test_schemas_with_references_and_without_a_type_are_taken() -> None:
    loop = {"properties": {"next": {"$ref": "#/$defs/node"}}, "$defs": {"node": {"$ref": "#/$defs/node"}}}
    older = {"type": "object", "$schema": "http://json-schema.org/draft-07/schema#"}
    every: list[dict[str, Any]] = [{}, {"properties": {}}, loop, older]
    for parameters in every:
        assert chat(tools=[tide(parameters=parameters)]).parts["tools"][0]["function"]["parameters"] == parameters
