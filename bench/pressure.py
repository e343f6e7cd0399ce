"""Five minutes of random load at four times the KV cache: long and short answers, cancelled, dropped, stopped, echoed.

Afterwards one chat has to be answered within 2 s, nothing may be running, waiting or queued, and the memory of worker,
web and Redis has to be within 10 % and 5 MB of what it was after the first half minute.
"""

import random
import sys
import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx

from bench.setup import report, start_django

CLIENTS, SECONDS, WARM_UP_S = 64, 300, 30
CACHE_TOKENS = 4096
TOKENS = 4 * CACHE_TOKENS // CLIENTS  # of each request, prompt and answer
SETTINGS = {"INFERENCE_CACHE_TOKENS": CACHE_TOKENS, "INFERENCE_MAX_QUEUE": CLIENTS, "INFERENCE_BATCH_SIZE": 16}
SCHEMA = {"type": "array", "items": {"enum": ["whale", "moon", "snow"]}, "minItems": 3, "maxItems": 6}
QUIET = {"temperature": 2.0, "min_p": 0.0, "logit_bias": {"1": -100, "2": -100, "3": -100}}  # does not end by itself


def body(rng: random.Random) -> tuple[str, dict[str, Any]]:
    """The path and the body of a random request."""
    text = " ".join(rng.choice(["whale", "moon", "snow", "city"]) for _ in range(rng.choice([2, 30, 100])))
    model = rng.choice(["demo", "demo:ocean", "demo:city"])
    options: dict[str, Any] = {"model": model, "max_tokens": rng.choice([4, 60, TOKENS - 110]), "stream": True}
    options |= rng.choice([{}, QUIET, {"seed": rng.randrange(9)}, {"frequency_penalty": 1.0}])
    if rng.random() < 0.15:
        echoed = {"prompt": [text] * 3, "echo": True, "stream": False, "logprobs": rng.choice([None, 2])}
        return "/v1/completions", options | echoed
    chat = {"messages": [{"role": "user", "content": text}]}
    extra = rng.choice([{}, {"stop": ["whale", "the"]}, {"n": 3}, {"response_format": _format()}])
    return "/v1/chat/completions", options | chat | extra


def _format() -> dict[str, Any]:
    return {"type": "json_schema", "json_schema": {"name": "things", "schema": SCHEMA}}


def ask(client: httpx.Client, rng: random.Random) -> str:
    """One request, perhaps left in its middle; how it ended."""
    path, asked = body(rng)
    leaves = rng.random() < 0.4
    with client.stream("POST", path, json=asked) as answer:
        if answer.status_code != 200:
            answer.read()
            return str(answer.status_code)
        lines, last = 0, ""
        for line in answer.iter_lines():
            lines, last = lines + bool(line), line or last
            if leaves and lines > rng.randrange(12):
                return "left"
    return "answered" if not asked["stream"] or last == "data: [DONE]" else last


def load(served: Any, seconds: float) -> Counter[str]:
    """All clients for so long; how many requests ended how."""
    ends: Counter[str] = Counter()
    until, lock = time.monotonic() + seconds, threading.Lock()

    def run(seed: int) -> None:
        rng, client = random.Random(seed), served.new_client()
        while time.monotonic() < until:
            end = ask(client, rng)
            if end == "429":
                time.sleep(0.5)
            with lock:
                ends[end] += 1

    with ThreadPoolExecutor(CLIENTS) as pool:
        list(pool.map(run, range(CLIENTS)))
    return ends


def left_over(queue: str) -> dict[str, int]:
    """What the books still hold a few seconds after the last client has left."""
    from inference.broker import connections, heartbeats

    deadline = time.monotonic() + 5
    while True:
        workers = heartbeats.live_workers()
        found = {
            "running": sum(worker.running for worker in workers),
            "waiting": sum(worker.waiting for worker in workers),
            "queued": connections.connection.llen(queue),
            "not acknowledged": connections.connection.hlen("unacked"),
        }
        if not any(found.values()) or time.monotonic() > deadline:
            return found
        time.sleep(0.2)


def memory_mb(processes: list[Any]) -> dict[str, float]:
    from inference.broker import connections

    names = dict(zip(("worker", "web"), processes, strict=True))
    found = {name: round(process.memory_info().rss / 1e6, 1) for name, process in names.items()}
    return found | {"redis": round(connections.connection.info("memory")["used_memory"] / 1e6, 1)}


def main() -> None:
    start_django()
    import psutil

    from bench.http import Served
    from inference.demo.register import register_demo
    from inference.models import LanguageModel

    register_demo()
    served = Served.of(SETTINGS)
    try:
        processes = [psutil.Process(process.pid) for process in served.processes]
        load(served, WARM_UP_S)
        left_over(LanguageModel.objects.get(name="demo").queue)
        before = memory_mb(processes)
        ends = load(served, SECONDS)
        began = time.perf_counter()
        chat = {"model": "demo", "messages": [{"role": "user", "content": "moon"}], "max_tokens": 8}
        served.client.post("/v1/chat/completions", json=chat).raise_for_status()
        chat_s = round(time.perf_counter() - began, 2)
        books = left_over(LanguageModel.objects.get(name="demo").queue)
        after = memory_mb(processes)
    finally:
        served.close()
    figures = {
        "requests": sum(ends.values()),
        "ended": dict(ends.most_common()),
        "the next chat (s)": chat_s,
        "left over": books,
        "memory before (MB)": before,
        "memory after (MB)": after,
    }
    report("pressure", str(__doc__), figures)
    grown = [name for name, mb in after.items() if mb > 1.1 * before[name] + 5]
    if any(books.values()) or chat_s > 2 or grown or set(ends) - {"answered", "left", "429"}:
        sys.exit("something was left over, slow, grown or failed: see above")


if __name__ == "__main__":
    main()
