"""The body of a chat request, checked. Shapes from https://platform.openai.com/docs/api-reference/chat/create."""

import secrets
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, StrictInt, ValidationError, field_validator

from inference.generation import SamplingParams
from inference.openai.errors import OpenAIError

Number = Annotated[float, Field(strict=False)]
"""An int or a float; `strict` on the model still refuses strings and booleans (see `_no_booleans`)."""

# Fields of the API that would change the answer and that we do not honour yet: any other value is refused.
NEUTRAL: dict[str, tuple[Any, ...]] = {
    "tools": ([],),
    "tool_choice": ("none", "auto"),
    "functions": ([],),
    "function_call": ("none", "auto"),
    "logprobs": (False,),
    "top_logprobs": (0,),
    "logit_bias": ({},),
    "presence_penalty": (0,),
    "frequency_penalty": (0,),
    "response_format": ({"type": "text"},),
    "modalities": (["text"],),
    "audio": (),
    "prediction": (),
    "web_search_options": (),
    "n": (1,),
}


class TextPart(BaseModel):
    model_config = ConfigDict(strict=True)

    type: Literal["text"]
    text: str


class Message(BaseModel):
    model_config = ConfigDict(strict=True)

    role: Literal["system", "developer", "user", "assistant", "tool"]
    content: str | list[TextPart] | None = None

    def as_text(self) -> dict[str, str]:
        if isinstance(self.content, list):
            return {"role": self.role, "content": "".join(part.text for part in self.content)}
        return {"role": self.role, "content": self.content or ""}


class StreamOptions(BaseModel):
    model_config = ConfigDict(strict=True)

    include_usage: bool = False


class ChatRequest(BaseModel):
    """A chat request. `profile` names the profile to activate, for everyone, before the answer."""

    model_config = ConfigDict(strict=True, allow_inf_nan=False, extra="allow")

    model: str = Field(min_length=1)
    messages: list[Message] = Field(min_length=1)
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    max_tokens: StrictInt | None = Field(None, ge=1)
    max_completion_tokens: StrictInt | None = Field(None, ge=1)
    temperature: Number | None = Field(None, ge=0, le=2)
    top_p: Number | None = Field(None, ge=0, le=1)
    top_k: StrictInt | None = Field(None, ge=0, le=2**31 - 1)
    min_p: Number | None = Field(None, ge=0, le=1)
    seed: StrictInt | None = Field(None, ge=-(2**63), lt=2**63)
    stop: str | list[str] | None = None
    profile: str | None = Field(None, min_length=1)

    @field_validator("temperature", "top_p", "min_p", mode="before")
    @classmethod
    def _no_booleans(cls, value: Any) -> Any:
        if isinstance(value, bool | str):
            raise ValueError(f"got {value!r}, expected a number")
        return value

    @field_validator("stop")
    @classmethod
    def _up_to_four(cls, value: str | list[str] | None) -> str | list[str] | None:
        stops = [value] if isinstance(value, str) else value or []
        if len(stops) > 4 or not all(stops):
            raise ValueError("expected up to 4 non-empty strings")
        return value

    @classmethod
    def parse(cls, body: bytes) -> "ChatRequest":
        """The request in `body`. Raises OpenAIError 400 naming the first field that is wrong."""
        try:
            request = cls.model_validate_json(body)
        except ValidationError as error:
            first = error.errors(include_url=False, include_context=False)[0]
            param = ".".join(str(part) for part in first["loc"]) or None
            where = f"{param}: " if param else "The body: "
            raise OpenAIError(400, where + first["msg"], param=param, code="invalid_request") from error
        request._refuse_unsupported()
        return request

    def _refuse_unsupported(self) -> None:
        for name, neutral in NEUTRAL.items():
            value = (self.model_extra or {}).get(name)
            if value is not None and value not in neutral:
                message = f"{name} is not supported by this server: leave it out"
                raise OpenAIError(400, message, param=name, code="unsupported_parameter")

    @property
    def token_limit(self) -> int | None:
        return self.max_completion_tokens if self.max_completion_tokens is not None else self.max_tokens

    @property
    def stops(self) -> list[str]:
        return [self.stop] if isinstance(self.stop, str) else self.stop or []

    @property
    def wants_usage_chunk(self) -> bool:
        return bool(self.stream_options and self.stream_options.include_usage)

    def sampling(self) -> SamplingParams:
        """OpenAI's defaults: temperature 1, top_p 1; without a seed a random one."""
        return SamplingParams(
            temperature=1.0 if self.temperature is None else self.temperature,
            top_p=1.0 if self.top_p is None else self.top_p,
            top_k=self.top_k or 0,
            min_p=self.min_p or 0.0,
            seed=secrets.randbits(63) if self.seed is None else self.seed,
        )
