"""miLLM beside `transformers serve --continuous-batching` over HTTP, streamed, greedy, 128 new tokens, in float32.

One client loads each server in turn, in every round, and in another order than in the round before: whoever is asked
after a pause finds cold caches. Figures are medians of the rounds. Prompts differ, and have 60 to 110 tokens or 1,500;
in one round they are equally long for all servers. The steered requests have a profile each. Client and servers share
the cores.
"""

import argparse
import asyncio
import json
import os
import random
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx

from bench.setup import report, start_django

STREAMS, LONG_STREAMS, NEW, ROUNDS, PROFILES = (1, 2, 4, 8, 16, 32), (1, 8), 128, 5, 32
SERVE = Path(".clients/serve/bin/transformers")


@dataclass(frozen=True)
class Peer:
    """A server, and the model ids that its requests name in turn."""

    name: str
    url: str
    models: list[str]
    headers: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Load:
    """`streams` requests at once with prompts of so many tokens."""

    streams: int
    tokens: tuple[int, int]

    def prompts(self, round_: int, peer: int) -> list[str]:
        """Texts of the benchmark's model, in which each character is a token; their lengths are those of the round."""
        lengths, choose = (
            random.Random(f"{seed} {self.streams} {self.tokens}") for seed in (round_, f"{round_} {peer}")
        )
        return [
            "".join(chr(choose.randrange(33, 123)) for _ in range(lengths.randint(*self.tokens)))
            for _ in range(self.streams)
        ]


@dataclass(frozen=True)
class Found:
    tokens_per_s: float
    first_ms: float


async def _one(client: httpx.AsyncClient, model: str, prompt: str) -> tuple[float, int]:
    """Stream an answer; the seconds to its first token, and its tokens."""
    body = {
        "model": model,
        "messages": [{"role": "user", "content": prompt}],
        "temperature": 0,
        "max_tokens": NEW,
        "stream": True,
        "stream_options": {"include_usage": True},
    }
    began, first, tokens = time.perf_counter(), 0.0, 0
    async with client.stream("POST", "/v1/chat/completions", json=body) as answer:
        assert answer.status_code == 200, await answer.aread()
        async for line in answer.aiter_lines():
            if not line.startswith("data: {"):
                continue
            event = json.loads(line[6:])
            assert "error" not in event, event
            if not first and any(choice["delta"].get("content") for choice in event["choices"]):
                first = time.perf_counter() - began
            tokens = (event.get("usage") or {}).get("completion_tokens", tokens)
    return first, tokens


async def measure(peer: Peer, load: Load, prompts: list[str]) -> Found:
    async with httpx.AsyncClient(base_url=peer.url, headers=peer.headers, timeout=600) as client:
        began = time.perf_counter()
        asked = [_one(client, peer.models[i % len(peer.models)], prompt) for i, prompt in enumerate(prompts)]
        answers = await asyncio.gather(*asked)
        taken = time.perf_counter() - began
    return Found(sum(tokens for _, tokens in answers) / taken, 1000 * statistics.median(first for first, _ in answers))


@contextmanager
def process(command: list[str], url: str, environment: dict[str, str]) -> Iterator[None]:
    """A peer's server, from its first answer on."""
    with tempfile.TemporaryFile() as log, subprocess.Popen(command, env=environment, stdout=log, stderr=log) as server:
        try:
            while not _answers(url):
                if server.poll() is not None:
                    log.seek(0)
                    raise RuntimeError(f"{command[0]} ended: {log.read()[-2000:].decode()}")
                time.sleep(0.5)
            yield
        finally:
            server.terminate()


def _answers(url: str) -> bool:
    try:
        return httpx.get(f"{url}/health", timeout=2).status_code == 200
    except httpx.TransportError:
        return False


@contextmanager
def transformers_serve(folder: Path) -> Iterator[Peer]:
    from inference.tests.conftest import free_port

    port = free_port()
    url = f"http://127.0.0.1:{port}"
    options = ["--continuous-batching", "--device", "cpu", "--dtype", "float32", "--port", str(port)]
    environment = {name: value for name, value in os.environ.items() if name != "DJANGO_SETTINGS_MODULE"}
    with process([str(SERVE), "serve", str(folder), *options], url, environment | {"HF_HUB_OFFLINE": "1"}):
        yield Peer("transformers serve", url, [str(folder)])


