"""Hooks the engine into the life of a Celery worker, without importing torch into other processes."""

from typing import Any

from celery import bootsteps


class EngineStep(bootsteps.StartStopStep):
    """Starts the worker, which follows the rows and serves the model that they name."""

    requires = ("celery.worker.components:Pool",)

    def start(self, parent: Any) -> None:
        from inference.worker import process

        process.start(parent.hostname)

    def stop(self, parent: Any) -> None:
        from inference.worker import process

        process.stop()

    terminate = stop
