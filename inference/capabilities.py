"""What the engines of workers can do beside plain answers, by names that heartbeats carry. Imports no engine."""

from contextlib import suppress

from redis import RedisError

from inference.broker.heartbeats import live_workers
from steering.errors import Refused

EMBEDDINGS, READINGS, MEASUREMENTS, SWEEPS = "embeddings", "readings", "measurements", "sweeps"
PROMPT_LOGPROBS, CONDITIONS, REGIONS, COMPETING = "prompt_logprobs", "conditions", "regions", "competing_features"
CAPABILITIES = {
    EMBEDDINGS: "embeddings",
    READINGS: "readings of features, contrast, and vectors made of texts",
    MEASUREMENTS: "measurements of features over texts",
    SWEEPS: "sweeps over strengths",
    PROMPT_LOGPROBS: "log-probabilities of prompts (`echo` with `logprobs`)",
    CONDITIONS: "steering under a condition (`when`)",
    REGIONS: "steering that leaves out tool calls or reasoning (`tools`, `thinking`)",
    COMPETING: "clamp and scale with an SAE whose features compete (TopK and its kin)",
}
"""What the transformers engine does, all of it; another engine lacks some."""
OF_TRANSFORMERS_ONLY = tuple(CAPABILITIES)


class Unsupported(Refused):
    """Something that no worker which serves the model can do."""

    code = "engine_unsupported"
    status = 409


def check(capability: str, model: str) -> None:
    """Raise Unsupported where workers serve the model and none of them has the capability.

    While no worker serves it, or Redis is silent, nobody knows: what is asked for waits then.
    """
    with suppress(RedisError):
        serving = [worker for worker in live_workers() if worker.serves(model)]
        if serving and all(capability in worker.lacks for worker in serving):
            engines = ", ".join(sorted({worker.engine for worker in serving}))
            raise Unsupported(
                f"{model} is served by the engine {engines}, which does not support {CAPABILITIES[capability]}: "
                "serve it by a worker with INFERENCE_ENGINE=transformers (see docs/engines.md)"
            )
