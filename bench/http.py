"""The whole way, HTTP, Celery and Redis, beside the engine called in-process; 32 prompt and 128 new tokens, streamed.

The same 34M-parameter Llama in both, in turn; figures are medians. Client, web, Redis and worker share the cores.
"""

import os
import statistics
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any, Self

import httpx
from transformers import AutoTokenizer

from bench.engine import LIMITS, NEW, ROUNDS, in_turn, load, profile, prompts, together
from bench.setup import report, start_django
from bench.subject import CONTEXT, D_MODEL, D_SAE, LAYER, LAYERS, make
from inference.tests.engines import Collected, run_engine


class Served:
    """Worker and web, and a client of theirs."""

    @classmethod
    def of(cls, limits: dict[str, Any], *, traced: bool = False, python: str = sys.executable) -> Self:
        """Of the current model; `traced` starts them by `bench.traced`, `python` runs the worker."""
        from django.contrib.auth import get_user_model

        from millm_site.models import APIKey

        owner = get_user_model().objects.create_superuser("bench")
        return cls(str(APIKey.objects.create(owner, name="bench")[1]), limits, traced=traced, python=python)

    def __init__(self, key: str, limits: dict[str, Any], *, traced: bool = False, python: str = sys.executable) -> None:
        from inference.tests.conftest import free_port

        self.url = f"http://127.0.0.1:{free_port()}"
        environment = os.environ | {name: str(value) for name, value in limits.items()}
        worker = ["bench.traced", "worker"] if traced else ["celery", "-A", "millm_site", "worker"]
        web = ["bench.traced", "web"] if traced else ["django", "run", "web"]
        environment |= {"PORT": self.url.rpartition(":")[2], "LOG_LEVEL": "ERROR"}
        threads = ["--pool", "threads", "--concurrency", str(limits.get("INFERENCE_BATCH_SIZE", 16))]
        commands = [[*worker, *threads, "--without-gossip", "--without-mingle"], web]
        self.processes = [
            subprocess.Popen([runs, "-m", *command], env=environment, stderr=subprocess.DEVNULL)
            for runs, command in zip((python, sys.executable), commands, strict=True)
        ]
        self._key = key
        self.client = self.new_client()
        while not self._is_ready():
            if any(process.poll() is not None for process in self.processes):
                self.close()
                raise RuntimeError("a process of the server under test ended before it was ready")
            time.sleep(0.3)

    def new_client(self) -> httpx.Client:
        return httpx.Client(base_url=self.url, headers={"Authorization": f"Bearer {self._key}"}, timeout=120)

    def _is_ready(self) -> bool:
        try:
            return self.client.get("/readyz").status_code == 200
        except httpx.TransportError:
            return False

    def close(self) -> None:
        for process in self.processes:
            process.terminate()
        for process in self.processes:
            process.wait()

    def ask(self, prompt: list[int], **options: Any) -> float:
        """Stream one answer; seconds to the first token."""
        text = "".join(chr(33 + token % 90) for token in prompt)  # a byte, and so a token, each
        body = {"model": "bench", "messages": [{"role": "user", "content": text}], "temperature": 0, "stream": True}
        began, first = time.perf_counter(), 0.0
        with self.client.stream("POST", "/v1/chat/completions", json=body | {"max_tokens": NEW} | options) as answer:
            assert answer.status_code == 200, answer.read()
            for line in answer.iter_lines():
                if not first and '"content": ""' not in line and '"content"' in line:
                    first = time.perf_counter() - began
        return first

    def together(self, batch: list[list[int]]) -> None:
        with ThreadPoolExecutor(len(batch)) as pool:
            list(pool.map(self.ask, batch))

    def activate(self, profile_id: str) -> None:
        self.client.post(f"/api/profiles/{profile_id}/activate").raise_for_status()


def register(folder: Path) -> None:
    """The model, its SAE and two profiles into the database."""
    from inference.models import LanguageModel
    from profiles.models import Profile
    from steering.models import SAE

    shape = {"d_model": D_MODEL, "num_layers": LAYERS, "context_length": CONTEXT}
    model = LanguageModel.objects.create(name="bench", source=str(folder), **shape)
    model.make_current()
    hook = f"blocks.{LAYER}.hook_resid_post"
    sae = SAE.objects.create(
        id="bench",
        source=str(folder / "sae"),
        d_in=D_MODEL,
        d_sae=D_SAE,
        layer=LAYER,
        hook_name=hook,
        status=SAE.Status.READY,
    )
    model.attach(sae)
    for i in range(2):
        Profile.objects.create_from(name=f"bench-{i}", strengths={i: 1.0})


def first_token(engine: Collected, served: Served) -> dict[str, float]:
    ids = [found["id"] for found in served.client.get("/api/profiles").json()["results"]]
    ours, whole, activated = [], [], []
    for i in range(25):
        [prompt] = prompts(1, seed=1000 + i)
        began = time.perf_counter()
        engine.wait(engine.submit(prompt, profile(0), max_new_tokens=2), "delta")
        ours.append(time.perf_counter() - began)
        whole.append(served.ask(prompts(1, seed=2000 + i)[0], max_tokens=2))
        began = time.perf_counter()
        served.activate(ids[i % 2])
        served.ask(prompts(1, seed=3000 + i)[0], max_tokens=2)
        activated.append(time.perf_counter() - began)
        time.sleep(0.05)
    ms = {
        name: 1000 * statistics.median(taken[3:]) for name, taken in zip("owa", (ours, whole, activated), strict=True)
    }
    return {
        "in-process (ms)": round(ms["o"], 1),
        "through HTTP (ms)": round(ms["w"], 1),
        "HTTP − in-process (ms)": round(ms["w"] - ms["o"], 1),
        "activation, then the first token, ÷ first token": round(ms["a"] / ms["w"], 2),
    }


def main() -> None:
    start_django()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        make(folder)
        limits = {
            "INFERENCE_BATCH_SIZE": LIMITS.max_requests,
            "INFERENCE_BATCH_TOKENS": LIMITS.max_batch_tokens,
            "INFERENCE_CACHE_TOKENS": LIMITS.cache_tokens,
        }
        register(folder)
        served = Served.of(limits)
        try:
            ours = run_engine(load(folder), AutoTokenizer.from_pretrained(name), folder / "sae", LIMITS)
            with ours as engine:
                calls = {
                    "in-process, 16": partial(together, engine, prompts(16), [profile(0)] * 16),
                    "HTTP, 16": partial(served.together, prompts(16)),
                    "in-process, 1": partial(together, engine, prompts(1), [profile(0)]),
                    "HTTP, 1": partial(served.together, prompts(1)),
                }
                speed = in_turn(
                    calls, {"in-process, 16": 16 * NEW, "HTTP, 16": 16 * NEW, "in-process, 1": NEW, "HTTP, 1": NEW}
                )
                first = first_token(engine, served)
        finally:
            served.close()
    ratios = {f"HTTP ÷ in-process, {n}": round(speed[f"HTTP, {n}"] / speed[f"in-process, {n}"], 3) for n in (16, 1)}
    report("http", str(__doc__), {"tokens/s": speed, "ratio": ratios, "first token": first, "rounds": ROUNDS})


if __name__ == "__main__":
    main()
