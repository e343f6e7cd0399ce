"""Into the broker's queue of a model, within bounds."""

from typing import Any

from celery import Task
from django.conf import settings

from inference import stream
from inference.openai.errors import OpenAIError
from inference.tasks import generate


def enqueue(queue: str, message: dict[str, Any], task: "Task[Any, Any]" = generate) -> None:
    """Hand a request to the workers of `queue`. Raises OpenAIError 429 when enough are waiting already."""
    waiting = stream.connection.llen(queue)
    if waiting >= settings.INFERENCE_MAX_QUEUE:
        raise OpenAIError(429, f"{waiting} requests are waiting already: try again later.", code="queue_full")
    task.apply_async(args=(message,), queue=queue, argsrepr="(…)")  # type: ignore[call-arg]  # no prompts in monitors


def is_served(model: str) -> bool:
    """Whether a live worker has this model loaded."""
    return any(heartbeat.serves(model) for heartbeat in stream.live_workers())
