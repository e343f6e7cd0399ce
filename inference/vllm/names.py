"""Names that the engine and vLLM's processes share; it imports neither vLLM nor torch."""

CONFIG = "millm"
"""The key of our values in vLLM's `additional_config`, which is a part of the key of its compiled models."""
OPERATOR = "millm::steer"
"""Our operator at the hook points."""
ARGUMENT = "millm_steering"
"""The name in vLLM's `SamplingParams.extra_args` under which a request carries its steering, as bytes."""


def lost_token(vocab: int) -> int:
    """The id that stands for the next token of a request whose stream was not finite, for a model of `vocab` logits.

    It is the first that is no token; vLLM itself fills its tables of penalties with it.
    """
    return vocab
