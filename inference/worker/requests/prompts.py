"""From messages to the token ids of a prompt, by the model's own chat template."""

import json
import re
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from types import FrameType
from typing import Any

from jinja2 import TemplateError
from transformers import PreTrainedTokenizerFast

from inference.engine.detokenizer import GrowingText, TokenTexts
from inference.interface import GenerationError

TEMPLATE_S = 10.0
TEMPLATE_CHARACTERS = 2**24
"""Bounds for chat templates: they come with models, from anywhere, and must not hold up a worker or its tokenizer."""


class UnusableTemplate(GenerationError):
    """A chat template that refuses these messages, or is missing."""

    code = "invalid_messages"
    param = "messages"


class InvalidPrompt(GenerationError):
    """A prompt with token ids that the model does not have, or without any tokens."""

    def __init__(self, message: str, param: str) -> None:
        super().__init__(f"{param}: {message}")
        self.param = param


def field_of(prompt: Mapping[str, Any]) -> str:
    """The field of the request that a prompt is made of."""
    return "messages" if "messages" in prompt else "prompt"


def prompt_ids(
    tokenizer: PreTrainedTokenizerFast,
    prompt: Mapping[str, Any],
    rows: int,
    template: Mapping[str, Any] | None = None,
    param: str | None = None,
) -> list[int]:
    """The token ids of a prompt (see `inference.broker.messages.Prompt`).

    Messages go through the model's own chat template with the options `template`; text gets the tokenizer's special
    tokens. The model reads tokens below `rows`. Raises UnusableTemplate, or InvalidPrompt of the field `param`.
    """
    if "messages" in prompt:
        text = chat_text(tokenizer, prompt["messages"], template or {})
        ids = list(tokenizer(text, add_special_tokens=False)["input_ids"])
    else:
        ids = list(prompt["ids"]) if "ids" in prompt else list(tokenizer(prompt["text"])["input_ids"])
    return check_ids(tokenizer, ids, rows, param or field_of(prompt))


def check_ids(tokenizer: PreTrainedTokenizerFast, ids: list[int], rows: int, param: str) -> list[int]:
    """Return `ids`. Raises InvalidPrompt of the field `param` where there are none, or one is not below `rows`."""
    if not ids:
        raise InvalidPrompt("got no tokens, expected at least one", param)
    if (largest := max(ids)) >= rows:
        piece = tokenizer.convert_ids_to_tokens(largest) if largest < len(tokenizer) else None
        named = f"token {largest}" if piece is None else f"token {largest}, {piece!r},"
        raise InvalidPrompt(f"{named} is out of range: this model reads the tokens 0 to {rows - 1}", param)
    return ids


def added_before(tokenizer: PreTrainedTokenizerFast, ids: Sequence[int]) -> int:
    """The number of tokens at the beginning of `ids` that the tokenizer puts before every text."""
    added = list(tokenizer("")["input_ids"])
    return len(added) if list(ids[: len(added)]) == added else 0


def echo_text(texts: TokenTexts, prompt: Mapping[str, Any], ids: Sequence[int]) -> str:
    """The text of a completion's prompt; `ids` are its tokens without those that the tokenizer puts before a text."""
    if "text" in prompt:
        return str(prompt["text"])
    text = GrowingText(texts, names=True)
    return "".join(map(text.push, ids))


# --- chat templates ---


def answer_beginning(tokenizer: PreTrainedTokenizerFast) -> str:
    """The text that the chat template writes before each message of the assistant; empty where it cannot be found."""
    user, answer = {"role": "user", "content": "QUESTION"}, {"role": "assistant", "content": "ANSWER"}
    try:
        asked = chat_text(tokenizer, [user], {"add_generation_prompt": False})
        added = chat_text(tokenizer, [user], {}).removeprefix(asked)
        if not added.strip():  # as of Mistral, whose template marks the end of a question instead
            told = chat_text(tokenizer, [user, answer], {"add_generation_prompt": False})
            added = told.partition("QUESTION")[2].partition("ANSWER")[0]
    except UnusableTemplate:
        return ""
    # Without a begin of the reasoning, which earlier messages may lack.
    return re.split(r"<think>|\[THINK\]|<\|channel>", added)[0].strip()


