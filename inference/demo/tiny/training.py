"""The whole training of the demo, from nothing to files."""

import random
from pathlib import Path

import torch

from inference.demo.profiles import write_profile
from inference.demo.tiny.hints import TopicHints
from inference.demo.tiny.labels import write_labels
from inference.demo.tiny.language_model import make_model, make_tokenizer, train
from inference.demo.tiny.sae import save_sae, train_sae
from inference.demo.tiny.search import Pick, pick_features, record
from inference.demo.tiny.statistics import measure_files

SEED = 0
STEPS, HINTED_STEPS, SAE_STEPS = 800, 250, 1500
LAYER = 1  # the middle of the model: late enough to know words, early enough to be heard


def train_demo(output: Path) -> dict[str, Pick]:
    """Train model, SAE, labels and profiles into `output`; returns what each profile measured."""
    torch.manual_seed(SEED)
    rng = random.Random(SEED)
    tokenizer = make_tokenizer(rng)
    model = make_model(tokenizer)
    train(model, tokenizer, rng, STEPS, learning_rate=4e-3)
    with TopicHints(model, tokenizer, LAYER).active() as hints:
        train(model, tokenizer, rng, HINTED_STEPS, learning_rate=1.5e-3, hints=hints)
    model.save_pretrained(output / "model")
    tokenizer.save_pretrained(output / "model")
    streams = record(model, tokenizer, LAYER, rng, per_topic=400)
    sae = train_sae(torch.cat([stream.residuals for stream in streams.values()]), SAE_STEPS)
    save_sae(sae, LAYER, output / "sae")
    write_labels(model, tokenizer, sae, LAYER, output / "labels.csv")
    measure_files(output)
    picks = pick_features(model, tokenizer, sae, LAYER, streams)
    for topic, pick in picks.items():
        write_profile(output / "profiles", topic, f"Talks about the topic {topic}.", LAYER, pick.strengths)
    return picks
