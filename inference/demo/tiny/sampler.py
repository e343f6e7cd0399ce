"""Answers of the trained demo under its profiles, by plain `generate` with a plain hook."""

import json
from collections.abc import Callable
from pathlib import Path

from transformers import AutoModelForCausalLM, AutoTokenizer

from inference.demo.tiny import FILES
from inference.demo.tiny.language_model import answers
from inference.demo.tiny.search import held_out
from inference.engine.saes.directions import steering_vector
from steering.formats import read_config


def sampler(samples: int) -> Callable[[Path | None], list[str]]:
    """A function from a profile's file, or None, to `samples` answers under that profile."""
    model = AutoModelForCausalLM.from_pretrained(FILES / "model").eval()
    tokenizer = AutoTokenizer.from_pretrained(FILES / "model")
    config = read_config(FILES / "sae")

    def sample(profile: Path | None) -> list[str]:
        vector = None
        if profile:
            strengths = json.loads(profile.read_text())["profile"]["steering"]
            vector = steering_vector(config, [(int(index), strength) for index, strength in strengths.items()])
        return answers(model, tokenizer, held_out(samples), config.layer, vector, seed=1)

    return sample
