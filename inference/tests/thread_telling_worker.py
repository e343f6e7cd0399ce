"""A worker, started as Celery is, which tells in Redis how many cores each kind of its work computes with."""

import sys
from collections.abc import Callable
from typing import Any

KEY = "test:cores:"
CORES = 3
"""More than the machines of the tests have: torch itself takes no more than that."""


def tell(owner: type, name: str, kind: str) -> None:
    """Have the method of `owner` with this name tell of the thread that calls it."""
    import torch

    from inference.broker import connections

    method: Callable[..., Any] = getattr(owner, name)

    def telling(*args: Any, **kwargs: Any) -> Any:
        connections.connection.sadd(KEY + kind, torch.get_num_threads())
        return method(*args, **kwargs)

    setattr(owner, name, telling)


if __name__ == "__main__":
    import django
    import torch
    from celery.__main__ import main

    torch.set_num_threads(CORES)
    django.setup()
    from inference.engine.engine import ContinuousEngine
    from inference.engine.prompt_reader import PromptReader
    from inference.engine.sampling.sampler import BatchSampler
    from inference.worker.reading.answers import AnswersToRead

    tell(ContinuousEngine, "submit", "task")
    tell(BatchSampler, "__call__", "batch")
    tell(PromptReader, "embeddings", "embeddings")
    tell(AnswersToRead, "_read", "reading of an answer")
    sys.exit(main())
