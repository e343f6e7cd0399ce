"""The parts of one answer while it grows: content, reasoning and calls.

transformers' `ResponseParser` finds the delimiters. What it takes for a call is reported once it is whole and names a
known function; else it is content, as the model wrote it. Spaces between parts belong to the form, not to the content.
"""

import re
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from typing import Any

from transformers.utils.chat_parsing import ResponseParser
from transformers.utils.chat_parsing.response_templates import (
    ResponseTemplate,
    ResponseTemplateField,
    load_response_template,
)

from inference.engine.detokenizer import GrowingText, TokenTexts
from inference.engine.forms.calls import Call, calls_in
from inference.engine.forms.schemas import properties_of
from inference.engine.forms.templates import CALLS, PARAMETER, REASONING, SEPARATOR
from inference.interface import Parsing

Part = dict[str, str]
CONTENT_PART, REASONING_PART, CALL_PART = "content", "reasoning", "call"
PROMPT_TOKENS = 256
"""The tokens at the end of a prompt in which the beginning of the answer is looked for."""


class AnswerParser:
    """Parses one answer as `parsing` says; `prompt` is the end of its prompt, with the names of special tokens."""

    def __init__(self, parsing: Parsing, prompt: str = "") -> None:
        template = load_response_template(fields_in_use(parsing))
        self._regions = _Regions(template, begun(template, prompt), parsing.tools)
        self._names = {str(tool["function"]["name"]) for tool in parsing.tools}
        self._parallel, self._holds_spaces = parsing.parallel, bool(self._names)
        self._at = 0
        self._spaces, self._is_after_region = "", False
        self.region = CONTENT_PART
        """The kind of the part that the answer is in: content, reasoning or call."""
        self.calls = 0
        """The number of calls that were reported."""
        for event in self._regions.initial_events:
            self._enter(event)

    @classmethod
    def after(cls, parsing: Parsing, texts: TokenTexts, prompt_ids: Sequence[int]) -> "AnswerParser":
        """The parser of the answer to a prompt."""
        text = GrowingText(texts, names=True)
        return cls(parsing, "".join(map(text.push, prompt_ids[-PROMPT_TOKENS:])))

    @property
    def is_reasoning(self) -> bool:
        return self.region == REASONING_PART

    @property
    def is_over(self) -> bool:
        """True after a call where the request takes no second one."""
        return bool(self.calls) and not self._parallel

    def push(self, text: str) -> list[Part]:
        """The parts that are final with `text`, in the order of the answer."""
        return joined(self._parts(self._regions.feed(text))) if text else []

    def finish(self) -> list[Part]:
        """The parts that were held back, at the end of the answer."""
        parts = [*self._parts(self._regions.finalize()[1])]
        if self.region == CONTENT_PART and not self._is_after_region:
            parts += self._text(CONTENT_PART, self._spaces)
        self._spaces = ""
        return joined(parts)

    def _parts(self, events: Iterable[Mapping[str, Any]]) -> Iterator[Part]:
        for event in events:
            if self.is_over:
                return
            field = event["field"]
            if event["type"] == "region_open":
                self._enter(event)
            elif event["type"] == "region_chunk" and not field.startswith((CALLS, SEPARATOR)):
                yield from self._grown(event["text"])
            elif event["type"] == "region_close":
                yield from self._left(field, event)

    def _enter(self, event: Mapping[str, Any]) -> None:
        field = event["field"]
        if event["type"] == "region_close":
            self.region = CONTENT_PART
        elif event["type"] == "region_open":
            self._at = event.get("start", 0)
            if field in REASONING:
                self.region, self._is_after_region, self._spaces = REASONING_PART, True, ""
            elif field.startswith(CALLS):
                self.region = CALL_PART

    def _left(self, field: str, event: Mapping[str, Any]) -> Iterator[Part]:
        raw = self._regions.text(self._at, event["end"])
        if field in REASONING:
            self._leave()
        elif field == SEPARATOR and not (self.calls and self._is_after_region):
            yield from self._as_text(raw)
        elif field.startswith(CALLS):
            calls = calls_in(event["value"])
            self.region = CONTENT_PART
            if calls and all(call.name in self._names for call in calls):
                yield from self._called(calls if self._parallel else calls[:1])
            else:
                yield from self._as_text(raw)

    def _leave(self) -> None:
        self.region, self._is_after_region, self._spaces = CONTENT_PART, True, ""

    def _called(self, calls: list[Call]) -> Iterator[Part]:
        self._leave()
        self.calls += len(calls)
        for call in calls:
            yield {"kind": CALL_PART, "name": call.name, "arguments": call.arguments}

    def _as_text(self, raw: str) -> Iterator[Part]:
        """What looked like a part of its own and is content."""
        self._is_after_region = False
        yield from self._grown(raw)

    def _grown(self, text: str) -> Iterator[Part]:
        """Text of the content or of the reasoning, but for spaces at its ends that may be the form's."""
        if self._is_after_region:
            text = text.lstrip()
            self._is_after_region = not text
        if self.region == REASONING_PART or self._holds_spaces:
            text = self._spaces + text
            self._spaces = text[len(text.rstrip()) :]
            text = text.rstrip()
        yield from self._text(self.region, text)

    @staticmethod
    def _text(kind: str, text: str) -> Iterator[Part]:
        if text:
            yield {"kind": kind, "text": text}


