"""64 streams on the demo model, each seeded and compared with the same request alone, for two minutes."""

import random
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from bench.setup import report, start_django

STREAMS, SECONDS, PROMPTS = 64, 120, 12


def main() -> None:
    start_django()
    import psutil

    from bench.http import Served
    from inference.demo.register import register_demo

    register_demo()
    served = Served.of({})
    worker = psutil.Process(served.processes[0].pid)
    web = psutil.Process(served.processes[1].pid)

    def ask(client: Any, i: int) -> str:
        body: dict[str, Any] = {"model": "demo", "seed": i, "max_tokens": 60, "stream": True}
        body["messages"] = [{"role": "user", "content": f"Tell me something. {i}"}]
        with client.stream("POST", "/v1/chat/completions", json=body) as answer:
            assert answer.status_code == 200, answer.read()
            lines = [line for line in answer.iter_lines() if line]
        assert lines[-1] == "data: [DONE]"
        assert len({line.split('"id": "')[1].split('"')[0] for line in lines[:-1]}) == 1
        return "".join(line.split('"content": "')[1].split('"')[0] for line in lines if '"content": "' in line)

    counts, wrong, lock, until = [0], [0], threading.Lock(), [0.0]
    alone = [ask(served.client, i) for i in range(PROMPTS)]

    def run(seed: int) -> None:
        choose, client = random.Random(seed), served.new_client()
        while time.monotonic() < until[0]:
            i = choose.randrange(PROMPTS)
            same = ask(client, i) == alone[i]
            with lock:
                counts[0] += 1
                wrong[0] += not same

    def load(seconds: float) -> None:
        until[0] = time.monotonic() + seconds
        with ThreadPoolExecutor(STREAMS) as pool:
            list(pool.map(run, range(STREAMS)))

    try:
        load(20)
        before = {name: process.memory_info().rss for name, process in (("worker", worker), ("web", web))}
        counts[0] = 0
        load(SECONDS)
        grown = {
            f"{name} grew by (MB)": round((process.memory_info().rss - before[name]) / 1e6, 1)
            for name, process in (("worker", worker), ("web", web))
        }
    finally:
        served.close()
    figures = {"streams": STREAMS, "seconds": SECONDS, "answers": counts[0], "other than alone": wrong[0], **grown}
    report("soak", str(__doc__), {**figures, "errors": 0})


if __name__ == "__main__":
    main()
