"""The demos: a model, its SAE with labels and profiles, and their rows in the database.

`smollm2` is SmolLM2-135M-Instruct, which `make run` fetches. `tiny` is a grammar model whose files are in the
repository: it is served where SmolLM2 cannot be had, and in the tests.
"""

from dataclasses import dataclass
from pathlib import Path

FEATURES = "features.jsonl.gz"
"""In the files of a demo, what is measured of its SAE's features: see `inference.measuring.results`."""


@dataclass(frozen=True)
class Demo:
    """A demo that can be registered."""

    name: str
    """As MILLM_DEMO names it."""
    title: str
    """The model's name for people."""
    model: Path
    """The folder of the model."""
    files: Path
    """The folder with `sae/`, `profiles/*.json`, `labels.csv` and FEATURES."""
    sources: str
    """A regular expression: the source of a row of this demo, wherever checkout and MILLM_HOME were."""
    prompt: str
    """A question whose answer shows the steering at once."""
