"""From messages to the token ids of a prompt, by the model's own chat template."""

from collections.abc import Mapping, Sequence
from typing import Any

from jinja2 import TemplateError
from transformers import PreTrainedTokenizerFast

from inference.generation import GenerationError


class UnusableTemplate(GenerationError):
    """The chat template refuses these messages, or there is none."""

    code = "invalid_messages"
    param = "messages"


class InvalidPrompt(GenerationError):
    """A prompt of token ids that the model does not have, or of nothing at all."""

    code = "invalid_request"
    param = "prompt"


def prompt_ids(tokenizer: PreTrainedTokenizerFast, prompt: Mapping[str, Any]) -> list[int]:
    """The token ids of a prompt, which has `messages` (role, content), `text` or `ids`.

    Messages go through the model's own chat template, up to where the assistant's answer starts; text gets the
    tokenizer's special tokens.
    """
    if "messages" in prompt:
        return _chat_ids(tokenizer, prompt["messages"])
    ids = list(prompt["ids"]) if "ids" in prompt else list(tokenizer(prompt["text"])["input_ids"])
    if not ids:
        raise InvalidPrompt("prompt: got no tokens, expected at least one")
    if (largest := max(ids)) >= len(tokenizer):
        raise InvalidPrompt(f"prompt: token {largest} is out of range: this model has {len(tokenizer)}")
    return ids


def echo_text(tokenizer: PreTrainedTokenizerFast, prompt: Mapping[str, Any]) -> str:
    """The text of a prompt of a completion."""
    return str(prompt["text"]) if "text" in prompt else str(tokenizer.decode(prompt["ids"]))


def _chat_ids(tokenizer: PreTrainedTokenizerFast, messages: Sequence[Mapping[str, str]]) -> list[int]:
    if not tokenizer.chat_template:
        raise UnusableTemplate("this model has no chat template: use /v1/completions")
    try:
        text = tokenizer.apply_chat_template(
            [dict(message) for message in messages], add_generation_prompt=True, tokenize=False
        )
    except TemplateError as error:
        raise UnusableTemplate(f"this model's chat template refuses the messages: {error}") from error
    return list(tokenizer(text, add_special_tokens=False)["input_ids"])
