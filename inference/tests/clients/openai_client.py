"""The official SDK, of whichever version runs this: what users of it do, and that it goes well."""

import asyncio
import os
from typing import Literal

import openai
from pydantic import BaseModel

ADDRESS = {"base_url": os.environ["MILLM_URL"], "api_key": os.environ["MILLM_KEY"]}
ASK = {"model": "demo", "messages": [{"role": "user", "content": "Tell me something."}], "seed": 3}
PARAMETERS = {"type": "object", "properties": {"loud": {"type": "boolean"}}, "required": ["loud"]}
TOOLS = [{"type": "function", "function": {"name": "sing", "parameters": PARAMETERS}}]
SING = ASK | {"tools": TOOLS, "tool_choice": {"type": "function", "function": {"name": "sing"}}}
STEERED = ASK | {"model": "demo:ocean"}


class Mood(BaseModel):
    mood: Literal["calm", "wild"]
    loud: bool


def main() -> None:
    client = openai.OpenAI(**ADDRESS)
    whole = client.chat.completions.create(**STEERED)
    assert whole.choices[0].finish_reason == "stop"
    assert whole.usage.total_tokens == whole.usage.prompt_tokens + whole.usage.completion_tokens
    text = whole.choices[0].message.content

    chunks = list(client.chat.completions.create(**STEERED, stream=True, stream_options={"include_usage": True}))
    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices) == text
    assert chunks[-1].usage.total_tokens == whole.usage.total_tokens

    with client.chat.completions.stream(**STEERED) as stream:
        kinds = [event.type for event in stream]
        assert stream.get_final_completion().choices[0].message.content == text
    assert kinds.count("content.delta") > 3
    assert kinds[-1] == "content.done"

    parsed = client.chat.completions.parse(**ASK, response_format=Mood)
    assert isinstance(parsed.choices[0].message.parsed, Mood)

    called = [one.function for one in client.chat.completions.create(**SING).choices[0].message.tool_calls]
    assert [one.name for one in called] == ["sing"]
    with client.chat.completions.stream(**SING) as stream:
        kinds = [event.type for event in stream]
        [choice] = stream.get_final_completion().choices
    assert "tool_calls.function.arguments.done" in kinds
    assert choice.finish_reason == "tool_calls"
    assert choice.message.tool_calls[0].function.arguments == called[0].arguments

    assert "demo:ocean" in {model.id for model in client.models.list()}
    assert client.models.retrieve("demo:ocean").id == "demo:ocean"
    assert len(client.embeddings.create(model="demo", input=["a", "b"]).data) == 2
    assert client.completions.create(model="demo", prompt="The whale").choices[0].text
    responses(client, text)
    raw = client.chat.completions.with_raw_response.create(**STEERED)
    assert raw.headers["X-miLLM-Profile"] == "ocean"

    try:
        client.chat.completions.create(**ASK | {"model": "nobody"})
    except openai.NotFoundError as error:
        assert error.code == "model_not_found"
    try:
        openai.OpenAI(**ADDRESS | {"api_key": "wrong"}).models.list()
    except openai.AuthenticationError as error:
        assert error.code == "invalid_api_key"
    asyncio.run(asynchronously(text))
    print(text)


def responses(client: openai.OpenAI, text: str) -> None:
    own = {"model": "demo:ocean", "input": "Tell me something.", "extra_body": {"seed": 3}}
    whole = client.responses.create(**own)
    assert whole.output_text == text
    with client.responses.stream(**own) as stream:
        streamed = "".join(event.delta for event in stream if event.type == "response.output_text.delta")
        assert stream.get_final_response().output_text == streamed == text
    assert client.responses.retrieve(whole.id).output_text == text
    parsed = client.responses.parse(**own | {"model": "demo"}, text_format=Mood, previous_response_id=whole.id)
    assert isinstance(parsed.output_parsed, Mood)
    assert len(client.responses.input_items.list(parsed.id, limit=1).data) == 1
    client.responses.delete(whole.id)


async def asynchronously(text: str) -> None:
    async with openai.AsyncOpenAI(**ADDRESS) as client:
        answers = await asyncio.gather(*[client.chat.completions.create(**STEERED) for _ in range(8)])
        assert {answer.choices[0].message.content for answer in answers} == {text}
        streamed = [chunk async for chunk in await client.chat.completions.create(**STEERED, stream=True)]
        assert "".join(chunk.choices[0].delta.content or "" for chunk in streamed) == text


main()
