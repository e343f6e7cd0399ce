"""The conditions of a steering in the response: whether and where each of them first held."""

from collections.abc import Sequence
from typing import Any

from inference.openai.answers import Choice
from steering.spec import Condition, SteeringSpec


def conditions_held(spec: SteeringSpec | None, choices: Sequence[Choice]) -> dict[str, Any]:
    """`conditions` of `millm`: for each choice and condition the first token at which it held, if at any.

    `token` counts from the first token of the prompt, or of the answer, as `of` says. Empty without conditions.
    """
    asked = [part.when for part in spec.parts if part.when] if spec else []
    found = [
        {"choice": index, **_named(condition), **_place(position, choice.prompt_tokens)}
        for index, choice in enumerate(choices)
        for condition, position in dict(zip(asked, choice.conditions, strict=True)).items()
    ]
    return {"conditions": found} if found else {}


def _named(condition: Condition) -> dict[str, Any]:
    return {
        "sae": condition.sae_id,
        "feature": condition.index,
        "above": condition.above,
        "so_far": condition.so_far,
    }


def _place(position: int | None, prompt_tokens: int) -> dict[str, Any]:
    if position is None:
        return {"held": False, "of": None, "token": None}
    in_answer = position >= prompt_tokens
    token = position - prompt_tokens if in_answer else position
    return {"held": True, "of": "answer" if in_answer else "prompt", "token": token}
