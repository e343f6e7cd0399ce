"""Reading beside a plain forward pass of the whole model, and beside chats; contrast, nearest features, measuring.

The model of the passes is a Llama of 30 layers, 2,304 wide, with random weights; its SAE has 16,384 features. The
chats are those of `bench.http`. What is compared runs in turn in one process; figures are medians.
"""

import random
import statistics
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from transformers import LlamaConfig, LlamaForCausalLM

from bench import attach
from bench.engine import LIMITS, NEW, prompts
from bench.http import Served, register
from bench.setup import median_ms, report, start_django
from bench.subject import make

D_MODEL, D_SAE, LAYERS, VOCAB, TOKENS, ROUNDS = 2_304, 16_384, 30, 4_096, 512, 2
HOOK_LAYERS = (14, 29)
CHATS, CHAT_ROUNDS = 16, 5


def seconds(call: Callable[[], Any], rounds: int = ROUNDS) -> float:
    """The median of some rounds, after one to warm up."""
    return median_ms(call, rounds, warm_up=1) / 1000


# --- passes, in this process ---


def passes() -> dict[str, Any]:
    """A reading of TOKENS, and measuring, ÷ the plain pass of the whole model over the same tokens."""
    from inference.engine.reading.reader import FeatureReader, Text
    from inference.engine.reading.statistics import measure
    from inference.engine.reading.top_features import top_features

    model = wide_model()
    ids = torch.randint(0, VOCAB, (TOKENS,), generator=torch.Generator().manual_seed(1)).tolist()
    text = Text(ids, [True] * TOKENS)
    short = [Text(ids[start : start + 32], [True] * 32) for start in range(0, TOKENS, 32)]

    def plain(rows: int) -> Tensor:
        with torch.no_grad():
            return model(torch.tensor(ids).reshape(rows, -1)).logits

    ratios = {}
    for layer in HOOK_LAYERS:
        reader = FeatureReader(model, encoder(layer), threading.Lock())
        took = seconds(lambda reader=reader: list(top_features(reader, [text], top_k=5)))
        ratios[f"reading at layer {layer} ÷ plain pass of {LAYERS}"] = round(took / seconds(lambda: plain(1)), 3)
    took = seconds(lambda: measure(reader, short))
    ratios["tokens/s of measuring ÷ plain passes of the same texts"] = round(
        seconds(lambda: plain(len(short))) / took, 3
    )
    return ratios


def wide_model() -> LlamaForCausalLM:
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=VOCAB,
        hidden_size=D_MODEL,
        intermediate_size=D_MODEL,
        num_hidden_layers=LAYERS,
        num_attention_heads=9,
        num_key_value_heads=3,
        tie_word_embeddings=True,
    )
    return LlamaForCausalLM(config).eval()


def encoder(layer: int) -> Any:
    """Of a JumpReLU SAE, whose threshold leaves some hundred features to each token."""
    from inference.engine.saes.encoders import Encoder
    from steering.formats import SAEConfig

    weight = torch.nn.functional.normalize(torch.randn(D_MODEL, D_SAE), dim=0)
    hook = f"blocks.{layer}.hook_resid_post"
    config = SAEConfig("saelens", "jumprelu", D_MODEL, D_SAE, layer, hook, "bench", Path("weights"))
    zero, one = torch.tensor(0.0), torch.tensor(1.0)
    return Encoder(config, weight, zero, zero, one, torch.tensor(2.5), zero, one)


# --- nearest features, in this process ---


def nearest() -> dict[str, float]:
    from inference.engine.reading.nearest_features import nearest_features
    from steering.formats import read_config

    with tempfile.TemporaryDirectory(prefix="millm-bench-") as name:
        attach.make_sae(Path(name) / "sae")
        config = read_config(Path(name) / "sae")
        return {
            f"nearest of {attach.D_SAE:,} × {attach.D_MODEL:,} (s)": round(
                seconds(lambda: nearest_features(config, 7, top=10)), 2
            )
        }


# --- over HTTP ---


