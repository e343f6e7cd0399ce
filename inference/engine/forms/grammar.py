"""Grammars for answers with calls, in llguidance's dialect of Lark.

An answer is held to calls from its beginning (`required`, or a named function), or from the place where a call begins
(`auto`, with a strict function). Reasoning comes before both, and is free.
"""

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from typing import Any

from inference.engine.forms.schemas import Schema, is_text, properties_of, texts_of
from inference.engine.forms.writing import Writing
from inference.interface import InvalidTools

MAX_CALLS = 16
"""Calls in one answer that is held to calls: a steered model might call without end."""
WHITESPACE = r"[ \n\r\t]{1,16}"
"""Spaces between the tokens of JSON. Bounded, since a small model can repeat spaces without end."""
# vLLM pins an older llguidance, which ignores the pattern: there JSON has no free spaces.
BOUNDS_SPACES = tuple(map(int, version("llguidance").split(".")[:2])) >= (1, 8)
OPTIONS: dict[str, Any] = {"whitespace_pattern": WHITESPACE} if BOUNDS_SPACES else {"whitespace_flexible": False}
ANY, SPACE, EMPTY = "(?s:.*)", r"[ \n]", '""'
LLAMA_CALL = r'\s*\{\s*"(name|type|function)"\s*:'


@dataclass(frozen=True)
class Reasoning:
    """The tags around reasoning; `opened` is True where the prompt has opened the reasoning of this answer."""

    begin: str
    end: str
    opened: bool = False


