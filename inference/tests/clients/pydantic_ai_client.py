"""pydantic-ai in its default output mode: the output is a call of a function."""

import os
from typing import Literal

from pydantic import BaseModel
from pydantic_ai import Agent
from pydantic_ai.models.openai import OpenAIChatModel
from pydantic_ai.providers.openai import OpenAIProvider

PROVIDER = OpenAIProvider(base_url=os.environ["MILLM_URL"], api_key=os.environ["MILLM_KEY"])


class Mood(BaseModel):
    mood: Literal["calm", "wild"]
    loud: bool


asked = {"seed": 3}
agent = Agent(OpenAIChatModel("demo", provider=PROVIDER), output_type=Mood, model_settings=asked)
assert isinstance(agent.run_sync("Tell me something.").output, Mood)
talker = Agent(OpenAIChatModel("demo:ocean", provider=PROVIDER), model_settings=asked)
print(talker.run_sync("Tell me something.").output)
