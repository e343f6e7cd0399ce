"""Attaching an SAE of 65,536 features of 2,304, and the first request that 20 of them steer."""

import random
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from bench.setup import median_ms, report, start_django

D_SAE, D_MODEL, FEATURES, ROUNDS = 65_536, 2_304, 20, 15


def main() -> None:
    start_django()
    with tempfile.TemporaryDirectory(prefix="millm-bench-") as folder:
        make_sae(Path(folder) / "sae")
        report("attach", __doc__ or "", measure(Path(folder)))


def make_sae(folder: Path) -> None:
    """604 MB a matrix, float32."""
    import json

    import torch
    from safetensors.torch import save_file

    folder.mkdir()
    torch.manual_seed(0)
    weights = {"W_dec": torch.randn(D_SAE, D_MODEL), "W_enc": torch.randn(D_MODEL, D_SAE)}
    weights |= {"b_enc": torch.zeros(D_SAE), "b_dec": torch.zeros(D_MODEL)}
    save_file(weights, folder / "sae_weights.safetensors")
    config = {"architecture": "standard", "d_in": D_MODEL, "d_sae": D_SAE, "hook_name": "blocks.1.hook_resid_post"}
    (folder / "cfg.json").write_text(json.dumps(config))


def measure(folder: Path) -> dict[str, Any]:
    from inference.models import LanguageModel
    from profiles.current import detach_sae
    from steering.models import SAE
    from steering.spec import SteeringSpec

    shape = {"d_model": D_MODEL, "num_layers": 2, "context_length": 512}
    LanguageModel.objects.create(name="bench", source="/nowhere", **shape).make_current()
    model = LanguageModel.objects.get()
    sae = SAE.objects.register(str(folder / "sae"), anywhere=True)

    def attach() -> None:
        detach_sae()
        model.attach(sae)

    rng = random.Random(0)

    def spec() -> SteeringSpec:
        strengths = {rng.randrange(D_SAE): 0.1 for _ in range(FEATURES)}
        made = SteeringSpec.build(sae.pk, "", 1, sae.hook_name, strengths)
        assert made is not None
        return made

    return {"attach_ms": median_ms(attach, ROUNDS, warm_up=1)} | steered_requests(folder, sae.place, spec)


def steered_requests(folder: Path, place: Any, spec: Callable[[], Any]) -> dict[str, Any]:
    """The cost of a steering's first request over its second one, of the SAE at `place`; `spec` makes steerings."""
    import psutil

    from inference.engine.steering.weights import SteeringWeights
    from inference.tests.engines import run_engine
    from inference.tests.tiny import tiny_tokenizer
    from inference.worker.saes.preparation import config_at

    process = psutil.Process()
    first, known = [], []
    with run_engine(
        wide_model(),
        tiny_tokenizer(),
        folder / "sae",
        weights=SteeringWeights(lambda _place: config_at(place)),
    ) as engine:
        engine.greedy([([5, 6, 7], None)], 4)
        before = process.memory_info().rss
        for _ in range(ROUNDS):
            steering = spec()
            for times in (first, known):
                began = time.perf_counter()
                engine.wait(engine.submit([5, 6, 7, 8], steering, max_new_tokens=1), "started")
                times.append(1000 * (time.perf_counter() - began))
        memory_mb = (process.memory_info().rss - before) / 1e6
    return {
        "memory of the steered requests (MB)": round(memory_mb, 1),
        "first request with 20 features, first token (ms)": round(statistics.median(first), 1),
        "the same again (ms)": round(statistics.median(known), 1),
        "the first pays more (ms)": round(statistics.median(a - b for a, b in zip(first, known, strict=True)), 1),
    }


def wide_model() -> Any:
    """A Llama of two layers with the SAE's width and random weights."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(0)
    heads = {"num_attention_heads": 8, "num_key_value_heads": 4}
    sizes = {"hidden_size": D_MODEL, "intermediate_size": 2048, "num_hidden_layers": 2, "vocab_size": 320}
    return LlamaForCausalLM(LlamaConfig(**sizes, **heads, max_position_embeddings=512)).eval()


if __name__ == "__main__":
    main()
