"""A worker, started as Celery is, with two faults of ours in its engine; a request's seed calls for one of them."""

import sys
from typing import Any

POISON, DEADLY = 666, 667
"""Seeds: of a request that our code fails on, and of one that ends the thread of the engine."""


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


if __name__ == "__main__":
    import django
    from celery.__main__ import main

    django.setup()
    break_engine()
    sys.exit(main())
