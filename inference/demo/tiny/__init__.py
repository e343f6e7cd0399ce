"""The tiny demo: the training of its model, SAE, labels and profiles, and the trained files.

From outside: `FILES`, `TINY`, `grammar`, `measure`. The rest imports torch, for `train_demo` and `check_demo`.
"""

from pathlib import Path

from inference.demo import Demo

FILES = Path(__file__).parent / "files"
"""The folder of the trained demo: `model/`, `sae/`, `profiles/`, `labels.csv` and FEATURES."""

TINY = Demo(
    name="tiny",
    title="the small grammar model",
    model=FILES / "model",
    files=FILES,
    sources=r"/demo/(tiny/)?files/(model|sae)$",  # without tiny/ until version 0.1.0
    prompt="Tell me something.",
)
