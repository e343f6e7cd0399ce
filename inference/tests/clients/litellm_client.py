"""LiteLLM: answers, streams, embeddings, responses, and errors that it knows again."""

import os

import litellm

litellm.suppress_debug_info = True
ADDRESS = {"api_base": os.environ["MILLM_URL"], "api_key": os.environ["MILLM_KEY"]}
ASK = {"messages": [{"role": "user", "content": "Tell me something."}], "seed": 3, **ADDRESS}

text = litellm.completion(model="openai/demo:ocean", **ASK).choices[0].message.content
chunks = litellm.completion(model="openai/demo:ocean", stream=True, **ASK)
assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks) == text
assert len(litellm.embedding(model="openai/demo", input=["a", "b"], encoding_format="float", **ADDRESS).data) == 2
PARAMETERS = {"type": "object", "properties": {"loud": {"type": "boolean"}}, "required": ["loud"]}
TOOLS = [{"type": "function", "function": {"name": "sing", "parameters": PARAMETERS}}]
TIDE = {"model": "openai/demo", "tools": TOOLS, "tool_choice": "required", "parallel_tool_calls": False, **ASK}
[call] = litellm.completion(**TIDE).choices[0].message.tool_calls
assert call.function.name == "sing"
whole = litellm.stream_chunk_builder([*litellm.completion(stream=True, **TIDE)])
assert whole.choices[0].message.tool_calls[0].function.arguments == call.function.arguments
own = {"model": "openai/demo:ocean", "input": "Tell me something.", "extra_body": {"seed": 3}, **ADDRESS}
response = litellm.responses(**own)
assert response.output_text == text
events = litellm.responses(stream=True, **own)
assert "".join(event.delta for event in events if event.type == "response.output_text.delta") == text
FLAT = [{"type": "function", "name": "sing", "parameters": PARAMETERS}]
HELD = {"tools": FLAT, "tool_choice": "required", "parallel_tool_calls": False}
following = litellm.responses(**own | HELD | {"model": "openai/demo"}, previous_response_id=response.id)
assert [(item.type, item.name) for item in following.output] == [("function_call", "sing")]
assert litellm.get_responses(response.id, **ADDRESS).output_text == text
litellm.delete_responses(response.id, **ADDRESS)
try:
    litellm.completion(model="openai/demo", **ASK | {"messages": [{"role": "user", "content": "whale " * 6000}]})
except litellm.ContextWindowExceededError:
    pass
else:
    raise AssertionError("no ContextWindowExceededError")
print(text)
