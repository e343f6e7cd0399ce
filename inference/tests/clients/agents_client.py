"""The OpenAI Agents SDK and Pydantic AI by the Responses API: two tools over three turns, whole and streamed."""

import asyncio
import os
from typing import Any, Literal

import pydantic_ai
from agents import Agent, ModelSettings, OpenAIResponsesModel, Runner, function_tool, set_tracing_disabled
from openai import AsyncOpenAI
from pydantic import BaseModel
from pydantic_ai.models.openai import OpenAIResponsesModel as PydanticModel
from pydantic_ai.providers.openai import OpenAIProvider

CLIENT = AsyncOpenAI(base_url=os.environ["MILLM_URL"], api_key=os.environ["MILLM_KEY"], max_retries=0)
INSTRUCTIONS = "Use the tools."
FIRST, SECOND, THIRD = "All done.", "Done again.", "Welcome."


class Mood(BaseModel):
    mood: Literal["calm", "wild"]
    loud: bool


def look(at: str) -> str:
    """Look at a place."""
    return {"né 🌊": "seen", "x": "back"}[at]


def tide(hours: list[int]) -> str:
    """The tide at these hours."""
    return "low" if hours == [1, 2] else "fallen"


async def by_agents() -> None:
    model = OpenAIResponsesModel("calling", CLIENT)
    tools: list[Any] = [function_tool(look), function_tool(tide)]
    settings = ModelSettings(temperature=0)
    agent = Agent("calling", instructions=INSTRUCTIONS, tools=tools, model=model, model_settings=settings)
    first = await Runner.run(agent, "start")
    assert first.final_output == FIRST
    assert [item.type for item in first.new_items].count("tool_call_output_item") == 3
    second = await Runner.run(agent, [*first.to_input_list(), {"role": "user", "content": "again"}])
    assert second.final_output == SECOND
    third = await Runner.run(agent, "thanks", previous_response_id=second.last_response_id)
    assert third.final_output == THIRD

    streamed = Runner.run_streamed(agent, "start", auto_previous_response_id=True)
    deltas = [
        event.data.delta
        async for event in streamed.stream_events()
        if event.type == "raw_response_event" and event.data.type == "response.output_text.delta"
    ]
    assert "".join(deltas) == "Let me look." + FIRST
    assert streamed.final_output == FIRST


async def by_pydantic_ai() -> None:
    provider = OpenAIProvider(openai_client=CLIENT)
    agent = pydantic_ai.Agent(
        PydanticModel("calling", provider=provider), instructions=INSTRUCTIONS, tools=[look, tide]
    )
    first = await agent.run("start")
    assert first.output == FIRST
    second = await agent.run("again", message_history=first.all_messages())
    assert second.output == SECOND
    async with agent.run_stream("thanks", message_history=second.all_messages()) as streamed:
        assert await streamed.get_output() == THIRD
    picky = pydantic_ai.Agent(PydanticModel("demo", provider=provider), output_type=Mood)
    assert isinstance((await picky.run("Tell me something.")).output, Mood)


async def main() -> None:
    set_tracing_disabled(True)
    await by_agents()
    await by_pydantic_ai()


asyncio.run(main())
