"""The checked bodies of requests. Shapes from https://platform.openai.com/docs/api-reference."""

import re
import secrets
from collections.abc import Mapping, Sequence, Set
from typing import Annotated, Any, ClassVar, Literal, Self

from django.conf import settings
from pydantic import BaseModel, ConfigDict, Field, StrictInt, ValidationError, field_validator, model_validator

from inference.broker.messages import ChatPrompt, Prompt
from inference.interface import SamplingParams
from inference.openai.errors import OpenAIError
from inference.openai.fields.messages import Message
from inference.openai.fields.options import AnswerActivations, OwnSteering, StreamOptions, TemplateVariables
from inference.openai.fields.parameters import HARMLESS, NEUTRAL, unsupported
from inference.openai.fields.prompts import Prompts, Several, as_prompts, check_number
from inference.openai.fields.response_format import ResponseFormat
from inference.openai.fields.tools import ToolFields
from inference.openai.validation import as_openai_error
from steering import strict_json
from steering.document.steering import MAX_INTENSITY

TOKEN_ID = re.compile(r"[0-9]{1,9}\Z")
MAX_BIASES, STOP_LENGTH = 10_000, 1000  # the engine compares the end of a text with the stop strings at each token


class Body(BaseModel):
    """The base of all requests: the model, and the parser."""

    model_config = ConfigDict(strict=True, allow_inf_nan=False, extra="allow")

    NEUTRAL: ClassVar[Mapping[str, tuple[Any, ...]]] = NEUTRAL
    HARMLESS: ClassVar[Set[str]] = HARMLESS

    model: str = Field(min_length=1)

    @classmethod
    def parse(cls, body: bytes, *, strict: bool = False) -> Self:
        """Read `body`; `strict` refuses unknown fields. Raises OpenAIError 400, which names the first wrong field."""
        try:
            strict_json.loads(body)  # of two equal keys pydantic keeps the last
            request = cls.model_validate_json(body)
        except ValidationError as error:
            raise as_openai_error(error) from error
        except ValueError as error:
            raise OpenAIError(400, f"The body is not JSON: {error}", code="invalid_request") from error
        request._refuse_unsupported()
        unknown = sorted(set(request.model_extra or {}) - {*cls.NEUTRAL, *cls.HARMLESS})
        if strict and unknown:
            message = f"{unknown[0]} is unknown: correct its name, or leave it out"
            raise OpenAIError(400, message, param=unknown[0], code="unknown_parameter")
        return request

    def _refuse_unsupported(self) -> None:
        if name := unsupported(self.model_extra or {}, self.NEUTRAL):
            message = f"{name} is not supported by this server: leave it out"
            raise OpenAIError(400, message, param=name, code="unsupported_parameter")