@contextmanager
def vllm_serve(python: Path, folder: Path) -> Iterator[Peer]:
    """`vllm serve`, as the module that it starts: the command itself does not know vLLM's build for CPUs."""
    from inference.tests.conftest import free_port

    port = free_port()
    url = f"http://127.0.0.1:{port}"
    options = ["--dtype", "float32", "--port", str(port), "--served-model-name", "bench", "--max-model-len", "4096"]
    environment = os.environ | {"VLLM_CPU_KVCACHE_SPACE": "1", "HF_HUB_OFFLINE": "1"}
    command = [str(python), "-m", "vllm.entrypoints.openai.api_server", "--model", str(folder), *options]
    with process(command, url, environment):
        yield Peer("vllm serve", url, ["bench"])


@contextmanager
def millm(folder: Path, python: str = sys.executable, **settings: Any) -> Iterator[list[Peer]]:
    """Steered and not, with a worker that `python` runs."""
    from bench.http import Served, register
    from profiles.models import Profile

    register(folder)
    for i in range(PROFILES):
        Profile.objects.create_from(name=f"steered-{i}", strengths={7 * i + j: 0.5 for j in range(8)})
    limits = {"INFERENCE_BATCH_SIZE": max(STREAMS), "INFERENCE_DTYPE": "float32"}
    served = Served.of(limits | settings, python=python)
    headers = {"Authorization": served.client.headers["Authorization"]}
    steered = [f"bench:steered-{i}" for i in range(PROFILES)]
    try:
        yield [Peer("miLLM steered", served.url, steered, headers), Peer("miLLM", served.url, ["bench"], headers)]
    finally:
        served.close()


def rounds(peers: list[Peer], loads: list[Load], count: int) -> dict[tuple[str, Load], Found]:
    """The medians of every peer under every load."""
    found: dict[tuple[str, Load], list[Found]] = {(peer.name, load): [] for peer in peers for load in loads}
    for round_ in range(count + 1):
        for load in loads:
            for i in [(at + round_) % len(peers) for at in range(len(peers))]:
                peer = peers[i]
                one = asyncio.run(measure(peer, load, load.prompts(round_, i)))
                if round_:  # the first round warms up
                    found[peer.name, load].append(one)
    return {
        key: Found(
            statistics.median(one.tokens_per_s for one in all_),
            statistics.median(one.first_ms for one in all_),
        )
        for key, all_ in found.items()
    }


def figures(found: dict[tuple[str, Load], Found], peers: list[Peer], loads: list[Load]) -> dict[str, Any]:
    """A table of each set of prompts: tokens/s, the first token in ms, and ratios to the peers."""
    made: dict[str, Any] = {}
    ours, others = peers[0].name, [peer.name for peer in peers[2:]]
    for load in loads:
        group = made.setdefault(f"prompts of {load.tokens[0]} to {load.tokens[1]} tokens", {})
        group[f"{load.streams} streams"] = {
            **{f"{peer.name}, tokens/s": round(found[peer.name, load].tokens_per_s, 1) for peer in peers},
            **{f"{peer.name}, first token (ms)": round(found[peer.name, load].first_ms, 1) for peer in peers},
            **{
                f"steered ÷ {other}": round(found[ours, load].tokens_per_s / found[other, load].tokens_per_s, 2)
                for other in others
            },
            **{
                f"first token ÷ {other}": round(found[ours, load].first_ms / found[other, load].first_ms, 2)
                for other in others
            },
        }
    return made


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--streams", type=int, nargs="*", default=list(STREAMS))
    options.add_argument("--long", type=int, nargs="*", default=list(LONG_STREAMS), help="streams of 1,500 tokens")
    options.add_argument("--rounds", type=int, default=ROUNDS)
    options.add_argument("--vllm", type=Path, help="the Python of an environment with vLLM")
    asked = options.parse_args()
    start_django()
    from bench.subject import make

    loads = [*(Load(n, (60, 110)) for n in asked.streams), *(Load(n, (1500, 1500)) for n in asked.long)]
    with tempfile.TemporaryDirectory() as name, ExitStack() as servers:
        folder = Path(name)
        make(folder)
        peers = [*servers.enter_context(millm(folder)), servers.enter_context(transformers_serve(folder))]
        if asked.vllm:
            peers.append(servers.enter_context(vllm_serve(asked.vllm, folder)))
        found = rounds(peers, loads, asked.rounds)
    report("peers", str(__doc__), {**figures(found, peers, loads), "rounds": asked.rounds})


if __name__ == "__main__":
    main()
