"""The one task of a worker: answer a request. Its events go to the request's stream."""

from typing import Any

from celery import shared_task


@shared_task(name="inference.generate")
def generate(message: dict[str, Any]) -> None:
    """Answer `message` (see `inference.worker.Serving.answer`); returns when its last event is written."""
    from inference import worker  # torch lives in the worker only, and the web imports this module

    worker.serving().answer(message)
