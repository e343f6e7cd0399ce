"""The tools of a request for a response: the flat form of this API, by the rules of a chat's tools."""

import json
from typing import Any

import pytest
from openai.types.responses import Response
from pydantic import TypeAdapter

from inference.openai.errors import OpenAIError
from inference.openai.requests import ChatRequest
from inference.responses.request import ResponseRequest

PARAMETERS = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
WEATHER = {"type": "function", "name": "weather", "description": "of a city", "parameters": PARAMETERS, "strict": True}
CALL = {"type": "function", "name": "weather"}
TIME = {"type": "function", "name": "time", "parameters": None, "strict": None}


def asked(**fields: Any) -> ResponseRequest:
    return ResponseRequest.parse(json.dumps({"model": "m", "input": "x"} | fields).encode())


def nested(tool: dict[str, Any]) -> dict[str, Any]:
    return {"type": "function", "function": {name: value for name, value in tool.items() if name != "type"}}


def test_tools_reach_the_worker_as_those_of_a_chat() -> None:
    body = {"model": "m", "messages": [{"role": "user", "content": "x"}], "tools": [nested(WEATHER), nested(TIME)]}
    named = {"type": "function", "function": {"name": "time"}}
    chat = ChatRequest.parse(json.dumps(body | {"tool_choice": named, "parallel_tool_calls": False}).encode())
    choice = {"type": "function", "name": "time"}
    response = asked(tools=[WEATHER, TIME], tool_choice=choice, parallel_tool_calls=False)
    assert response.parts == chat.parts
    assert response.parts["tools"][1]["function"] == {
        "name": "time",
        "parameters": {"type": "object", "properties": {}},
    }
    assert response.parts["tool_choice"] == "function:time"


def allowed(mode: str, *tools: dict[str, Any]) -> dict[str, Any]:
    return {"type": "allowed_tools", "mode": mode, "tools": [*tools]}


CHOICES = ["none", "auto", "required", CALL, allowed("auto", CALL), allowed("required", CALL)]


@pytest.mark.parametrize("mode", ["auto", "required"])
def test_the_allowed_tools_alone_reach_the_worker(mode: str) -> None:
    parts = asked(tools=[TIME, WEATHER], tool_choice=allowed(mode, CALL)).parts
    assert [tool["function"]["name"] for tool in parts["tools"]] == ["weather"]
    assert parts["tool_choice"] == mode


@pytest.mark.parametrize("choice", CHOICES)
def test_a_response_shows_its_tools_as_they_were_given(choice: Any) -> None:
    shown = asked(tools=[WEATHER, TIME], tool_choice=choice).echo()
    assert shown["tool_choice"] == choice
    assert shown["tools"] == [WEATHER, TIME | {"description": None}]
    assert shown["parallel_tool_calls"] is True
    for name in ("tools", "tool_choice"):
        annotation: Any = Response.model_fields[name].annotation
        TypeAdapter(annotation).validate_python(shown[name])


def test_without_tools_a_choice_changes_nothing() -> None:
    assert asked(tools=[], tool_choice="auto").parts["tools"] == []
    assert asked(tools=None, tool_choice="none").echo()["tool_choice"] == "none"


@pytest.mark.parametrize(
    ("fields", "param", "words"),
    [
        ({"tools": [{"type": "web_search"}]}, "tools.0", "tools of the type 'web_search' are not supported"),
        ({"tools": [WEATHER, {"type": "mcp", "server_label": "a"}]}, "tools.1", "tools of the type 'mcp'"),
        ({"tools": [nested(WEATHER)]}, "tools.0.name", "missing"),
        ({"tools": [WEATHER | {"name": "a b"}]}, "tools.0.name", ""),
        ({"tools": [WEATHER | {"parameters": {"type": "array"}}]}, "tools.0.parameters", "expected object"),
        ({"tools": [WEATHER | {"defer_loading": True}]}, "tools.0.defer_loading", ""),
        ({"tools": [WEATHER, WEATHER]}, "tools", "given twice"),
        ({"tools": [WEATHER], "tool_choice": "some"}, "tool_choice", "expected one of none, auto, required"),
        ({"tools": [WEATHER], "tool_choice": {"type": "web_search"}}, "tool_choice", "expected one of"),
        ({"tools": [WEATHER], "tool_choice": {"type": "function", "name": "x"}}, "tool_choice", "got the function 'x'"),
        ({"tools": [WEATHER], "tool_choice": allowed("none", CALL)}, "tool_choice", "expected one of auto, required"),
        ({"tools": [WEATHER], "tool_choice": allowed("auto")}, "tool_choice", "expected at least one"),
        ({"tools": [TIME], "tool_choice": allowed("auto", CALL)}, "tool_choice", "got the function 'weather'"),
        (
            {"tools": [WEATHER], "tool_choice": allowed("auto", CALL, {"type": "mcp", "server_label": "a"})},
            "tool_choice",
            'each as {"type": "function", "name": …}',
        ),
        ({"tool_choice": "required"}, "tool_choice", "at least one tool"),
    ],
)
def test_what_is_wrong_about_tools_is_named(fields: Any, param: str, words: str) -> None:
    with pytest.raises(OpenAIError) as refused:
        asked(**fields)
    assert refused.value.status == 400
    assert (refused.value.param, words in refused.value.message) == (param, True), refused.value.message
