"""What is measured of the demo's SAE over conversations of its grammar, in a file that `register` reads."""

import random
import threading
from dataclasses import replace
from pathlib import Path

import torch
from transformers import AutoTokenizer, LlamaForCausalLM, PreTrainedTokenizerFast

from inference.broker.messages import ChatPrompt
from inference.demo import FEATURES
from inference.demo.grammar import TOPICS
from inference.demo.language_model import turn
from inference.engine.detokenizer import TokenTexts
from inference.engine.reading.logit_lens import promoted_by_each
from inference.engine.reading.reader import FeatureReader, Text
from inference.engine.reading.statistics import measure
from inference.engine.saes.decoder import decoder_chunks
from inference.engine.saes.encoders import load_encoder
from inference.measuring.results import Measured, MeasuredFeature, write_file
from inference.worker.measuring.features import features_of
from inference.worker.measuring.state import MeasuringState
from inference.worker.reading.texts import ReadTexts
from steering.formats import read_config

SEED, TURNS_PER_TOPIC = 0, 300
EXAMPLES, TOKENS = 5, 5
"""Examples of a feature, and tokens that it promotes, in the file."""


def measure_files(folder: Path) -> None:
    """Write `features.jsonl.gz` for the model and the SAE that are in `folder`."""
    model = LlamaForCausalLM.from_pretrained(folder / "model").eval()
    tokenizer: PreTrainedTokenizerFast = AutoTokenizer.from_pretrained(folder / "model")
    rows = model.get_input_embeddings().num_embeddings
    texts = ReadTexts(
        tokenizer, TokenTexts(tokenizer.backend_tokenizer), rows, int(model.config.max_position_embeddings)
    )
    config = read_config(folder / "sae")
    reader = FeatureReader(model, load_encoder(config, "cpu", torch.float32), threading.Lock())
    state = MeasuringState(measure(reader, conversations(texts), EXAMPLES))
    for chunk in decoder_chunks(config):
        for found in promoted_by_each(model, torch.from_numpy(chunk), min(rows, len(tokenizer)), TOKENS):
            state.name(found)
    statistics = state.statistics
    features = [_short(one) for one in features_of(state, texts)]
    write_file(folder / FEATURES, Measured(statistics.tokens, statistics.residual_norm, features))


def conversations(texts: ReadTexts) -> list[Text]:
    """Conversations of one turn about each topic, of which half name it."""
    rng = random.Random(SEED)
    turns = [turn(topic, rng, names_topic=number % 2 == 0) for topic in TOPICS for number in range(TURNS_PER_TOPIC)]
    return [texts.whole(ChatPrompt(messages=list(messages))) for messages in turns]


def _short(feature: MeasuredFeature) -> MeasuredFeature:
    """The feature with values of three digits, since its file is a part of the repository."""
    examples = [replace(one, values=[float(f"{value:.3g}") for value in one.values]) for one in feature.examples]
    return replace(feature, examples=examples, density=float(f"{feature.density:.4g}"))
