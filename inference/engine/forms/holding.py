"""The grammar that holds an answer to calls, as a request and the form of the model ask for it."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

from llguidance import LLMatcher

from inference.engine.forms.choice import AnswerForms
from inference.engine.forms.grammar import OPTIONS, CallGrammar, Reasoning
from inference.engine.forms.schemas import closed
from inference.interface import InvalidTools

NAMED = "function:"
LENIENT = {**OPTIONS, "lenient": True}
"""Options of llguidance for functions that are not strict: it ignores the keywords that it does not know."""
Tools = Sequence[Mapping[str, Any]]


@dataclass(frozen=True)
class Held:
    """What an answer is held to: the tools, the choice among them, and the JSON schema of its content, if any.

    `opened` is True where the prompt has opened the reasoning of the answer.
    """

    tools: Tools
    choice: str = "auto"
    parallel: bool = True
    schema: str | None = None
    opened: bool = False

    @property
    def is_free(self) -> bool:
        """True where no grammar of calls is needed."""
        is_strict = any(tool["function"].get("strict") for tool in self.tools)
        return self.choice in {"auto", "none"} and not is_strict and not (self.schema and (self.tools or self.opened))

    def grammar(self, forms: AnswerForms, form: str, special: Mapping[int, str]) -> str | None:
        """The grammar in llguidance's Lark; None where the answer is free, or held to its schema alone.

        `form` is that of the model's row. Raises InvalidTools.
        """
        if self.is_free:
            return None
        tags = forms.reasoning_tags(form)
        reasoning = Reasoning(*tags, opened=self.opened) if tags else None
        made = CallGrammar({name: token_id for token_id, name in special.items()}, reasoning)
        if not self.tools:
            assert self.schema
            return made.of_schema(self.schema)
        writing = forms.writing(form)
        if writing is None:
            raise InvalidTools("answers in this model's form cannot be held to a function: use tool_choice auto")
        name = self.choice.removeprefix(NAMED) if self.choice.startswith(NAMED) else None
        # A model that was not trained to call does not know when it has called enough.
        parallel = self.parallel and name is None and (self.choice == "auto" or forms.takes_tools(form))
        tools = [held(tool) for tool in self.tools if name in (None, tool["function"]["name"])]
        made = replace(made, writing=writing, tools=tools, parallel=parallel)
        return made.of_strict_calls(self.schema) if self.choice == "auto" else made.of_calls()


def held(tool: Mapping[str, Any]) -> dict[str, Any]:
    """The tool with parameters that llguidance can hold an answer to. Raises InvalidTools where a strict one has none.

    A function that is not strict may have any object as its arguments where its schema cannot be held.
    """
    function = tool["function"]
    is_strict = bool(function.get("strict"))
    parameters = {"x-guidance": OPTIONS if is_strict else LENIENT, **closed(function["parameters"])}
    if error := schema_error(json.dumps(parameters)):
        if is_strict:
            raise InvalidTools(f"the parameters of the strict function {function['name']} cannot be held: {error}")
        parameters = {"x-guidance": LENIENT, "type": "object"}
    return {**tool, "function": {**function, "parameters": parameters}}


@lru_cache(maxsize=512)
def schema_error(schema: str) -> str:
    """The reason why llguidance cannot hold an answer to `schema` (JSON text); empty where it can."""
    try:
        grammar = LLMatcher.grammar_from_json_schema(schema)
    except ValueError as error:
        return str(error)
    return str(LLMatcher.validate_grammar(grammar)).split("<state>")[0].strip()
