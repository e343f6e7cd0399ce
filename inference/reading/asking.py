"""Requests to a worker from synchronous code: REST, the admin, and commands."""

import uuid
from collections.abc import Callable

from asgiref.sync import async_to_sync
from django.db import connection

from inference import metrics
from inference.broker.connections import async_connection
from inference.broker.errors import RequestFailed
from inference.broker.exchange import Call, Destination, Exchange, current_call
from inference.broker.inbox import inbox
from inference.broker.messages import Message
from inference.interface import Event
from steering.errors import Refused


class ReadingFailed(Refused):
    """A reading that a worker refused, or did not bring to its end. The message has no full stop, as every Refused."""

    def __init__(self, error: RequestFailed) -> None:
        super().__init__(str(error).removesuffix("."), **({"field": error.param} if error.param else {}))
        self.code, self.status = error.code, error.status


def ask(prefix: str, destination: Destination, make: Callable[..., Message]) -> list[Event]:
    """The events of the request that `make` makes of its address; `prefix` begins its id.

    The connection to the database goes back to its pool while the worker works. Raises ReadingFailed, RedisError,
    or OperationalError of Celery.
    """
    if not connection.in_atomic_block:  # in a transaction the connection stays open anyway
        connection.close()
    request_id = f"{prefix}-{uuid.uuid4().hex}"
    events: list[Event] = async_to_sync(_asked)(Exchange(request_id, destination), make)
    return events


async def _asked(exchange: Exchange, make: Callable[..., Message]) -> list[Event]:
    outcome = "failed"
    try:
        if current_call.get(None) is not None:
            events = await _events(exchange, make)
        else:
            events = await _events_alone(exchange, make)
        outcome = "answered"
        return events
    except RequestFailed as error:
        outcome = "refused" if error.status < 500 else "failed"
        raise ReadingFailed(error) from error
    finally:
        metrics.READINGS.labels(exchange.request_id.partition("-")[0], outcome).inc()


async def _events(exchange: Exchange, make: Callable[..., Message]) -> list[Event]:
    """The events of a request of HTTP, which closes the exchange when it ends."""
    await exchange.send(make)
    return [event async for event in exchange.events() if event.kind != "waiting"]


async def _events_alone(exchange: Exchange, make: Callable[..., Message]) -> list[Event]:
    """The events for a command, whose event loop ends with them."""
    current_call.set(Call())
    try:
        return await _events(exchange, make)
    finally:
        await exchange.close()
        await inbox().close()
        await async_connection().aclose()
