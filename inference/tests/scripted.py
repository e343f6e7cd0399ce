"""Small models of real formats whose answers are known: the next token is a function of the last one.

Embedding and output are one-hot, attention and MLP are zero, so that a table says which token follows which. Their
tokenizers are the two kinds that real models have: byte-level BPE, and SentencePiece with byte fallback.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import pairwise
from typing import Any

import torch
from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from inference.engine.engine import ContinuousEngine, EngineLimits
from inference.engine.steering.weights import SteeringWeights
from inference.tests.engines import Collected
from steering.formats import SAEConfig
from steering.spec import SAEPlace

BYTES = [f"<0x{byte:02X}>" for byte in range(256)]
WORDS = [
    *("▁The", "▁capital", "▁of", "▁France", "▁is", "▁Paris", "."),
    *("▁smile", "▁yes", "▁one", "▁two", "▁Hello", "▁there"),
]
SPECIAL = ["<|endoftext|>", "<|im_start|>", "<|im_end|>", "<｜end▁of▁sentence｜>"]
CHATML = (
    "{% for m in messages %}{{ '<|im_start|>' + m['role'] + '\\n' + m['content'] + '<|im_end|>' + '\\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"
)
PLAIN = "{{ bos_token }}{% for m in messages %}{{ m['content'] }}{% endfor %}"


def sentencepiece(words: Sequence[str] = WORDS, **options: Any) -> PreTrainedTokenizerFast:
    """As of Llama 2, Mistral 7B and Phi 3: `▁` for spaces, the first of which its decoder takes away."""
    start = ["<unk>", "<s>", "</s>", *BYTES, *words, *sorted({letter for word in words for letter in word})]
    vocab, merges = _merged(start, words)
    made = Tokenizer(models.BPE(vocab=vocab, merges=merges, unk_token="<unk>", fuse_unk=True, byte_fallback=True))
    made.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    made.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    )
    made.add_special_tokens([AddedToken(one, special=True, normalized=False) for one in ("<unk>", "<s>", "</s>")])
    made.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 1)])
    given = {"bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>", "chat_template": PLAIN} | options
    return PreTrainedTokenizerFast(tokenizer_object=made, clean_up_tokenization_spaces=False, **given)


def byte_level(
    words: Sequence[str] = ("Hello", " there", " Paris"), special: Sequence[str] = SPECIAL, **options: Any
) -> PreTrainedTokenizerFast:
    """As of GPT-2, Llama 3 and Qwen."""
    splitter = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    pieces = ["".join(piece for piece, _ in splitter.pre_tokenize_str(word)) for word in words]
    vocab, merges = _merged(sorted(pre_tokenizers.ByteLevel.alphabet()), pieces)
    made = Tokenizer(models.BPE(vocab=vocab, merges=merges))
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)
    made.decoder = decoders.ByteLevel()
    made.add_special_tokens([AddedToken(one, special=True, normalized=False) for one in special])
    given = {"eos_token": "<|im_end|>", "chat_template": CHATML} | options
    return PreTrainedTokenizerFast(tokenizer_object=made, clean_up_tokenization_spaces=False, **given)


def _merged(start: Iterable[str], words: Iterable[str]) -> tuple[dict[str, int], list[tuple[str, str]]]:
    """A vocabulary of `start`, and merges that build each word letter by letter."""
    vocab: dict[str, int] = {}
    for piece in start:
        vocab.setdefault(piece, len(vocab))
    merges = []
    for word in words:
        for at in range(1, len(word)):
            vocab.setdefault(word[: at + 1], len(vocab))
            if (word[:at], word[at]) not in merges:
                merges.append((word[:at], word[at]))
    return vocab, merges


def ids_of(tokenizer: PreTrainedTokenizerFast, *pieces: str) -> list[int]:
    vocab = tokenizer.get_vocab()
    return [vocab[piece] for piece in pieces]


def after(tokenizer: PreTrainedTokenizerFast, *pieces: str) -> dict[int, list[int]]:
    """Each of these tokens comes after the one before it."""
    ids = ids_of(tokenizer, *pieces)
    return {last: [following] for last, following in pairwise(ids)}


def scripted_model(
    tokenizer: PreTrainedTokenizerFast,
    following: Mapping[int, Sequence[int]],
    *,
    eos: int | list[int] | None = None,
    context: int = 4096,
    rows: int | None = None,
) -> LlamaForCausalLM:
    """After token t any of `following[t]` comes, all equally probable; what has no successors gets token 0.

    `rows` tokens, as many as the tokenizer has by default.
    """
    rows = len(tokenizer) if rows is None else rows
    width = -(-rows // 64) * 64
    eos = tokenizer.eos_token_id if eos is None else eos
    sizes = {"intermediate_size": 8, "num_hidden_layers": 1, "num_attention_heads": 8, "num_key_value_heads": 8}
    config = LlamaConfig(vocab_size=rows, hidden_size=width, max_position_embeddings=context, eos_token_id=eos, **sizes)
    model = LlamaForCausalLM(config).eval()
    with torch.no_grad():
        for name, weights in model.named_parameters():
            if "norm" not in name:
                weights.zero_()
        model.model.embed_tokens.weight[range(rows), range(rows)] = 1.0
        for last, ones in following.items():
            model.lm_head.weight[list(ones), last] = 8.0
    return model


@contextmanager
def scripted_engine(
    tokenizer: PreTrainedTokenizerFast,
    following: Mapping[int, Sequence[int]],
    limits: EngineLimits = EngineLimits(max_requests=8, max_batch_tokens=256, cache_tokens=4096),  # noqa: B008
    **options: Any,
) -> Iterator[Collected]:
    """An engine with such a model; nothing steers it."""
    model = scripted_model(tokenizer, following, **options)
    with engine_of(model, tokenizer, limits) as collected:
        yield collected


def _no_sae(place: SAEPlace) -> SAEConfig:
    raise AssertionError("scripted models are not steered")


@contextmanager
def engine_of(
    model: LlamaForCausalLM,
    tokenizer: PreTrainedTokenizerFast,
    limits: EngineLimits = EngineLimits(),  # noqa: B008
) -> Iterator[Collected]:
    collected = Collected()
    collected.engine = ContinuousEngine(model, tokenizer, collected.listen, SteeringWeights(_no_sae), limits)
    try:
        yield collected
    finally:
        collected.engine.close()