@dataclass(frozen=True)
class CallGrammar:
    """Makes the grammars of an answer with calls of `tools`, which `writing` describes.

    `special` are the ids of the special tokens by their names. At most one call where not `parallel`.
    """

    special: Mapping[str, int]
    reasoning: Reasoning | None
    writing: Writing | None = None
    tools: Sequence[Mapping[str, Any]] = ()
    parallel: bool = True

    def of_calls(self) -> str:
        """The answer is calls."""
        return self._text("calls", self._calls())

    def of_strict_calls(self, schema: str | None) -> str:
        """The answer may call; its calls are held to their functions, and all else to `schema` (JSON text), if any.

        Raises InvalidTools where the grammar could not tell a call from the JSON of `schema`.
        """
        writing = self.writing
        assert writing
        is_bare = not (writing.begin or writing.head).startswith(writing.opening)  # as Llama 3 writes calls
        if schema is not None:
            called = f"{self._literal(writing.opening)} calls" if is_bare else "calls"
            if is_bare and writing.opening not in self.special:
                raise InvalidTools("this model's calls are bare JSON: send response_format or tools, not both")
            return self._text(f"(answer | {called})", [*self._calls(), f"answer: {as_json(json.loads(schema))}"])
        if is_bare:
            follows = f" ({self._literal(writing.opening)} calls)?" if writing.opening in self.special else ""
            spaced = f" & ~{_regex(SPACE + ANY)}" if self.reasoning else ""  # which the rule of spaces takes
            free = f"FREE: {_regex(ANY)} & ~{_regex(LLAMA_CALL + ANY)}{spaced}{self._unreasoned()}"
            return self._text(f"(calls | FREE{follows})", [*self._calls(), free])
        free = f"FREE: {_regex(ANY)}{self._unreasoned()}"
        rules = [*self._calls(), *self._opening(writing.opening), *self._opened(writing), free]
        if not self.parallel:
            return self._text("(FREE | opening opened)", rules)
        if writing.is_last:
            again = "" if writing.begin else f" ({self._literal(writing.opening)} opened){{0,{MAX_CALLS - 1}}}"
            return self._text(f"(FREE | opening opened{again})", rules)
        return self._text("(opening opened)* FREE", rules)

    def of_schema(self, schema: str) -> str:
        """The answer is JSON of `schema` (JSON text), after its reasoning."""
        return self._text("answer", [f"answer: {as_json(json.loads(schema))}"])

    # --- the parts of a grammar ---

    def _text(self, answer: str, rules: Sequence[str]) -> str:
        thinking = self.reasoning
        if thinking is None:
            return "\n".join(["%llguidance {}", f"start: {answer}", *rules])
        end = self._literal(thinking.end)
        is_special = thinking.end in self.special
        thought = f"thought: ANYTHING {end}" if is_special else f"thought[lazy]: {_regex(ANY, thinking.end)}"
        begin = "thought spaces" if thinking.opened else "(think spaces)?"
        own = [
            thought,
            *([f"ANYTHING: {_regex(ANY)}"] if is_special else []),
            *([] if thinking.opened else [f"think: {self._literal(thinking.begin)} thought"]),
            "spaces: SPACES?",
            f"SPACES: /{SPACE}{{1,4}}/",
        ]
        return "\n".join(["%llguidance {}", f"start: {begin} {answer}", *own, *rules])

    def _unreasoned(self) -> str:
        """What keeps free text from beginning as reasoning does."""
        if self.reasoning is None or self.reasoning.begin in self.special:
            return ""
        return f" & ~{_regex(chr(92) + 's*', self.reasoning.begin, ANY)}"

    def _opening(self, opening: str) -> Iterator[str]:
        """The rules of text up to the beginning of a call."""
        if opening in self.special:
            yield f"opening: FREE {self._literal(opening)}"
        else:
            yield "opening[lazy]: OPENING"
            yield f"OPENING: {_regex(ANY, opening)}{self._unreasoned()}"

    def _calls(self) -> list[str]:
        """The rules of calls from their beginning."""
        writing = self.writing
        assert writing
        each = self._each("call", writing.head, writing.tail)
        parameters = [tool["function"]["parameters"] for tool in self.tools]
        arguments = [rule for at, one in enumerate(parameters) for rule in self._arguments(at, one)]
        several = f" ({self._literal(writing.between)} call){{0,{MAX_CALLS - 1}}}" if self.parallel else ""
        return [
            f"calls: {self._literal(writing.begin)} call{several} {self._literal(writing.end)}",
            f"call: {' | '.join(f'call_{at}' for at in range(len(each)))}",
            *each,
            *arguments,
        ]

    def _opened(self, writing: Writing) -> list[str]:
        """The rules of what follows the beginning of a call."""
        if writing.begin:
            several = f" ({self._literal(writing.between)} call){{0,{MAX_CALLS - 1}}}" if self.parallel else ""
            begin = self._literal(writing.begin.removeprefix(writing.opening))
            return [f"opened: {begin} call{several} {self._literal(writing.end)}"]
        each = self._each("opened", writing.head.removeprefix(writing.opening), writing.tail)
        return [f"opened: {' | '.join(f'opened_{at}' for at in range(len(each)))}", *each]

    def _each(self, rule: str, head: str, tail: str) -> list[str]:
        """A rule for each function: its name in `head`, its arguments, `tail`."""
        end = self._literal(tail)
        heads = [self._literal(head.replace("{name}", tool["function"]["name"])) for tool in self.tools]
        return [f"{rule}_{at}: {begin} arguments_{at} {end}" for at, begin in enumerate(heads)]

    def _arguments(self, at: int, parameters: Schema) -> Iterator[str]:
        """The rules of the arguments of the tool `at`."""
        assert self.writing
        if not self.writing.is_xml:
            yield f"arguments_{at}: {as_json({'type': 'object', **parameters})}"
            return
        required = parameters.get("required", [])
        own = properties_of(parameters)
        each = [f"argument_{at}_{n}{'' if name in required else '?'}" for n, name in enumerate(own)]
        yield f"arguments_{at}: {' '.join(each) or EMPTY}"
        for n, (name, schema) in enumerate(own.items()):
            yield from self._argument(f"{at}_{n}", name, schema, parameters)

    def _argument(self, at: str, name: str, schema: Schema, root: Schema) -> Iterator[str]:
        """The rules of one argument in tags."""
        begin, end = json.dumps(f"<parameter={name}>\n", ensure_ascii=False), "\n</parameter>\n"
        if texts := texts_of(schema):
            values = " | ".join(json.dumps(one + end, ensure_ascii=False) for one in texts)
            yield f"argument_{at}: {begin} ({values})"
        elif is_text(schema, root):
            least, most = schema.get("minLength", 0), schema.get("maxLength", "")
            yield f"argument_{at}: {begin} text_{at}"
            yield f"text_{at}[lazy]: {_regex(f'(?s:.){{{least},{most}}}', end)}"
        else:
            shared = {key: root[key] for key in ("x-guidance", "$defs", "definitions") if key in root}
            yield f"argument_{at}: {begin} value_{at} {json.dumps(end)}"
            yield f"value_{at}: {as_json({**shared, **schema})}"

    def _literal(self, text: str) -> str:
        """A text as terms of a rule: its special tokens by their ids."""
        named = sorted((name for name in self.special if name in text), key=len, reverse=True)
        pieces = re.split("(" + "|".join(map(re.escape, named)) + ")", text) if named else [text]
        terms = [f"<[{self.special[one]}]>" if one in self.special else _quoted(one) for one in pieces if one]
        return " ".join(terms)


def as_json(schema: Schema) -> str:
    """JSON of `schema` as a term of a rule."""
    return "%json " + json.dumps({"x-guidance": OPTIONS, **schema})


def _quoted(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)


def _regex(pattern: str, *then: str) -> str:
    """A regular expression as a terminal: `pattern`, then texts, the last of which may be `ANY`."""
    parts = [pattern, *(one if one == ANY else _escaped(one) for one in then)]
    return "/" + "".join(parts).replace("/", r"\/") + "/"


def _escaped(text: str) -> str:
    return "".join("\\" + one if one in r"\.+*?()|[]{}^$#&-~" else {"\n": r"\n"}.get(one, one) for one in text)
