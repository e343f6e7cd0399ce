"""The queues of models in Redis, from which workers take requests."""

from collections.abc import Callable, Iterable

from celery import current_app
from django.conf import settings

from inference import outages
from inference.broker import connections
from inference.broker.errors import RequestFailed
from inference.broker.messages import Message

FULL = 0.8
"""The share of Redis's memory beyond which requests are refused: heartbeats and answers need the rest."""


def enqueue(queue: str, make: Callable[[float], Message]) -> None:
    """Append the message that `make` makes of its deadline, INFERENCE_REQUEST_TIMEOUT_S from now, to a model's queue.

    Raises RequestFailed `queue_full` where INFERENCE_MAX_QUEUE requests wait, `broker_full` where Redis has too little
    memory; RedisError, or OperationalError of Celery, where Redis does not answer.
    """
    with connections.connection.pipeline(transaction=False) as pipeline:
        waiting, memory, now = pipeline.llen(queue).info("memory").time().execute()
    if memory["maxmemory"] and memory["used_memory"] > FULL * memory["maxmemory"]:
        raise RequestFailed(outages.FULL.code, outages.FULL.message)
    if waiting >= settings.INFERENCE_MAX_QUEUE:
        raise RequestFailed("queue_full", f"{waiting} requests are waiting already: try again later.")
    message = make(connections.unix_time(now) + settings.INFERENCE_REQUEST_TIMEOUT_S)
    # Monitors of Celery show `argsrepr`: no prompt must be in it.
    current_app.send_task(message.TASK, args=(message.model_dump(),), queue=queue, argsrepr="(…)")


def waiting_in(queues: Iterable[str]) -> list[int]:
    """The number of requests in each of these queues that no worker has taken. Raises RedisError."""
    with connections.connection.pipeline(transaction=False) as pipeline:
        for queue in queues:
            pipeline.llen(queue)
        return list(pipeline.execute())
