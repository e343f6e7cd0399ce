"""The tasks of a worker. Their events go to the inbox of the web process that waits for them."""

from typing import Any

from celery import shared_task


@shared_task(name="inference.generate")
def generate(message: dict[str, Any]) -> None:
    """Answer `message` (see `inference.serving.Serving.answer`); returns when its last event is written."""
    from inference import worker  # torch lives in the worker only, and the web imports this module

    if serving := worker.worker().serving_of(message):
        serving.answer(message)


@shared_task(name="inference.embed")
def embed(message: dict[str, Any]) -> None:
    """Embed the texts of `message` (see `inference.serving.Serving.embed`)."""
    from inference import worker

    if serving := worker.worker().serving_of(message):
        serving.embed(message)
