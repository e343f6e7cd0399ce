"""Calls of functions and reasoning in the playground: sent as a setting, shown folded, kept, and passed on."""

import json
from typing import Any

from playwright.sync_api import Page, Request, Route, expect

from millm_site.tests.browser.test_playground import answered, answers, playground, send

__all__ = ["playground"]  # the fixture

WEATHER = {"name": "weather", "parameters": {"type": "object", "properties": {"place": {"type": "string"}}}}
TOOLS = json.dumps([{"type": "function", "function": WEATHER}])


def sent_by(page: Page) -> list[dict[str, Any]]:
    """The bodies of the requests for answers, as they are sent from now on."""
    bodies: list[dict[str, Any]] = []

    def note(request: Request) -> None:
        if "chat/completions" in request.url:
            bodies.append(json.loads(request.post_data or ""))

    page.on("request", note)
    return bodies


def set_functions(page: Page, written: str) -> None:
    page.get_by_text("Settings", exact=True).click()
    page.get_by_label("Functions", exact=True).fill(written)


def with_call(route: Route) -> None:
    """Answer as the server does for a model that reasons, then calls."""
    call = {"index": 0, "id": "call_1", "type": "function", "function": {"name": "weather", "arguments": ""}}
    deltas: list[dict[str, Any]] = [
        {"role": "assistant", "content": ""},
        {"reasoning_content": "They ask "},
        {"reasoning_content": "for Oslo."},
        {"tool_calls": [call]},
        {"tool_calls": [{"index": 0, "function": {"arguments": '{"place": "Oslo"}'}}]},
    ]
    chunks: list[dict[str, Any]] = [
        {"choices": [{"index": 0, "delta": delta, "finish_reason": None}]} for delta in deltas
    ]
    chunks.append({"choices": [{"index": 0, "delta": {}, "finish_reason": "tool_calls"}]})
    chunks.append({"choices": [], "usage": {"prompt_tokens": 5, "completion_tokens": 9, "total_tokens": 14}})
    body = "".join(f"data: {json.dumps(chunk)}\n\n" for chunk in chunks) + "data: [DONE]\n\n"
    route.fulfill(body=body, headers={"Content-Type": "text/event-stream", "X-miLLM-Steering": "none"})


def test_functions_are_sent_with_each_message_and_a_wrong_setting_is_told(playground: Page) -> None:
    bodies = sent_by(playground)
    set_functions(playground, '{"type": "function"}')
    send(playground)
    expect(playground.get_by_text("Expected a list: [{…}].")).to_be_visible()
    assert bodies == []
    playground.get_by_label("Functions", exact=True).fill(TOOLS)
    send(playground)
    answered(playground, 2)
    assert [body["tools"] for body in bodies] == [json.loads(TOOLS)] * 2
    expect(playground.locator("summary").first).to_contain_text("functions")


def test_reasoning_and_calls_are_folded_kept_and_passed_on(playground: Page) -> None:
    playground.get_by_role("button", name="Close the second pane").click()
    set_functions(playground, TOOLS)
    playground.route("**/chat/completions", with_call)
    send(playground)
    answered(playground, 1)
    answer = answers(playground, "first")
    expect(answer.get_by_text("They ask for Oslo.")).to_be_hidden()
    answer.get_by_text("Reasoning", exact=True).click()
    expect(answer.get_by_text("They ask for Oslo.")).to_be_visible()
    answer.get_by_text("Call of weather").click()
    expect(answer.get_by_text('{"place": "Oslo"}')).to_be_visible()
    expect(answer.get_by_text("An empty answer")).to_be_hidden()
    playground.reload()
    expect(answer.get_by_text("Call of weather")).to_be_visible()
    bodies = sent_by(playground)
    send(playground, "It rains.")
    answered(playground, 2)
    function = {"name": "weather", "arguments": '{"place": "Oslo"}'}
    called = {"id": "call_1", "type": "function", "function": function}
    assert bodies[0]["messages"][1] == {"role": "assistant", "content": None, "tool_calls": [called]}


def test_a_copied_request_has_the_functions(playground: Page) -> None:
    playground.get_by_role("button", name="Close the second pane").click()
    set_functions(playground, TOOLS)
    send(playground)
    answered(playground, 1)
    answers(playground, "first").get_by_role("button", name="Copy as Python").click()
    expect(playground.get_by_text("Copied: Python.")).to_be_attached()
    copied = playground.evaluate("navigator.clipboard.readText()")
    assert "tools=[" in copied
    assert "print(message.tool_calls or message.content)" in copied
