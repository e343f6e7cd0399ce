"""What is measured of a demo's SAE over conversations, in a file that `register` reads."""

import threading
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import torch
from transformers import PreTrainedModel, PreTrainedTokenizerFast

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
from steering.formats import SAEConfig

EXAMPLES, TOKENS = 5, 5
"""Examples of a feature, and tokens that it promotes, in the file."""


def write_features(
    path: Path,
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerFast,
    config: SAEConfig,
    conversations: Callable[[ReadTexts], Sequence[Text]],
) -> None:
    """Write what is measured of the SAE of `config` over the texts that `conversations` makes."""
    rows = model.get_input_embeddings().num_embeddings
    texts = ReadTexts(
        tokenizer, TokenTexts(tokenizer.backend_tokenizer), rows, int(model.config.max_position_embeddings)
    )
    reader = FeatureReader(model, load_encoder(config, "cpu", torch.float32), threading.Lock())
    state = MeasuringState(measure(reader, conversations(texts), EXAMPLES))
    for chunk in decoder_chunks(config):
        for found in promoted_by_each(model, torch.from_numpy(chunk), min(rows, len(tokenizer)), TOKENS):
            state.name(found)
    statistics = state.statistics
    features = [_short(one) for one in features_of(state, texts)]
    write_file(path, Measured(statistics.tokens, statistics.residual_norm, features))


def _short(feature: MeasuredFeature) -> MeasuredFeature:
    """The feature with values of three digits, since its file is a part of the repository."""
    examples = [replace(one, values=[float(f"{value:.3g}") for value in one.values]) for one in feature.examples]
    return replace(feature, examples=examples, density=float(f"{feature.density:.4g}"))