class _Regions(ResponseParser):
    """transformers' parser, whose events have the places of the delimiters, and None for what cannot be read."""

    _body_at = 0

    def __init__(self, template: ResponseTemplate, prefix: str, tools: Collection[Mapping[str, Any]]) -> None:
        self._given = len(prefix)
        super().__init__(template, prefix=prefix, tools=[_resolved(tool) for tool in tools])

    def text(self, start: int, end: int) -> str:
        """The text from `start` to `end`, without what the prompt has of it."""
        return str(self._buffer[max(start, self._given) : end])

    def _open_explicit(self, events: list[dict[str, Any]], field: ResponseTemplateField, m: Any) -> None:
        super()._open_explicit(events, field, m)
        events[-1]["start"], self._body_at = m.start(), m.end()

    def _close_current(self, events: list[dict[str, Any]]) -> None:
        name, body, before = self._current, self._body, len(events)
        try:
            super()._close_current(events)
        except Exception:  # a model wrote it: whatever is wrong with it, it is no call
            events.append({"type": "region_close", "field": name, "value": None})
            self._reset_to_implicit()
        for event in events[before:]:
            event["end"] = self._pos
            if not self._is_whole(self._spec.fields[event["field"]], body):
                event["value"] = None

    def _is_whole(self, field: ResponseTemplateField, body: str) -> bool:
        """False where the parser of `field` takes a part of a call for a whole one, since it ignores what it misses."""
        if field.content not in ("xml-inline", "kv-lines"):
            return True
        is_cut = self._body_at + len(body) == self._pos
        pattern = field.content_args.get("tag_pattern")
        return not is_cut and (pattern != PARAMETER or not re.sub(pattern, "", body, flags=re.DOTALL).strip())


def _resolved(tool: Mapping[str, Any]) -> dict[str, Any]:
    """The tool with the types of its parameters, which a reference hides from transformers."""
    function = tool["function"]
    parameters = function.get("parameters") or {}
    return {"function": {**function, "parameters": {**parameters, "properties": properties_of(parameters)}}}


def fields_in_use(parsing: Parsing) -> dict[str, Any]:
    """The template of `parsing`, without calls where the request has no tools: then a call is text."""
    fields = parsing.template["fields"]
    used = {name: field for name, field in fields.items() if parsing.tools or not name.startswith(CALLS)}
    return {**parsing.template, "fields": used}


def tokens_in_use(parsing: Parsing, special: Mapping[int, str]) -> set[int]:
    """The special tokens whose names are in the template: delimiters, or parts of them."""
    known = "".join(_strings(fields_in_use(parsing))).replace("\\", "")
    return {token_id for token_id, name in special.items() if name in known}


def _strings(value: Any) -> Iterator[str]:
    """The strings in a template, each in a line of its own."""
    if isinstance(value, str):
        yield value + "\n"
    elif isinstance(value, Mapping | list):
        for one in value.values() if isinstance(value, Mapping) else value:
            yield from _strings(one)


def begun(template: ResponseTemplate, prompt: str) -> str:
    """The part of the answer that the chat template has written already, at the end of `prompt`."""
    begins = [found.end() for found in template.start_anchor_re.finditer(prompt)]
    part = prompt[begins[-1] :] if begins else ""
    return part + "\n" if part and not part[-1].isspace() else part  # a pattern is sure of its end by what follows


def joined(parts: Iterable[Part]) -> list[Part]:
    """The same parts, neighbours of one kind of text as one."""
    found: list[Part] = []
    for part in parts:
        if found and "text" in part and found[-1]["kind"] == part["kind"]:
            found[-1] = {**part, "text": found[-1]["text"] + part["text"]}
        else:
            found.append(part)
    return found
