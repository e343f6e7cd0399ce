"""The first token of a lone chat, from the socket to the client, as stations; 32 prompt tokens, medians in ms.

`bench.traced` starts the web and the worker. A row is the time since the station before it.
"""

import os
import statistics
import tempfile
import time
from pathlib import Path

from bench.engine import prompts
from bench.http import Served, register
from bench.setup import report, start_django
from bench.subject import make
from bench.traced import FILE, WEB, WORKER

ROUNDS, WARM_UP = 60, 10
SENT, READ = "client sent", "client read"
STATIONS = [name for name, _, _ in (*WEB[:-1], *WORKER, WEB[-1])]


def passed(lines: list[tuple[int, str]], began: int, ended: int) -> list[tuple[str, int]]:
    """When a request passed the stations: of each the first time after the one before."""
    found, now = [(SENT, began)], began
    for station in STATIONS:
        # A pool thread may take the message before the web has been told that it is published.
        after = now if station != "message taken" else began
        now = max(now, min(at for at, name in lines if name == station and at >= after))
        found.append((station, now))
    return [*found, (READ, ended)]


def main() -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        trace = folder / "trace"
        os.environ[FILE] = str(trace)
        start_django()
        make(folder)
        register(folder)
        served = Served.of({}, traced=True)
        try:
            times = []
            for i in range(ROUNDS + WARM_UP):
                began = time.monotonic_ns()
                first = served.ask(prompts(1, seed=i)[0], max_tokens=2)
                times.append((began, began + int(first * 1e9)))
                time.sleep(0.1)
        finally:
            served.close()
        lines = [
            (int(at), station) for at, _, station in (line.partition(" ") for line in trace.read_text().splitlines())
        ]
    requests = [passed(lines, began, ended) for began, ended in times[WARM_UP:]]
    gaps = {
        station: round(statistics.median((one[i][1] - one[i - 1][1]) / 1e6 for one in requests), 2)
        for i, (station, _) in enumerate(requests[0])
        if i
    }
    whole = statistics.median((ended - began) / 1e6 for began, ended in times[WARM_UP:])
    report("stations", str(__doc__), {"stations (ms)": gaps, "first token (ms)": round(whole, 2)})


if __name__ == "__main__":
    main()
