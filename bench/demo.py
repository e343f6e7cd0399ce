"""The demo's SmolLM2-135M-Instruct on a CPU, by dtype, in-process: the first token, and tokens/s of 1 and 16 streams.

int8 is torch's dynamic quantisation of the linear layers of the blocks. miLLM does not offer it: the figure says what
it would give. Run `manage.py fetch_demo` first.
"""

import statistics
import sys
import time
import warnings
from functools import partial
from pathlib import Path

import torch
from torch import nn
from transformers import PreTrainedModel

from bench.setup import report, start_django
from millm_site.addresses import home

ROUNDS, NEW, QUESTION = 5, 64, "What should I do this weekend?"


def load(folder: Path, dtype: str) -> PreTrainedModel:
    from inference.engine.loading import load as load_model

    model, _ = load_model(folder, dtype="float32" if dtype == "int8" else dtype, device="cpu")
    if dtype == "int8":
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            # Without the output layer, whose weights are those of the embedding.
            model.model = torch.ao.quantization.quantize_dynamic(model.model, {nn.Linear}, dtype=torch.qint8)
    return model


def main() -> None:
    folder = home() / "demo" / "smollm2"
    if not folder.is_dir():
        sys.exit(f"{folder} is missing: run `manage.py fetch_demo`")
    start_django()
    from inference.demo.smollm2.answers import Answerer, Ask, answerer
    from inference.engine.loading import load as load_model

    tokenizer = load_model(folder)[1]

    def asked(answers: Answerer, streams: int, tokens: int) -> float:
        began = time.perf_counter()
        found = answers.answers([Ask(QUESTION, seed=seed, max_tokens=tokens) for seed in range(streams)])
        taken = time.perf_counter() - began
        return taken if tokens == 1 else sum(len(one.ids) for one in found) / taken

    cells = {
        "first token (ms)": partial(asked, streams=1, tokens=1),
        "tokens/s, 1": partial(asked, streams=1, tokens=NEW),
        "tokens/s, 16": partial(asked, streams=16, tokens=NEW),
    }
    figures: dict[str, dict[str, float]] = {}
    for dtype in ("float32", "bfloat16", "int8"):
        with answerer(load(folder, dtype), tokenizer) as answers:
            measured: dict[str, list[float]] = {name: [] for name in cells}
            for round_ in range(ROUNDS + 1):
                for name, cell in cells.items():
                    found = cell(answers)
                    if round_:  # the first round warms up
                        measured[name].append(1000 * found if "ms" in name else found)
            figures[dtype] = {name: round(statistics.median(values), 1) for name, values in measured.items()}
    report("demo", str(__doc__), {"dtype": figures})


if __name__ == "__main__":
    main()
