"""From messages to the token ids of a prompt, by the model's own chat template."""

from collections.abc import Mapping, Sequence

from jinja2 import TemplateError
from transformers import PreTrainedTokenizerFast

from inference.generation import GenerationError


class UnusableTemplate(GenerationError):
    """The chat template refuses these messages, or there is none."""

    code = "invalid_messages"
    param = "messages"


def prompt_ids(tokenizer: PreTrainedTokenizerFast, messages: Sequence[Mapping[str, str]]) -> list[int]:
    """The prompt's token ids, up to where the assistant's answer starts."""
    if not tokenizer.chat_template:
        raise UnusableTemplate("this model has no chat template: use /v1/completions")
    try:
        text = tokenizer.apply_chat_template(
            [dict(message) for message in messages], add_generation_prompt=True, tokenize=False
        )
    except TemplateError as error:
        raise UnusableTemplate(f"this model's chat template refuses the messages: {error}") from error
    return list(tokenizer(text, add_special_tokens=False)["input_ids"])
