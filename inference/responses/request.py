"""The checked body of `POST /v1/responses`."""

from collections.abc import Mapping, Sequence, Set
from typing import Annotated, Any, ClassVar

from pydantic import Field, PrivateAttr, StrictInt, field_validator

from inference.broker.messages import ChatPrompt
from inference.openai.fields.options import TemplateVariables
from inference.openai.fields.prompts import Several
from inference.openai.requests import AnswerRequest
from inference.responses.conversation import messages_of
from inference.responses.items import InputItem, ItemReference, MessageItem, listed
from inference.responses.options import LOGPROBS, Include, ObfuscationOptions, ReasoningOptions, TextOptions
from inference.responses.parameters import HARMLESS, NEUTRAL
from inference.responses.tools import FlatToolFields

MAX_METADATA = 16
Metadata = dict[Annotated[str, Field(max_length=64)], Annotated[str, Field(max_length=512)]]


class ResponseRequest(FlatToolFields, AnswerRequest):
    """POST /v1/responses. `place` must be called before `prompts` is read."""

    NEUTRAL: ClassVar[Mapping[str, tuple[Any, ...]]] = NEUTRAL
    HARMLESS: ClassVar[Set[str]] = HARMLESS

    input: str | Annotated[list[InputItem], Several] = Field(union_mode="left_to_right")
    instructions: str | None = None
    stream_options: ObfuscationOptions | None = None
    previous_response_id: str | None = None
    store: bool | None = None
    metadata: Metadata | None = None
    max_output_tokens: StrictInt | None = Field(None, ge=1)
    text: TextOptions | None = None
    reasoning: ReasoningOptions | None = None
    include: Annotated[list[Include], Field(fail_fast=True)] | None = None
    top_logprobs: StrictInt | None = Field(None, ge=0, le=20)
    chat_template_kwargs: TemplateVariables | None = None

    _messages: list[dict[str, Any]] = PrivateAttr([])

    @field_validator("metadata")
    @classmethod
    def _not_too_many(cls, value: Metadata | None) -> Metadata | None:
        if len(value or {}) > MAX_METADATA:
            raise ValueError(f"got {len(value or {})} entries, expected at most {MAX_METADATA}")
        return value

    # --- the conversation ---

    @property
    def stores(self) -> bool:
        """True where the response is stored, as it is unless the client says no."""
        return self.store is not False

    @property
    def references(self) -> list[str]:
        """The ids of stored items in `input`."""
        return [item.id for item in self._given if isinstance(item, ItemReference)]

    def place(
        self, response_id: str, history: Sequence[Mapping[str, Any]], referenced: Mapping[str, Mapping[str, Any]]
    ) -> list[dict[str, Any]]:
        """Put the request after the items of `history`; return its own items as they are stored and listed.

        `referenced` has the stored items of `references`. Raises UnknownCall.
        """
        given = [dict(referenced[one.id]) if isinstance(one, ItemReference) else one for one in self._given]
        items = listed(given, response_id, [item["id"] for item in history])
        self._messages = messages_of([*history, *items], self.instructions)
        return items

    @property
    def _given(self) -> Sequence[InputItem]:
        return [MessageItem(id=None, role="user", content=self.input)] if isinstance(self.input, str) else self.input

    # --- the message to a worker ---

    @property
    def prompts(self) -> list[ChatPrompt]:
        return [{"messages": self._messages}]

    @property
    def token_limit(self) -> int | None:
        return self.max_output_tokens

    @property
    def alternatives(self) -> int | None:
        is_asked = LOGPROBS in (self.include or []) or self.top_logprobs
        return (self.top_logprobs or 0) if is_asked else None

    @property
    def template(self) -> dict[str, Any]:
        by_effort = self.reasoning.template if self.reasoning else {}
        return {**by_effort, **(self.chat_template_kwargs or {}), "add_generation_prompt": True}

    @property
    def parts(self) -> dict[str, Any]:
        return {"parsed": True, **self.tool_message}

    @property
    def answer_schema(self) -> str | None:
        return self.text.format.schema_text if self.text and self.text.format else None

    # --- the response ---

    def echo(self) -> dict[str, Any]:
        """The fields that a response repeats."""
        return {
            "background": False,
            "instructions": self.instructions,
            "max_output_tokens": self.max_output_tokens,
            "metadata": self.metadata or {},
            "previous_response_id": self.previous_response_id,
            "reasoning": {"effort": self.reasoning.effort if self.reasoning else None, "summary": None},
            "store": self.stores,
            "text": (self.text or TextOptions()).as_json(),
            **self.tools_as_json(),
            "top_logprobs": self.top_logprobs or 0,
            "truncation": "disabled",
        }
