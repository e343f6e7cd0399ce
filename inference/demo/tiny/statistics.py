"""What is measured of the demo's SAE over conversations of its grammar."""

import random
from pathlib import Path

from transformers import AutoTokenizer, LlamaForCausalLM

from inference.broker.messages import ChatPrompt
from inference.demo import FEATURES
from inference.demo.statistics import write_features
from inference.demo.tiny.grammar import TOPICS
from inference.demo.tiny.language_model import turn
from inference.engine.reading.reader import Text
from inference.worker.reading.texts import ReadTexts
from steering.formats import read_config

SEED, TURNS_PER_TOPIC = 0, 300


def measure_files(folder: Path) -> None:
    """Write `features.jsonl.gz` for the model and the SAE that are in `folder`."""
    model = LlamaForCausalLM.from_pretrained(folder / "model").eval()
    tokenizer = AutoTokenizer.from_pretrained(folder / "model")
    write_features(folder / FEATURES, model, tokenizer, read_config(folder / "sae"), conversations)


def conversations(texts: ReadTexts) -> list[Text]:
    """Conversations of one turn about each topic, of which half name it."""
    rng = random.Random(SEED)
    turns = [turn(topic, rng, names_topic=number % 2 == 0) for topic in TOPICS for number in range(TURNS_PER_TOPIC)]
    return [texts.whole(ChatPrompt(messages=list(messages))) for messages in turns]
