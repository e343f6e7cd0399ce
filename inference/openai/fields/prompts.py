"""The prompts of completions and embeddings: texts, or token ids."""

from typing import Annotated, Any

from pydantic import Field, StrictInt

from inference.broker.messages import Prompt, TextPrompt, TokensPrompt

# Only the first wrong element of a list is reported: pydantic would make kilobytes of errors for each.
Several = Field(min_length=1, fail_fast=True)
TokenIds = Annotated[list[Annotated[StrictInt, Field(ge=0, lt=2**31)]], Several]
Prompts = str | TokenIds | Annotated[list[str], Several] | Annotated[list[TokenIds], Several]
"""A text or its token ids, or several of either."""


def as_prompts(given: Prompts) -> list[Prompt]:
    """One prompt or several, in the form of the message to a worker."""
    several = isinstance(given, list) and not isinstance(given[0], int)
    each: Any = given if several else [given]
    return [TextPrompt(text=one) if isinstance(one, str) else TokensPrompt(ids=one) for one in each]


def check_number(given: Any, most: int) -> Any:
    """Return `given`. Raises ValueError where it has more prompts than `most`, before any of them is checked."""
    if isinstance(given, list) and len(given) > most and not isinstance(given[0], int):
        raise ValueError(f"got {len(given)} texts, expected at most {most}")
    return given
