"""The items of a request's `input`. Source of the shapes: https://platform.openai.com/docs/api-reference/responses."""

from collections.abc import Iterable
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Discriminator, Field, Tag, field_validator

from inference.openai.fields.messages import FunctionCall, RefusalPart
from inference.responses.ids import item_id
from steering.validation import name_of

FAIL_FAST = Field(fail_fast=True)


class InputText(BaseModel):
    model_config = ConfigDict(strict=True)

    type: Literal["input_text", "output_text"]
    text: str


Part = Annotated[InputText | RefusalPart, Field(discriminator="type")]


class Item(BaseModel):
    """The base of all items; `status` and other fields that items of answers have are taken and change nothing."""

    model_config = ConfigDict(strict=True)

    type: str
    id: str | None = Field(None, min_length=1, max_length=200)

    def content_json(self) -> dict[str, Any]:
        """The fields besides `id` and `type`, as they are stored and listed."""
        raise NotImplementedError


class MessageItem(Item):
    type: Literal["message"] = "message"
    role: Literal["user", "assistant", "system", "developer"]
    content: str | Annotated[list[Part], FAIL_FAST] = Field(union_mode="left_to_right")

    def content_json(self) -> dict[str, Any]:
        parts = [InputText(type="input_text", text=self.content)] if isinstance(self.content, str) else self.content
        is_answer = self.role == "assistant"
        listed = [_answer_part(part) if is_answer else {"type": "input_text", "text": part.text} for part in parts]
        return {"role": self.role, "status": "completed", "content": listed}


def _answer_part(part: InputText | RefusalPart) -> dict[str, Any]:
    if isinstance(part, RefusalPart):
        return part.model_dump()
    return {"type": "output_text", "text": part.text, "annotations": []}


class CallItem(FunctionCall, Item):
    """A call of a function in an earlier answer."""

    type: Literal["function_call"]
    call_id: str = Field(min_length=1)

    def content_json(self) -> dict[str, Any]:
        return {"call_id": self.call_id, "name": self.name, "arguments": self.arguments, "status": "completed"}


class CallOutputItem(Item):
    """The result of a call."""

    type: Literal["function_call_output"]
    call_id: str = Field(min_length=1)
    output: str | Annotated[list[InputText], FAIL_FAST] = Field(union_mode="left_to_right")

    def content_json(self) -> dict[str, Any]:
        output = self.output if isinstance(self.output, str) else [part.model_dump() for part in self.output]
        return {"call_id": self.call_id, "output": output, "status": "completed"}


class SummaryText(BaseModel):
    model_config = ConfigDict(strict=True)

    type: Literal["summary_text"]
    text: str


class ReasoningText(BaseModel):
    model_config = ConfigDict(strict=True)

    type: Literal["reasoning_text"]
    text: str


class ReasoningItem(Item):
    """The reasoning of an earlier answer."""

    type: Literal["reasoning"]
    summary: Annotated[list[SummaryText], FAIL_FAST] = []
    content: Annotated[list[ReasoningText], FAIL_FAST] | None = None
    encrypted_content: None = None

    @field_validator("encrypted_content", mode="before")
    @classmethod
    def _readable(cls, value: object) -> None:
        if value is not None:
            raise ValueError("this server cannot read it: leave it out, and send the reasoning as `content`")

    def content_json(self) -> dict[str, Any]:
        return {
            "summary": [part.model_dump() for part in self.summary],
            "content": [part.model_dump() for part in self.content or []],
            "status": "completed",
        }


class ItemReference(BaseModel):
    """An item of an earlier response, which is stored."""

    model_config = ConfigDict(strict=True)

    type: Literal["item_reference"]
    id: str


TYPES = ("message", "function_call", "function_call_output", "reasoning", "item_reference")


def _type_of(value: Any) -> Any:
    """The type of an item; a message need not say that it is one."""
    if isinstance(value, dict):
        return value.get("type") or ("item_reference" if {*value} == {"id"} else "message")
    return getattr(value, "type", "message")


def _check_type(value: Any) -> Any:
    if not isinstance(value, dict | BaseModel):
        raise ValueError(f"expected an object, got {name_of(value)}")
    if isinstance(value, dict) and (kind := _type_of(value)) not in TYPES:
        got = f"items of the type {kind!r:.100} are not supported by this server"
        raise ValueError(f"{got}: expected {', '.join(TYPES)}")
    return {**value, "type": kind} if isinstance(value, dict) else value


InputItem = Annotated[
    Annotated[MessageItem, Tag("message")]
    | Annotated[CallItem, Tag("function_call")]
    | Annotated[CallOutputItem, Tag("function_call_output")]
    | Annotated[ReasoningItem, Tag("reasoning")]
    | Annotated[ItemReference, Tag("item_reference")],
    Discriminator(_type_of),
    BeforeValidator(_check_type),
]


def listed(items: Iterable[Item | dict[str, Any]], response_id: str, taken: Iterable[str] = ()) -> list[dict[str, Any]]:
    """Each item as it is stored and listed; items without an id, or with a `taken` one, get one of the response.

    Those that are dictionaries are such items already.
    """
    known, made = {*taken}, []
    for place, item in enumerate(items):
        fields = item if isinstance(item, dict) else {"id": item.id, "type": item.type, **item.content_json()}
        if not fields["id"] or fields["id"] in known:
            fields = {**fields, "id": item_id(fields["type"], response_id, place, of_input=True)}
        known.add(fields["id"])
        made.append(fields)
    return made
