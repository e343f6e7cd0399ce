"""The tasks of a worker. Their events go to the inbox of the web process that waits for them.

They are acknowledged as soon as that process knows which worker has them (`inference.worker.consumer.acknowledge`).
"""

from typing import Any

from celery import shared_task

# What a message must have, and what it may lack, with what that means: a field that a new version adds belongs to
# the latter, since workers are upgraded before the webs that send it. That steering is missing never means "unsteered".
OF_EVERY_TASK = frozenset({"request_id", "inbox", "version", "deadline", "prompts"})
OF_GENERATE = OF_EVERY_TASK | {"choices", "steering", "sampling", "max_tokens"}
MAY_LACK: dict[str, Any] = {"stop": [], "schema": None, "echo": False, "top_logprobs": None, "template": {}}


@shared_task(name="inference.generate", acks_late=True)
def generate(message: dict[str, Any]) -> None:
    """Answer `message` (see `inference.worker.model_server.Serving.answer`); returns when its last event is written."""
    from inference.worker import process as worker  # torch lives in the worker only, and the web imports this module

    if serving := worker.worker().serving_of(message, OF_GENERATE, MAY_LACK):
        serving.answer(MAY_LACK | message)


@shared_task(name="inference.embed", acks_late=True)
def embed(message: dict[str, Any]) -> None:
    """Embed the texts of `message` (see `inference.worker.model_server.Serving.embed`)."""
    from inference.worker import process as worker

    if serving := worker.worker().serving_of(message, OF_EVERY_TASK):
        serving.embed(message)
