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

    def __init__(self, message: str, param: str) -> None:
        super().__init__(f"{param}: {message}")
        self.param = param


def prompt_ids(tokenizer: PreTrainedTokenizerFast, prompt: Mapping[str, Any], param: str = "prompt") -> list[int]:
    """The token ids of a prompt, which has `messages` (see `inference.openai.messages`), `text` or `ids`.

    Messages go through the model's own chat template, up to where the assistant's answer starts; text gets the
    tokenizer's special tokens. Raises UnusableTemplate, or InvalidPrompt of the request's field `param`.
    """
    if "messages" in prompt:
        return _chat_ids(tokenizer, prompt["messages"])
    ids = list(prompt["ids"]) if "ids" in prompt else list(tokenizer(prompt["text"])["input_ids"])
    if not ids:
        raise InvalidPrompt("got no tokens, expected at least one", param)
    if (largest := max(ids)) >= len(tokenizer):
        raise InvalidPrompt(f"token {largest} is out of range: this model has {len(tokenizer)}", param)
    return ids


def echo_text(tokenizer: PreTrainedTokenizerFast, prompt: Mapping[str, Any]) -> str:
    """The text of a prompt of a completion."""
    return str(prompt["text"]) if "text" in prompt else str(tokenizer.decode(prompt["ids"]))


def _chat_ids(tokenizer: PreTrainedTokenizerFast, messages: Sequence[Mapping[str, Any]]) -> list[int]:
    if not tokenizer.chat_template:
        raise UnusableTemplate("this model has no chat template: use /v1/completions")
    known = [_with_known_role(message, tokenizer.chat_template) for message in messages]
    try:
        text = tokenizer.apply_chat_template(known, add_generation_prompt=True, tokenize=False)
    except TemplateError as error:
        raise UnusableTemplate(f"this model's chat template refuses the messages: {error}") from error
    return list(tokenizer(text, add_special_tokens=False)["input_ids"])


def _with_known_role(message: Mapping[str, Any], template: object) -> dict[str, Any]:
    """The role `developer` is OpenAI's newer word for `system`, which most templates know alone."""
    is_unknown = message["role"] == "developer" and "developer" not in str(template)
    return dict(message) | ({"role": "system"} if is_unknown else {})
