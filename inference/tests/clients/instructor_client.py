"""instructor in its default mode: the answer is a call of a function."""

import os
from typing import Literal

import instructor
import openai
from pydantic import BaseModel

ADDRESS = {"base_url": os.environ["MILLM_URL"], "api_key": os.environ["MILLM_KEY"]}
ASK = {"messages": [{"role": "user", "content": "Tell me something."}], "seed": 3}


class Mood(BaseModel):
    mood: Literal["calm", "wild"]
    loud: bool


plain = openai.OpenAI(**ADDRESS)
client = instructor.from_openai(plain)
mood = client.chat.completions.create(model="demo", response_model=Mood, max_retries=1, **ASK)
assert isinstance(mood, Mood)
*_, last = client.chat.completions.create_partial(model="demo", response_model=Mood, **ASK)
assert last.model_dump() == mood.model_dump()
print(plain.chat.completions.create(model="demo:ocean", **ASK).choices[0].message.content)
