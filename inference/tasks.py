"""The Celery tasks of a worker, one for each kind of message (`inference.broker.messages`).

The events of a task go to the inbox of the web process that waits for them. A task is acknowledged as soon as that
process knows which worker has it (`inference.worker.consumer.acknowledge`).
"""

from typing import Any

from celery import shared_task

from inference.broker.messages import (
    ActivationsMessage,
    ContrastMessage,
    EmbedMessage,
    ExportMessage,
    FeatureMessage,
    GenerateMessage,
    Message,
    VectorMessage,
)


@shared_task(name=GenerateMessage.TASK, acks_late=True)
def generate(fields: dict[str, Any]) -> None:
    """Answer a GenerateMessage; returns when its last event is written."""
    from inference.worker import process  # the web imports this module, and must not import torch

    if accepted := process.worker().accept(GenerateMessage, fields):
        server, message = accepted
        server.answer(message)


@shared_task(name=EmbedMessage.TASK, acks_late=True)
def embed(fields: dict[str, Any]) -> None:
    """Queue an EmbedMessage for its embeddings."""
    from inference.worker import process

    if accepted := process.worker().accept(EmbedMessage, fields):
        server, message = accepted
        server.embed(message)


@shared_task(name=ActivationsMessage.TASK, acks_late=True)
def activations(fields: dict[str, Any]) -> None:
    """Queue an ActivationsMessage for its reading."""
    _read(ActivationsMessage, fields)


@shared_task(name=ContrastMessage.TASK, acks_late=True)
def contrast(fields: dict[str, Any]) -> None:
    """Queue a ContrastMessage for its reading."""
    _read(ContrastMessage, fields)


@shared_task(name=FeatureMessage.TASK, acks_late=True)
def feature(fields: dict[str, Any]) -> None:
    """Queue a FeatureMessage for its reading."""
    _read(FeatureMessage, fields)


@shared_task(name=VectorMessage.TASK, acks_late=True)
def vector(fields: dict[str, Any]) -> None:
    """Queue a VectorMessage for its reading."""
    _read(VectorMessage, fields)


@shared_task(name=ExportMessage.TASK, acks_late=True)
def export(fields: dict[str, Any]) -> None:
    """Queue an ExportMessage for its file."""
    _read(ExportMessage, fields)


def _read(kind: type[Message], fields: dict[str, Any]) -> None:
    from inference.worker import process

    if accepted := process.worker().accept(kind, fields):
        server, message = accepted
        server.read(message)
