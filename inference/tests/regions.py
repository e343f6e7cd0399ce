"""Regions of a text for tests: a tokenizer with the delimiters in one token and in several, and the naive reference."""

import re
from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import Any

from transformers import PreTrainedTokenizerFast

from inference.engine.detokenizer import TokenTexts
from inference.engine.steering.regions import Regions, Span
from steering.spec import Region

CHATML = re.compile(re.escape("<|im_start|>assistant\n"))
SPANS = (
    Span("reasoning", re.compile("<think>"), re.compile("</think>"), is_first=True),
    Span("call", re.compile("<tool_call>"), re.compile("</tool_call>")),
)
MISTRAL = (Span("call", re.compile(r"\[TOOL_CALLS\]")),)


def regions_of(tokenizer: PreTrainedTokenizerFast, spans: Sequence[Span] = SPANS, begins: Any = CHATML) -> Regions:
    ends = [tokenizer.eos_token_id]
    return Regions(TokenTexts(tokenizer.backend_tokenizer), spans, begins, ends)


def read(regions: Regions, ids: Sequence[int], prompt_tokens: int) -> list[Region]:
    """The regions of a text by the reader."""
    reader, found = regions.reader(), []
    for position, token in enumerate(ids):
        if position == prompt_tokens:
            reader.begin_answer()
        found.append(reader.push(token))
    return found


def naive(tokenizer: PreTrainedTokenizerFast, ids: Sequence[int], prompt_tokens: int) -> list[Region]:
    """The same by SPANS and CHATML from the whole text, whose answer has neither beginnings nor ends of messages."""
    ends = [len(tokenizer.decode(ids[:at]).rstrip("�")) for at in range(len(ids) + 1)]
    text = tokenizer.decode(ids)
    found: list[Region] = ["content"] * len(ids)
    for start, end, is_opened in _messages(text, ends[prompt_tokens]):
        for region, opened, closed in _regions(text[start:end], is_opened):
            for position in range(len(ids)):
                end = ends[position + 1]
                if end > start and end >= start + opened and ends[position] < start + closed:
                    found[position] = region
    return found


def _messages(text: str, prompt: int) -> Iterator[tuple[int, int, str]]:
    """(start, end, what is open at its start) of each message of the assistant; the prompt has `prompt` characters."""
    begins = [one.end() for one in CHATML.finditer(text[:prompt])]
    for start, following in pairwise([*begins, len(text)]):
        close = text.find("<|im_end|>", start, following)
        end = following if close < 0 else close + len("<|im_end|>")
        yield start, end, ""
    if not begins or "<|im_end|>" in text[begins[-1] : prompt]:
        opened = re.search(r"(<think>|<tool_call>)\s*\Z", text[:prompt])
        yield prompt, len(text), opened[1] if opened else ""


def _regions(message: str, opened: str) -> Iterator[tuple[Region, int, int]]:
    """(region, end of the opening delimiter, end of the closing one) of each region."""
    text = opened + message
    for one in re.finditer(r"(\A\s*<think>)(.*?(?:</think>|\Z))|(<tool_call>)(.*?(?:</tool_call>|\Z))", text, re.S):
        region: Region = "reasoning" if one[1] else "call"
        yield region, max(0, one.end(1 if one[1] else 3) - len(opened)), one.end() - len(opened)
