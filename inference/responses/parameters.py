"""Fields of the Responses API that this server does not support, and their values that change nothing."""

from typing import Any

from inference.openai.fields import parameters

NEUTRAL: dict[str, tuple[Any, ...]] = {
    **parameters.NEUTRAL,
    "access_programs": (),
    "background": (False,),
    "context_management": ([],),
    "conversation": (),
    "image": (),
    "logprobs": (False,),
    "max_tokens": (),
    "n": (1,),
    "prompt": (),
    "truncation": ("disabled",),
}
"""Other values than these are refused, as are all values of a field that has none; null changes nothing."""
HARMLESS = parameters.HARMLESS | {
    "max_tool_calls",  # of tools of OpenAI's, which are not here
}
