"""What a chat asks of its prompt and its answer besides text: tools, the form of calls and reasoning, a grammar."""

from collections.abc import Sequence
from typing import Any

from transformers import PreTrainedTokenizerFast

from inference.broker.messages import GenerateMessage, Prompt
from inference.engine.detokenizer import TokenTexts
from inference.engine.forms.choice import AnswerForms
from inference.engine.forms.holding import Held
from inference.engine.forms.parser import AnswerParser
from inference.interface import InvalidTools, Parsing
from inference.worker.requests.prompts import UnusableTemplate, prompt_ids
from inference.worker.requests.tool_prompts import variants


class ChatParts:
    """The prompts and the parts of answers of the model with `tokenizer`, which reads tokens below `rows`."""

    def __init__(self, tokenizer: PreTrainedTokenizerFast, rows: int, texts: TokenTexts) -> None:
        self._tokenizer, self._rows, self._texts = tokenizer, rows, texts
        self._forms = AnswerForms(tokenizer)

    def prompt_ids(self, prompt: Prompt, message: GenerateMessage) -> list[int]:
        """The token ids of a prompt, with a chat's tools. Raises UnusableTemplate, InvalidPrompt or InvalidTools."""
        if "messages" not in prompt:
            return prompt_ids(self._tokenizer, prompt, self._rows)
        refused: UnusableTemplate | None = None
        for messages, options in variants(self._forms, prompt["messages"], _tools(message), message.answer_form):
            try:
                template = {**message.template, **options}
                return prompt_ids(self._tokenizer, {"messages": messages}, self._rows, template)
            except UnusableTemplate as error:
                refused = refused or error
        assert refused
        raise refused

    def of_answer(self, prompt: Prompt, message: GenerateMessage, ids: Sequence[int]) -> dict[str, Any]:
        """How the answer to a prompt, whose tokens are `ids`, is parsed and held: fields of a `GenerationRequest`.

        Raises InvalidTools.
        """
        tools, schema = _tools(message), message.answer_schema
        parsing: Parsing | None = None
        if message.parsed and "messages" in prompt:
            parsing = self._forms.parsing(message.answer_form, tools, parallel=message.parallel_tool_calls)
        if not (tools or schema):
            return {"parsing": parsing}
        if parsing is None and tools and message.tool_choice != "auto":
            raise InvalidTools("the calls of this model are not found in its answers: its row has the answer_form none")
        opened = parsing is not None and AnswerParser.after(parsing, self._texts, ids).is_reasoning
        held = Held(tools if parsing else [], message.tool_choice, message.parallel_tool_calls, schema, opened)
        grammar = held.grammar(self._forms, message.answer_form, self._texts.special)
        return {"parsing": parsing, **({"grammar": grammar} if grammar else {"schema": schema})}


def _tools(message: GenerateMessage) -> list[dict[str, Any]]:
    """The tools that the model may call."""
    return message.tools if message.tool_choice != "none" else []
