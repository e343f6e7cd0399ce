"""The delimiters of calls and of the reasoning in the texts of a model, by the form of its answers."""

import re
from collections.abc import Collection, Iterator, Mapping
from typing import Any

from transformers import PreTrainedTokenizerFast
from transformers.utils.chat_parsing.response_templates import load_response_template

from inference.engine.detokenizer import TokenTexts
from inference.engine.forms.choice import AnswerForms
from inference.engine.forms.templates import CALLS, FORMS, REASONING, THINK
from inference.engine.steering.regions import CALL, Regions, Span
from inference.engine.steering.regions import REASONING as REASONING_REGION

ANY_TOOL = {"type": "function", "function": {"name": "any"}}
# Where the pattern of a form has more than the delimiter, such as the name of the function, that would be steered.
CALL_DELIMITERS: dict[str, tuple[tuple[str, str | None], ...]] = {
    "qwen3_coder": (("<tool_call>", "</tool_call>"), ("<function=", "</function>")),
    "mistral": (("[TOOL_CALLS]", None),),
    "deepseek": (("<｜tool▁calls▁begin｜>", "<｜tool▁calls▁end｜>"), ("<｜tool▁call▁begin｜>", "<｜tool▁call▁end｜>")),
    "gemma4": (("<|tool_call>", "<tool_call|>"),),
}
THINKING = Span(
    REASONING_REGION,
    re.compile(r"<think>|\[THINK\]|<\|channel>thought\n?"),
    re.compile(r"</think>|\[/THINK\]|<channel\|>"),
    is_first=True,
)
"""The delimiters of THINK. The end of a prompt is looked at without its last line break."""


class FormRegions:
    """Makes the regions of texts of the model with `tokenizer`, whose tokens have `texts`. Made once for a model.

    Its chat template writes `begins` before each message of the assistant; empty where that is unknown. The tokens
    `ends` end a message.
    """

    def __init__(
        self, tokenizer: PreTrainedTokenizerFast, texts: TokenTexts, ends: Collection[int], begins: str = ""
    ) -> None:
        self._forms, self._texts, self._ends = AnswerForms(tokenizer), texts, ends
        self._begins = re.compile(re.escape(begins)) if begins else None
        self._made: dict[str, Regions | None] = {}

    def of(self, chosen: str) -> Regions | None:
        """The regions by the form `chosen` of the model's row, empty for the model's own; None where it has none."""
        if chosen not in self._made:
            parsing = self._forms.parsing(chosen, [ANY_TOOL])
            self._made[chosen] = self._by(parsing.template) if parsing else None
        return self._made[chosen]

    def _by(self, template: Mapping[str, Any]) -> Regions:
        # The templates of the known forms have no anchor at the beginning of messages in general.
        is_known = any(template["fields"].get(name) == THINK[name] for name in THINK) or _form_of(template)
        begins = self._begins if is_known else load_response_template(dict(template)).start_anchor_re
        return Regions(self._texts, [*_spans(template)], begins, self._ends)


def _spans(template: Mapping[str, Any]) -> Iterator[Span]:
    """The delimiters in a `response_template`."""
    for opens, closes in CALL_DELIMITERS.get(_form_of(template), ()):
        yield Span(CALL, re.compile(re.escape(opens)), re.compile(re.escape(closes)) if closes else None)
    for name, field in load_response_template(dict(template)).fields.items():
        if field.open_re is None:
            continue
        if name.startswith(CALLS) and _form_of(template) not in CALL_DELIMITERS:
            yield Span(CALL, field.open_re, field.close_re)
        elif name in REASONING:
            is_known = template["fields"][name] == THINK.get(name)
            yield THINKING if is_known else Span(REASONING_REGION, field.open_re, field.close_re)


def _form_of(template: Mapping[str, Any]) -> str:
    """The name of the form whose calls the template has; empty where it is the tokenizer's own."""
    known = (name for name, fields in FORMS.items() if fields and fields.items() <= template["fields"].items())
    return next(known, "")
