"""LangChain: answers, streams, structured output, embeddings, and the error of a prompt that is too long."""

import itertools
import os
from typing import Literal

from langchain_core.exceptions import ContextOverflowError
from langchain_openai import ChatOpenAI, OpenAIEmbeddings
from pydantic import BaseModel, SecretStr

ADDRESS = {"base_url": os.environ["MILLM_URL"], "api_key": SecretStr(os.environ["MILLM_KEY"])}


class Mood(BaseModel):
    mood: Literal["calm", "wild"]
    loud: bool


model = ChatOpenAI(model="demo:ocean", seed=3, **ADDRESS)
answer = model.invoke("Tell me something.")
assert answer.usage_metadata["total_tokens"] > 0
assert "".join(chunk.content for chunk in model.stream("Tell me something.")) == answer.content
assert isinstance(model.with_structured_output(Mood).invoke("Tell me something."), Mood)
singer = ChatOpenAI(model="demo", seed=3, **ADDRESS).bind_tools([Mood], tool_choice="Mood")
[call] = singer.invoke("Tell me something.").tool_calls
assert Mood.model_validate(call["args"])
*_, last = itertools.accumulate(singer.stream("Tell me something."))
assert last.tool_calls[0]["args"] == call["args"]
by_responses = ChatOpenAI(model="demo:ocean", use_responses_api=True, extra_body={"seed": 3}, **ADDRESS)
assert by_responses.invoke("Tell me something.").text == answer.content
assert "".join(chunk.text for chunk in by_responses.stream("Tell me something.")) == answer.content
embeddings = OpenAIEmbeddings(model="demo", check_embedding_ctx_length=False, **ADDRESS)
assert len(embeddings.embed_documents(["a", "b"])) == 2
try:
    model.invoke("whale " * 6000)
except ContextOverflowError:
    pass
else:
    raise AssertionError("no ContextOverflowError")
print(answer.content)
