"""A worker, started as Celery is, whose loads of some models are held once the model is in memory."""

import os
import sys
import time
from typing import Any

HELD, WAITING = "test:held-loads", "test:waiting-loads"
"""Sets in Redis: the names of models whose loads are held, and of those that wait there now."""
UNWANTED = "test:unwanted-loads"
"""A set in Redis: the names of models that the worker once takes for unwanted, when it asks."""
NO_ROOM = "TEST_NO_ROOM"
"""Set in the environment where the memory is to hold one model only."""


def hold_loads() -> None:
    from inference.broker import connections
    from inference.worker import process
    from inference.worker.engines import on_transformers

    worker_module: Any = process
    engine: Any = on_transformers
    make = engine.server

    def held(worker: str, model: Any) -> Any:
        made = make(worker, model)
        connections.connection.sadd(WAITING, model.name)
        while connections.connection.sismember(HELD, model.name):
            time.sleep(0.02)
        connections.connection.srem(WAITING, model.name)
        return made

    engine.server = held
    is_wanted = worker_module.Worker._is_wanted

    def wanted(self: Any, model: Any) -> bool:
        was_unwanted = connections.connection.srem(UNWANTED, model.name)
        return bool(not was_unwanted and is_wanted(self, model))

    worker_module.Worker._is_wanted = wanted
    if os.environ.get(NO_ROOM):
        engine.fits_beside = lambda row, served: False


if __name__ == "__main__":
    import django
    from celery.__main__ import main

    django.setup()
    hold_loads()
    sys.exit(main())
