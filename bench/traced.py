"""The web or a worker with a clock at the stations of a chat: `python -m bench.traced web`, or `worker …`.

Each time that a request passes a station, a line with the station and `time.monotonic_ns` goes to the file BENCH_TRACE.
The clock is the same in all processes of a machine. The product itself knows nothing of it.
"""

import os
import sys
import time
from collections.abc import Callable
from functools import wraps
from importlib import import_module
from inspect import iscoroutinefunction
from typing import Any

Function = Callable[..., Any]
FILE = "BENCH_TRACE"
CALLED, RETURNED = "called", "returned"
# Of each process, in the order in which a request passes them: the station, the function, and when.
WEB = (
    ("authenticated", "inference.openai.requests:Body.parse", CALLED),
    ("body parsed", "inference.openai.requests:Body.parse", RETURNED),
    ("steering selected", "inference.openai.generation:select", RETURNED),
    ("message published", "inference.broker.exchange:Exchange.send", RETURNED),
    ("event read", "inference.broker.inbox:Inbox._hand_out", CALLED),
)
WORKER = (
    ("message taken", "inference.worker.model_server:ModelServer.answer", CALLED),
    ("claimed", "inference.worker.job_table:JobTable.claim", RETURNED),
    ("tokenised", "inference.worker.requests.builder:RequestBuilder.requests", RETURNED),
    ("submitted", "inference.engine.engine:ContinuousEngine.submit", RETURNED),
    ("step begun", "inference.engine.batching:StepClock.step", CALLED),
    ("step ended", "inference.engine.engine:ContinuousEngine.take_outputs", CALLED),
    ("event made", "inference.worker.engines.on_transformers:TransformersServer._report", CALLED),
    ("event written", "inference.worker.engines.on_transformers:TransformersServer._report", RETURNED),
)


def clocked(
    function: Callable[..., Any], called: str, returned: str, mark: Callable[[str], None]
) -> Callable[..., Any]:
    """`function`, which marks the stations `called` and `returned`; an empty name marks none."""

    @wraps(function)
    def plain(*args: Any, **kwargs: Any) -> Any:
        mark(called)
        try:
            return function(*args, **kwargs)
        finally:
            mark(returned)

    @wraps(function)
    async def awaited(*args: Any, **kwargs: Any) -> Any:
        mark(called)
        try:
            return await function(*args, **kwargs)
        finally:
            mark(returned)

    return awaited if iscoroutinefunction(function) else plain


def put_clocks(stations: tuple[tuple[str, str, str], ...], mark: Callable[[str], None]) -> None:
    for target in dict.fromkeys(target for _, target, _ in stations):
        names = {when: station for station, other, when in stations if other == target}
        module, _, path = target.partition(":")
        *owners, name = path.split(".")
        holder: Any = import_module(module)
        for owner in owners:
            holder = getattr(holder, owner)
        found = holder.__dict__[name]
        function = found.__func__ if isinstance(found, classmethod) else found
        made = clocked(function, names.get(CALLED, ""), names.get(RETURNED, ""), mark)
        setattr(holder, name, classmethod(made) if isinstance(found, classmethod) else made)


def main() -> None:
    process, *arguments = sys.argv[1:]
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "millm_site.settings")
    trace = os.open(os.environ[FILE], os.O_WRONLY | os.O_APPEND | os.O_CREAT)

    def mark(station: str) -> None:
        if station:
            os.write(trace, f"{time.monotonic_ns()} {station}\n".encode())

    import django

    django.setup()
    put_clocks(WEB if process == "web" else WORKER, mark)
    if process == "web":
        from django.core.management import call_command

        call_command("run", "web")
    else:
        from celery.__main__ import main as celery

        sys.argv = ["celery", "-A", "millm_site", "worker", *arguments]
        celery()


if __name__ == "__main__":
    main()
