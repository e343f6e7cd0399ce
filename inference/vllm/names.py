"""Names that the engine and vLLM's processes share; it imports neither vLLM nor torch."""

CONFIG = "millm"
"""The key of our values in vLLM's `additional_config`, which is a part of the key of its compiled models."""
OPERATOR = "millm::steer"
"""Our operator at the hook points."""
ARGUMENT = "millm_steering"
"""The name in vLLM's `SamplingParams.extra_args` under which a request carries its steering, as bytes."""