class AnswerRequest(Body):
    """The fields that all requests for an answer share.

    `profile` names the profile to activate, for everyone, before the answer.
    """

    stream: bool | None = None
    temperature: float | None = Field(None, ge=0, le=2)
    top_p: float | None = Field(None, ge=0, le=1)
    top_k: StrictInt | None = Field(None, ge=-1, le=2**31 - 1)
    min_p: float | None = Field(None, ge=0, le=1)
    seed: StrictInt | None = Field(None, ge=-(2**63), lt=2**63)
    presence_penalty: float | None = Field(None, ge=-2, le=2)
    frequency_penalty: float | None = Field(None, ge=-2, le=2)
    repetition_penalty: float | None = Field(None, ge=0.01, le=10)
    logit_bias: dict[str, Annotated[float, Field(ge=-100, le=100)]] | None = None
    stop: str | Annotated[list[str], Field(fail_fast=True)] | None = None
    profile: str | None = Field(None, min_length=1)
    steering: OwnSteering | None = None
    intensity: float | None = Field(None, ge=0, le=MAX_INTENSITY)
    """Scales the steering of this request alone; a profile that it activates is activated as it is."""
    activations: AnswerActivations | None = None

    @field_validator("stop")
    @classmethod
    def _up_to_four(cls, value: str | list[str] | None) -> str | list[str] | None:
        stops = [value] if isinstance(value, str) else value or []
        if len(stops) > 4 or not all(stops):
            raise ValueError("expected up to 4 non-empty strings")
        if (longest := max(map(len, stops), default=0)) > STOP_LENGTH:
            raise ValueError(f"got a string of {longest} characters, expected at most {STOP_LENGTH}")
        return value

    @field_validator("logit_bias", mode="before")
    @classmethod
    def _not_too_many(cls, value: Any) -> Any:
        if isinstance(value, dict) and len(value) > MAX_BIASES:
            raise ValueError(f"got {len(value)} tokens, expected at most {MAX_BIASES}")
        return value

    @field_validator("logit_bias")
    @classmethod
    def _of_tokens(cls, value: dict[str, float] | None) -> dict[str, float] | None:
        for key in value or {}:
            if not TOKEN_ID.match(key):
                raise ValueError(f"got the token {key!r:.100}, expected a token id")
        if len({int(key) for key in value or {}}) < len(value or {}):
            raise ValueError("a token id is given twice")
        return value

    @property
    def prompts(self) -> Sequence[Prompt]:
        """The prompts, in the form of the message to a worker."""
        raise NotImplementedError

    @property
    def token_limit(self) -> int | None:
        """The longest answer in tokens, None for what the context leaves; clients write -1 for that too, some 0."""
        raise NotImplementedError

    @property
    def alternatives(self) -> int | None:
        """The number of alternatives to each token; None asks for no log-probabilities."""
        raise NotImplementedError

    @property
    def answer_schema(self) -> str | None:
        """The JSON schema of the answer, as JSON; None for any text."""
        return None

    @property
    def template(self) -> dict[str, Any]:
        """Options of the chat template: see `inference.worker.requests.prompts.prompt_ids`."""
        return {}

    @property
    def parts(self) -> dict[str, Any]:
        """The fields of the message to a worker that are about the parts of the answer."""
        return {}

    @property
    def stops(self) -> list[str]:
        return [self.stop] if isinstance(self.stop, str) else self.stop or []

    @property
    def choices(self) -> int:
        """Answers to each prompt."""
        return 1

    def sampling(self, defaults: Mapping[str, float]) -> SamplingParams:
        """What the request names, else the model's `defaults`, else OpenAI's: temperature 1, top_p 1.

        Without a seed a random one.
        """

        def chosen(name: str, otherwise: float) -> float:
            given: float | None = getattr(self, name)
            return defaults.get(name, otherwise) if given is None else given

        return SamplingParams(
            temperature=chosen("temperature", 1.0),
            top_p=chosen("top_p", 1.0),
            top_k=max(int(chosen("top_k", 0)), 0),  # vLLM writes -1 for all
            min_p=chosen("min_p", 0.0),
            seed=secrets.randbits(62) if self.seed is None else self.seed,
            presence_penalty=self.presence_penalty or 0.0,
            frequency_penalty=self.frequency_penalty or 0.0,
            repetition_penalty=chosen("repetition_penalty", 1.0),
            logit_bias=tuple((int(key), float(bias)) for key, bias in (self.logit_bias or {}).items()),
        )


class ChoicesRequest(AnswerRequest):
    """The fields that a chat and a completion share."""

    stream_options: StreamOptions | None = None
    max_tokens: StrictInt | None = Field(None, ge=-1)
    n: StrictInt | None = Field(None, ge=1)

    @field_validator("n")
    @classmethod
    def _within_bound(cls, value: int | None) -> int | None:
        if (value or 1) > settings.INFERENCE_MAX_CHOICES:
            raise ValueError(f"got {value}, expected at most {settings.INFERENCE_MAX_CHOICES}")
        return value

    @property
    def choices(self) -> int:
        return self.n or 1

    @property
    def wants_usage_chunk(self) -> bool:
        return bool(self.stream_options and self.stream_options.include_usage)


