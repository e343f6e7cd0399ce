"""The form of a model's answers: of its tokenizer, of its row, or found by its chat template."""

import logging
import re
from collections.abc import Mapping, Sequence
from typing import Any

from transformers import PreTrainedTokenizerFast
from transformers.utils.chat_parsing.response_templates import load_response_template

from inference.engine.forms.templates import CALLS, FORMS, NO_FORM, ONLY_REASONING, response_template
from inference.engine.forms.writing import Writing, writing_of
from inference.interface import Parsing

logger = logging.getLogger(__name__)

PLAIN_FORM = "hermes"
"""The form that a model is asked for whose chat template knows no tools."""
TOOLS, REASONS = re.compile(r"\btools\b"), re.compile(r"think>|\[/?THINK\]|<\|channel>")

TAGS = (("<think>", "</think>"), ("[THINK]", "[/THINK]"))

# A chat template that has all of these strings writes calls in this form; the first one counts.
MARKS = (
    ("deepseek", ("<｜tool▁call▁begin｜>",)),
    ("gemma4", ("<|tool_call>call:",)),
    ("mistral", ("[TOOL_CALLS]",)),
    ("qwen3_coder", ("<function=", "<parameter=")),
    ("phi4", ("<|/tool_call|>",)),
    ("phi4", ("functools",)),
    ("granite", ("<|tool_call|>",)),
    ("hermes", ("<tool_call>",)),
    ("llama3", ("<|python_tag|>",)),
    ("llama3", ("<|start_header_id|>", '"parameters"')),
)


class AnswerForms:
    """The forms of the answers of the model with `tokenizer`. Made once for a model."""

    def __init__(self, tokenizer: PreTrainedTokenizerFast) -> None:
        chat = chat_template(tokenizer)
        self._chat = chat
        self._own = _own_template(tokenizer)
        self._found = next((name for name, marks in MARKS if all(mark in chat for mark in marks)), "")
        self._reasons = bool(REASONS.search(chat))
        own_calls = any(name.startswith(CALLS) for name in self._own["fields"]) if self._own else False
        self._has_tools, self._knows_form = bool(TOOLS.search(chat)), bool(own_calls or self._found)
        self.knows_calls = "tool_calls" in chat
        """True where the chat template writes the calls of earlier messages."""

    def takes_tools(self, chosen: str) -> bool:
        """Return True if the chat template takes tools, and the form of the calls is known."""
        return self._has_tools and (bool(chosen) or self._knows_form)

    def writing(self, chosen: str) -> Writing | None:
        """How calls are written, for a grammar; None where answers cannot be held to the form."""
        form = (chosen or self._found) if self.takes_tools(chosen) else PLAIN_FORM
        return writing_of(form, self._chat)

    def reasoning_tags(self, chosen: str) -> tuple[str, str] | None:
        """The tags around the reasoning; None for a model that does not reason, or whose answers are not parsed."""
        if chosen == NO_FORM or not self._reasons:
            return None
        return next((tags for tags in TAGS if tags[0] in self._chat), TAGS[0])

    def parsing(self, chosen: str, tools: Sequence[Mapping[str, Any]], *, parallel: bool = True) -> Parsing | None:
        """How an answer is parsed; None where all of it is content.

        `chosen` is the form of the model's row, empty for that of the tokenizer or of the chat template.
        """
        if chosen == NO_FORM:
            return None
        is_plain = bool(tools) and not self.takes_tools(chosen)
        if self._own and not chosen and not is_plain:
            return Parsing(self._own, tuple(tools), parallel)
        reasoning = bool(chosen) or self._reasons
        if not (tools or reasoning):
            return None
        name = PLAIN_FORM if is_plain else chosen or self._found or ONLY_REASONING
        return Parsing(response_template(FORMS[name], reasoning=reasoning), tuple(tools), parallel)


def chat_template(tokenizer: PreTrainedTokenizerFast) -> str:
    """The chat template for requests with tools; empty where the tokenizer has none."""
    if not tokenizer.chat_template:
        return ""
    try:
        return str(tokenizer.get_chat_template(tools=[]))
    except ValueError:  # several templates, and none of them is for chats in general
        return ""


def _own_template(tokenizer: PreTrainedTokenizerFast) -> dict[str, Any] | None:
    """The tokenizer's own `response_template`, where it has one that transformers can read."""
    own = getattr(tokenizer, "response_template", None)
    if own is None:
        return None
    try:
        load_response_template(own)
    except Exception:  # it comes with the model, from anywhere
        logger.exception("the response_template of the tokenizer cannot be read: the chat template decides")
        return None
    return dict(own)
