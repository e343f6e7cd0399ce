"""The queues of models in Redis, from which workers take requests."""

from collections.abc import Iterable
from typing import Any

from celery import Task
from django.conf import settings

from inference import outages
from inference.broker import connections
from inference.openai.errors import OpenAIError
from inference.tasks import generate

FULL = 0.8
"""Of the memory that Redis may take: the rest is for heartbeats and answers, without which nothing goes on."""


def enqueue(queue: str, message: dict[str, Any], task: "Task[Any, Any]" = generate) -> None:
    """Hand a request to the workers of `queue`, with the deadline that it has from now on.

    Raises OpenAIError 429 when enough wait already, 503 without memory.
    """
    with connections.connection.pipeline(transaction=False) as pipeline:
        waiting, memory, time = pipeline.llen(queue).info("memory").time().execute()
    if memory["maxmemory"] and memory["used_memory"] > FULL * memory["maxmemory"]:
        raise OpenAIError(503, outages.FULL.told, code=outages.FULL.code)
    if waiting >= settings.INFERENCE_MAX_QUEUE:
        raise OpenAIError(429, f"{waiting} requests are waiting already: try again later.", code="queue_full")
    message = {**message, "deadline": connections.unix_time(time) + settings.INFERENCE_REQUEST_TIMEOUT_S}
    task.apply_async(args=(message,), queue=queue, argsrepr="(…)")  # type: ignore[call-arg]  # no prompts in monitors


def waiting_in(queues: Iterable[str]) -> list[int]:
    """The number of requests in each of these queues that no worker has taken. Raises RedisError."""
    with connections.connection.pipeline(transaction=False) as pipeline:
        for queue in queues:
            pipeline.llen(queue)
        return list(pipeline.execute())
