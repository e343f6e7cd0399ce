"""500 chats that begin in the same moment; 500 open streams on one web process, and 50 REST requests/s beside them."""

import asyncio
import statistics
import time
from collections import Counter
from typing import Any

import httpx

from bench.setup import report, start_django

STREAMS, RATE, SECONDS, OPENED_PER_S = 500, 50, 60, 25
LONG = {
    "model": "demo",
    "messages": [{"role": "user", "content": "Tell me something."}],
    "max_tokens": 3000,
    "temperature": 2.0,
    "logit_bias": {"1": -100, "2": -100, "3": -100},
    "stream": True,
}
# uvicorn ends idle connections after 5 s: a client that takes one up again just then would see an error of its own.
UNLIMITED = httpx.Limits(max_connections=None, keepalive_expiry=2)


async def hold(client: httpx.AsyncClient, opened: asyncio.Semaphore, ends: Counter[str]) -> None:
    """Open a stream, and read it to its end."""
    async with client.stream("POST", "/v1/chat/completions", json=LONG) as answer:
        assert answer.status_code == 200, await answer.aread()
        opened.release()
        last = ""
        async for line in answer.aiter_lines():
            last = line or last
        ends["ended well" if last == "data: [DONE]" else last] += 1


async def rest(client: httpx.AsyncClient, ids: list[str], seconds: int) -> tuple[list[float], Counter[str]]:
    """RATE requests/s: four reads to one change."""
    times: list[float] = []
    statuses: Counter[str] = Counter()

    async def ask(i: int) -> None:
        began, path = time.perf_counter(), f"/api/profiles/{ids[i % len(ids)]}"
        change = client.patch(path, json={"description": f"change {i}"}) if i % 5 == 0 else client.get(path)
        try:
            statuses[str((await change).status_code)] += 1
        except httpx.HTTPError as error:
            statuses[repr(error)] += 1
        times.append(time.perf_counter() - began)

    began, asked = time.perf_counter(), []
    for i in range(RATE * seconds):
        await asyncio.sleep(max(0.0, began + i / RATE - time.perf_counter()))
        asked.append(asyncio.create_task(ask(i)))
    await asyncio.gather(*asked)
    return times, statuses


async def burst(client: httpx.AsyncClient) -> dict[str, Any]:
    """STREAMS chats at once, none of them long."""

    async def ask() -> tuple[str, float]:
        began = time.perf_counter()
        try:
            answer = await client.post("/v1/chat/completions", json=LONG | {"stream": False, "max_tokens": 4})
            return str(answer.status_code), time.perf_counter() - began
        except httpx.HTTPError as error:
            return repr(error), time.perf_counter() - began

    ended = await asyncio.gather(*(ask() for _ in range(STREAMS)))
    return {
        "a burst's answers by status": dict(Counter(status for status, _ in ended)),
        "the last of a burst (s)": round(max(took_s for _, took_s in ended), 1),
    }


async def load(served: Any, ids: list[str], web: Any) -> dict[str, Any]:
    ends: Counter[str] = Counter()
    opened = asyncio.Semaphore(0)
    headers = dict(served.client.headers)
    timeout = httpx.Timeout(300)
    async with (
        httpx.AsyncClient(base_url=served.url, headers=headers, timeout=timeout, limits=UNLIMITED) as streams,
        httpx.AsyncClient(base_url=served.url, headers=headers, timeout=60, limits=UNLIMITED) as other,
    ):
        at_once = await burst(other)
        before = web.memory_info().rss
        held = []
        for _ in range(STREAMS):
            held.append(asyncio.create_task(hold(streams, opened, ends)))
            await asyncio.sleep(1 / OPENED_PER_S)
        for _ in range(STREAMS):
            failed = [task for task in held if task.done() and task.exception()]
            assert not failed, failed[0].exception()
            await asyncio.wait_for(opened.acquire(), 120)
        open_at_once = sum(not task.done() for task in held)
        times, statuses = await rest(other, ids, SECONDS)
        grown = web.memory_info().rss - before
        for task in held:
            task.cancel()
        failed = [str(end) for end in await asyncio.gather(*held, return_exceptions=True) if isinstance(end, Exception)]
    times.sort()
    return at_once | {
        "streams open at once": open_at_once,
        "streams that failed": len(failed) + sum(count for end, count in ends.items() if end != "ended well"),
        "the web grew by (MB)": round(grown / 1e6, 1),
        "REST requests": len(times),
        "REST answers by status": dict(sorted(statuses.items())),
        "REST median (ms)": round(1000 * statistics.median(times), 1),
        "REST 95 % (ms)": round(1000 * times[int(0.95 * len(times))], 1),
        "REST slowest (ms)": round(1000 * times[-1], 1),
    }


def main() -> None:
    start_django()
    import psutil

    from bench.http import Served
    from inference.demo.register import register_demo
    from profiles.models import Profile

    register_demo()
    served = Served.of({"INFERENCE_MAX_QUEUE": 2 * STREAMS, "INFERENCE_KEY_SHARE": STREAMS})
    try:
        served.client.get("/api/profiles").raise_for_status()
        ids = list(Profile.objects.values_list("pk", flat=True))
        figures = asyncio.run(load(served, ids, psutil.Process(served.processes[1].pid)))
    finally:
        served.close()
    report("load", str(__doc__), figures)


if __name__ == "__main__":
    main()
