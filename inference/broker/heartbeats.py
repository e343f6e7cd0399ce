"""Heartbeats of workers: keys in Redis that expire, so that a dead worker disappears by itself."""

import json
import logging
from collections.abc import Iterable
from dataclasses import asdict, dataclass, fields
from typing import Self

from django.conf import settings

from inference.broker import connections

logger = logging.getLogger(__name__)

WORKERS = "millm:workers"
"""A set with the ids of workers that were alive lately: a look needs no scan of all keys."""


def silence_s() -> float:
    """The seconds without a heartbeat after which a worker counts as gone."""
    return 3 * settings.INFERENCE_HEARTBEAT_S


def _key(worker: str) -> str:
    return f"millm:worker:{worker}"


@dataclass(frozen=True)
class Heartbeat:
    """The state of a worker, written every INFERENCE_HEARTBEAT_S; after three missed ones the worker is gone."""

    worker: str
    model: str
    status: str
    device: str
    running: int
    waiting: int
    max_requests: int
    generated_tokens: int
    memory_bytes: int = 0
    gpu_bytes: int | None = None
    """Bytes of the tensors on its GPU; None on a CPU."""
    free_bytes: int | None = None
    """Bytes that another model may take on its device; None while it serves none, and from older workers."""
    load: str = ""
    """The load that the worker serves, works on, or failed in: see `LanguageModel.load_id`."""
    progress: float | None = None
    """Progress of a download, from 0 to 1."""
    error: str = ""
    is_open: bool | None = None
    """True where the worker takes requests for `model`, also while it loads another one; None from older workers."""
    open_load: str = ""
    """The load of `model` where the worker takes requests for it, also while `load` is another one."""
    engine: str = "transformers"
    """The worker's engine, by its name in INFERENCE_ENGINE; older workers have this one."""
    lacks: tuple[str, ...] = ()
    """What its engine does not do, of the names in `inference.capabilities`."""
    is_pinned: bool = False
    """True where INFERENCE_MODEL names its model: the worker serves it, whichever model is current."""

    def serves(self, model: str) -> bool:
        return self.model == model and self.serves_any

    @property
    def serves_any(self) -> bool:
        return self.status == "ready" if self.is_open is None else self.is_open

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read a heartbeat, also that of an older or newer worker, as during an upgrade."""
        values = json.loads(text)
        known = {field.name: values[field.name] for field in fields(cls) if field.name in values}
        return cls(**known | {"lacks": tuple(known.get("lacks", ()))})


def write_heartbeat(heartbeat: Heartbeat) -> None:
    """Replace the worker's heartbeat. Raises RedisError."""
    ttl_ms = int(silence_s() * 1000)
    with connections.connection.pipeline(transaction=False) as pipeline:
        pipeline.set(_key(heartbeat.worker), json.dumps(asdict(heartbeat)), px=ttl_ms)
        pipeline.sadd(WORKERS, heartbeat.worker)
        pipeline.execute()


def clear_heartbeat(worker: str) -> None:
    """Delete the heartbeat of a worker that ends. Raises RedisError."""
    with connections.connection.pipeline(transaction=False) as pipeline:
        pipeline.delete(_key(worker))
        pipeline.srem(WORKERS, worker)
        pipeline.execute()


def live_workers() -> list[Heartbeat]:
    """The fresh heartbeats. Raises RedisError."""
    workers = sorted(connections.connection.smembers(WORKERS))
    values = connections.connection.mget(map(_key, workers)) if workers else []
    if expired := [worker for worker, value in zip(workers, values, strict=True) if not value]:
        connections.connection.srem(WORKERS, *expired)  # a worker that returns adds itself again
    return _parsed(values)


async def async_live_workers() -> list[Heartbeat]:
    """The fresh heartbeats, read from the running event loop. Raises RedisError."""
    reader = connections.async_connection()
    workers = sorted(await reader.smembers(WORKERS))
    values = await reader.mget(map(_key, workers)) if workers else []
    return _parsed(values)


def is_served(model: str) -> bool:
    """True where a live worker has this model loaded. Raises RedisError."""
    return any(heartbeat.serves(model) for heartbeat in live_workers())


def _parsed(values: Iterable[str | None]) -> list[Heartbeat]:
    """The readable heartbeats: an unreadable one must not hide the others."""
    found = []
    for value in filter(None, values):
        try:
            found.append(Heartbeat.parse(value))
        except (TypeError, ValueError) as error:
            logger.warning("a heartbeat cannot be read: %s", error)
    return found
