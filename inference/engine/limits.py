"""The bounds of an engine."""

from dataclasses import dataclass

from inference.interface import ContextLengthExceeded, GenerationRequest


@dataclass(frozen=True)
class EngineLimits:
    """The bounds of an engine: requests in a batch, tokens in a step, tokens in the KV cache.

    An engine is dead when a step takes longer than `step_timeout_s`, or when requests wait and none begins for
    `idle_timeout_s`.
    """

    max_requests: int = 32
    max_batch_tokens: int = 512
    cache_tokens: int = 32_768
    step_timeout_s: float = 300.0
    idle_timeout_s: float = 15.0


def check_length(request: GenerationRequest, context_length: int) -> None:
    """Raise ContextLengthExceeded where prompt and answer may have more tokens than `context_length`."""
    prompt, answer = len(request.prompt_ids), request.max_new_tokens
    if prompt + answer > context_length:
        field = request.prompt_field
        parts = f"({prompt} in the {field}, {answer} in the completion)"
        raise ContextLengthExceeded(context_length, f"you requested {prompt + answer} tokens {parts}", field)
