"""A worker, started as Celery is, with four faults of ours; a request's seed calls for one of them."""

import os
import sys
import time
from typing import Any

POISON, DEADLY, STUCK, BLOCKING = 666, 667, 668, 669
"""Seeds: of a request that our code fails on, of one that ends the thread of the engine, of one that the first
worker to get it never begins, and of one whose first step never ends."""
STUCK_AT = "test:stuck-at"  # the process id of that one, in Redis


def break_engine() -> None:
    from inference.engine.answer import Answer

    started = Answer.started

    def broken(answer: Answer) -> Any:
        if answer.request.sampling.seed == POISON:
            raise ValueError("poison")
        if answer.request.sampling.seed == DEADLY:
            raise SystemExit
        return started(answer)

    Answer.started = broken  # type: ignore[method-assign, assignment]


def break_steps() -> None:
    from inference.engine.batch_entry import entry_of
    from inference.engine.sampling.sampler import BatchSampler

    prepare, sample = BatchSampler.prepare_tensor_args, BatchSampler.__call__
    blocks: list[bool] = []

    def prepared(sampler: BatchSampler, requests_in_batch: Any, arg_storage: Any) -> Any:
        blocks[:] = [entry_of(future.state).sampling.seed == BLOCKING for future in requests_in_batch]
        return prepare(sampler, requests_in_batch, arg_storage)

    def blocking(sampler: BatchSampler, *args: Any) -> Any:
        if any(blocks):
            time.sleep(600)
        return sample(sampler, *args)

    BatchSampler.prepare_tensor_args = prepared  # type: ignore[method-assign, assignment]
    BatchSampler.__call__ = blocking  # type: ignore[method-assign, assignment]


def break_claims() -> None:
    from inference.broker import connections
    from inference.broker.messages import GenerateMessage
    from inference.worker.job_table import JobTable

    claim = JobTable.claim

    def stuck(jobs: JobTable, message: Any, choices: int) -> Any:
        is_stuck = isinstance(message, GenerateMessage) and message.sampling.seed == STUCK
        if is_stuck and connections.connection.set(STUCK_AT, os.getpid(), nx=True):
            time.sleep(600)
        return claim(jobs, message, choices)

    JobTable.claim = stuck  # type: ignore[method-assign, assignment]


if __name__ == "__main__":
    import django
    from celery.__main__ import main

    django.setup()
    break_engine()
    break_steps()
    break_claims()
    sys.exit(main())
