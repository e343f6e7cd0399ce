"""A worker, started as Celery is, with three faults of ours; a request's seed calls for one of them."""

import os
import sys
import time
from typing import Any

POISON, DEADLY, STUCK = 666, 667, 668
"""Seeds: of a request that our code fails on, of one that ends the thread of the engine, and of one that the first
worker to get it never begins."""
STUCK_AT = "test:stuck-at"  # the process id of that one, in Redis


def break_engine() -> None:
    from inference.engine import ContinuousEngine

    started = ContinuousEngine._started

    def broken(engine: ContinuousEngine, answer: Any) -> Any:
        if answer.request.sampling.seed == POISON:
            raise ValueError("poison")
        if answer.request.sampling.seed == DEADLY:
            raise SystemExit
        return started(engine, answer)

    ContinuousEngine._started = broken  # type: ignore[method-assign, assignment]


def break_claims() -> None:
    from inference import stream
    from inference.serving import Serving

    claim = Serving._claim

    def stuck(serving: Serving, message: Any) -> bool:
        if message.get("sampling", {}).get("seed") == STUCK and stream.connection.set(STUCK_AT, os.getpid(), nx=True):
            time.sleep(600)
        return claim(serving, message)

    Serving._claim = stuck  # type: ignore[method-assign, assignment]


if __name__ == "__main__":
    import django
    from celery.__main__ import main

    django.setup()
    break_engine()
    break_claims()
    sys.exit(main())