class ChatRequest(ToolFields, ChoicesRequest):
    """POST /v1/chat/completions."""

    messages: Annotated[list[Message], Several]
    max_completion_tokens: StrictInt | None = Field(None, ge=-1)
    logprobs: bool | None = None
    top_logprobs: StrictInt | None = Field(None, ge=0, le=20)
    response_format: ResponseFormat | None = None
    continue_final_message: bool | None = None
    add_generation_prompt: bool | None = None
    chat_template_kwargs: TemplateVariables | None = None

    @model_validator(mode="after")
    def _alternatives_with_logprobs(self) -> Self:
        if self.top_logprobs and not self.logprobs:
            raise ValueError("top_logprobs needs logprobs to be true")
        return self

    @model_validator(mode="after")
    def _one_way_to_go_on(self) -> Self:
        if self.continue_final_message and self.add_generation_prompt:
            raise ValueError("continue_final_message needs add_generation_prompt to be false: got true of both")
        return self

    @property
    def prompts(self) -> list[ChatPrompt]:
        return [{"messages": [message.for_template() for message in self.messages]}]

    @property
    def token_limit(self) -> int | None:
        asked = self.max_completion_tokens if self.max_completion_tokens is not None else self.max_tokens
        return asked if asked and asked > 0 else None

    @property
    def alternatives(self) -> int | None:
        return (self.top_logprobs or 0) if self.logprobs else None

    @property
    def template(self) -> dict[str, Any]:
        continues = bool(self.continue_final_message)
        begins = self.add_generation_prompt if self.add_generation_prompt is not None else not continues
        asked = {"continue_final_message": continues, "add_generation_prompt": begins}
        return {**(self.chat_template_kwargs or {}), **asked}

    @property
    def answer_schema(self) -> str | None:
        return self.response_format.schema_text if self.response_format else None

    @property
    def parts(self) -> dict[str, Any]:
        return {"parsed": True, **self.tool_message}


LEGACY_MAX_TOKENS = 16


class CompletionRequest(ChoicesRequest):
    """POST /v1/completions: texts, or token ids, that the answers continue."""

    prompt: Prompts
    max_tokens: StrictInt | None = Field(None, ge=-1)
    echo: bool | None = None
    logprobs: StrictInt | None = Field(None, ge=0, le=20)
    suffix: Literal[""] | None = None
    best_of: StrictInt | None = None

    @field_validator("prompt", mode="before")
    @classmethod
    def _within_choices(cls, value: Any) -> Any:
        return check_number(value, settings.INFERENCE_MAX_CHOICES)

    @model_validator(mode="after")
    def _what_is_honoured(self) -> Self:
        if self.best_of is not None and self.best_of != self.choices:
            got = f"got best_of {self.best_of} with n {self.choices}"
            raise ValueError(f"{got}, expected equal numbers: leave out best_of")
        if self.max_tokens == 0 and not self.echo:
            raise ValueError("max_tokens of 0 without echo leaves no answer: set echo, or more tokens")
        if len(self.prompts) * self.choices > settings.INFERENCE_MAX_CHOICES:
            asked = f"{len(self.prompts)} prompts with {self.choices} choices each"
            raise ValueError(f"got {asked}, expected at most {settings.INFERENCE_MAX_CHOICES} answers")
        return self

    @property
    def prompts(self) -> list[Prompt]:
        return as_prompts(self.prompt)

    @property
    def token_limit(self) -> int | None:
        """OpenAI's default here is a short one."""
        if self.max_tokens is None:
            return LEGACY_MAX_TOKENS
        return None if self.max_tokens == -1 else self.max_tokens

    @property
    def alternatives(self) -> int | None:
        return self.logprobs