def beside_chats(served: Served) -> dict[str, Any]:
    """CHATS streams with and without an endless reading, in turn."""
    alone, beside = [], []
    for _ in range(CHAT_ROUNDS + 1):
        alone.append(streams(served))
        with reading_all_the_time(served):
            beside.append(streams(served))
    speeds = [statistics.median(speed for speed, _ in side[1:]) for side in (alone, beside)]
    gaps = [max(gap for _, gap in side[1:]) for side in (alone, beside)]
    return {
        "tokens/s of 16 chats": round(speeds[0]),
        "the same beside a reading": round(speeds[1]),
        "beside ÷ alone": round(speeds[1] / speeds[0], 3),
        "longest gap between tokens alone (s)": round(gaps[0], 3),
        "longest gap between tokens beside (s)": round(gaps[1], 3),
    }


def streams(served: Served) -> tuple[float, float]:
    """Tokens/s of CHATS streams, and the longest gap between two tokens of a stream in seconds."""

    def ask(prompt: list[int]) -> float:
        text = "".join(chr(33 + token % 90) for token in prompt)
        body = {"model": "bench", "messages": [{"role": "user", "content": text}], "temperature": 0, "stream": True}
        with served.client.stream("POST", "/v1/chat/completions", json=body | {"max_tokens": NEW}) as answer:
            assert answer.status_code == 200, answer.read()
            lines = (line for line in answer.iter_lines() if '"content"' in line and '"content": ""' not in line)
            arrivals = [time.perf_counter() for _ in lines]
        return max(later - earlier for earlier, later in pairwise(arrivals))

    began = time.perf_counter()
    with ThreadPoolExecutor(CHATS) as pool:
        gaps = list(pool.map(ask, prompts(CHATS)))
    return CHATS * NEW / (time.perf_counter() - began), max(gaps)


@contextmanager
def reading_all_the_time(served: Served) -> Iterator[None]:
    """Read texts without an end, one request after another."""
    over = threading.Event()
    body = {"tokens": prompts(64, seed=9), "top_k": 5}

    def read() -> None:
        with served.new_client() as client:
            while not over.is_set():
                client.post("/api/activations", json=body).raise_for_status()

    thread = threading.Thread(target=read)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def contrast(served: Served) -> dict[str, float]:
    """A contrast of 2 × 50 sentences on the demo."""
    from inference.demo.tiny.grammar import TOPICS, sentence

    rng = random.Random(0)
    others = sorted(TOPICS.keys() - {"ocean"})
    body = {
        "positive": [sentence("ocean", rng) for _ in range(50)],
        "negative": [sentence(rng.choice(others), rng) for _ in range(50)],
    }
    url = "/api/features/contrast"
    return {
        "contrast of 2 × 50 sentences (s)": round(
            seconds(lambda: served.client.post(url, json=body).raise_for_status()), 2
        )
    }


def feature_page(served: Served) -> dict[str, float]:
    url = "/api/saes/demo-sae/features/8"
    return {
        "a feature's details, warm (ms)": round(
            1000 * seconds(lambda: served.client.get(url).raise_for_status(), 10), 1
        )
    }


def load_demo(served: Served) -> None:
    """Have the worker serve the demo."""
    from inference.demo.register import register_demo
    from inference.models import LanguageModel
    from steering.models import SAE

    register_demo()
    demo = LanguageModel.objects.get(name="demo")
    demo.load()
    demo.attach(SAE.objects.get(pk="demo-sae"))
    body = {"texts": "whale"}
    while served.client.post("/api/activations", json=body).status_code != 200:
        time.sleep(0.3)


def main() -> None:
    start_django()
    limits = {
        "INFERENCE_BATCH_SIZE": LIMITS.max_requests,
        "INFERENCE_BATCH_TOKENS": LIMITS.max_batch_tokens,
        "INFERENCE_CACHE_TOKENS": LIMITS.cache_tokens,
    }
    figures: dict[str, Any] = {"passes": passes(), "nearest features": nearest()}
    with tempfile.TemporaryDirectory() as name:
        make(Path(name))
        register(Path(name))
        served = Served.of(limits)
        try:
            figures["16 chats"] = beside_chats(served)
            load_demo(served)
            figures["demo"] = contrast(served) | feature_page(served)
        finally:
            served.close()
    report("reading", str(__doc__), figures)


if __name__ == "__main__":
    main()
