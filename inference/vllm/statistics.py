"""What vLLM's scheduler tells after each step."""

from dataclasses import dataclass
from typing import Any

from vllm.v1.metrics.loggers import StatLoggerBase


@dataclass
class SchedulerReadings:
    """The last readings of the scheduler: requests in the batch, and the part of the KV cache in use, from 0 to 1."""

    running: int = 0
    cache_use: float = 0.0

    def logger(self, _config: Any, _engine: int = 0) -> StatLoggerBase:
        """A logger of vLLM that writes into this object."""
        return _Logger(self)


class _Logger(StatLoggerBase):
    def __init__(self, readings: SchedulerReadings) -> None:
        self._readings = readings

    def record(self, scheduler_stats: Any, *_more: Any, **_others: Any) -> None:
        if scheduler_stats is not None:
            self._readings.running = scheduler_stats.num_running_reqs
            self._readings.cache_use = scheduler_stats.kv_cache_usage

    def log_engine_initialized(self) -> None:
        """Log nothing: the worker's log says that the model is ready."""