def chat_text(
    tokenizer: PreTrainedTokenizerFast, messages: Sequence[Mapping[str, Any]], options: Mapping[str, Any]
) -> str:
    """The messages as the model's own chat template writes them with `options`. Raises UnusableTemplate."""
    if not tokenizer.chat_template:
        raise UnusableTemplate("this model has no chat template: use /v1/completions")
    known = [_with_known_role(message, tokenizer.chat_template) for message in messages]
    text = _by_template(tokenizer, known, {"add_generation_prompt": True, **options})
    if len(text) > TEMPLATE_CHARACTERS:
        got = f"this model's chat template makes {len(text):,} characters of the messages"
        raise UnusableTemplate(f"{got}: expected at most {TEMPLATE_CHARACTERS:,}")
    return text


def _by_template(tokenizer: PreTrainedTokenizerFast, messages: list[dict[str, Any]], options: Mapping[str, Any]) -> str:
    """The text that the template makes of the messages.

    OpenAI has the arguments of called functions as a string with JSON. Most templates want an object instead; some want
    the string, and fail on an object or write it as Python does.
    """
    read = [_with_read_arguments(message) for message in messages]
    try:
        text = _rendered(tokenizer, read, options)
    except UnusableTemplate:
        if read != messages:
            with suppress(UnusableTemplate):  # else raise its error about objects, which most templates want
                return _rendered(tokenizer, messages, options)
        raise
    if any(str(arguments) in text for arguments in _objects(read)):
        with suppress(UnusableTemplate):
            return _rendered(tokenizer, messages, options)
    return text


def _rendered(tokenizer: PreTrainedTokenizerFast, messages: list[dict[str, Any]], options: Mapping[str, Any]) -> str:
    try:
        with _within(TEMPLATE_S):
            return str(tokenizer.apply_chat_template(messages, tokenize=False, **options))
    except Exception as error:  # a template is a foreign program: anything can be wrong with it
        words = str(error)[:1000]
        why = words if isinstance(error, TemplateError | TimeoutError) else f"{type(error).__name__}: {words}"
        raise UnusableTemplate(f"this model's chat template refuses the messages: {why}") from error


@contextmanager
def _within(seconds: float) -> Iterator[None]:
    """Raise TimeoutError in the template's code after `seconds`: Jinja has no bound for loops."""
    ends = time.monotonic() + seconds

    def trace(frame: FrameType, event: str, argument: Any) -> Any:
        if frame.f_code.co_filename != "<template>":
            return None
        if time.monotonic() > ends:
            raise TimeoutError(f"it took longer than {seconds:g} s")
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        yield
    finally:
        sys.settrace(before)


def _with_read_arguments(message: Mapping[str, Any]) -> dict[str, Any]:
    """The message with the arguments of its called functions as objects."""
    if "tool_calls" not in message:
        return dict(message)
    calls = [
        {**call, "function": {**call["function"], "arguments": _read(call["function"]["arguments"])}}
        for call in message["tool_calls"]
    ]
    return {**message, "tool_calls": calls}


def _read(arguments: str) -> Any:
    try:
        return json.loads(arguments or "{}")
    except (ValueError, RecursionError):
        return arguments  # a model wrote them: they need not be JSON


def _objects(messages: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """The arguments of calls that are objects and not empty."""
    every = [call["function"]["arguments"] for message in messages for call in message.get("tool_calls", [])]
    return [arguments for arguments in every if isinstance(arguments, dict) and arguments]


def _with_known_role(message: Mapping[str, Any], template: object) -> dict[str, Any]:
    """The message with the role `system` for OpenAI's newer `developer`, which few templates know."""
    is_unknown = message["role"] == "developer" and "developer" not in str(template)
    return dict(message) | ({"role": "system"} if is_unknown else {})
