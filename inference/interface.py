"""The requests, events and errors of an engine, and its protocol. Imports neither torch nor Django."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from steering.spec import SteeringSpec


class GenerationError(Exception):
    """A request that an engine refuses; `code` is for programs, the message for people."""

    code = "invalid_request"
    param: str | None = None
    """The faulty field of the request, by OpenAI's name."""


class EventsLost(GenerationError):
    """Redis was unavailable when a part of an answer should have been written."""

    code = "broker_unavailable"

    def __init__(self) -> None:
        super().__init__("Redis was unavailable while this request was answered: try again.")


class WorkerLost(GenerationError):
    """The worker that had a request has sent no heartbeat for `silent_s` seconds; it may be alive."""

    code = "worker_lost"

    def __init__(self, silent_s: float) -> None:
        silent = f"has not been heard of for {silent_s:g} second{'' if silent_s == 1 else 's'}"
        super().__init__(f"The worker that had this request {silent}, so the request was ended: try again.")


class TimedOut(GenerationError):
    """The deadline of a request has passed."""

    code = "timeout"

    def __init__(self) -> None:
        super().__init__("The answer was not finished in time.")


class ContextLengthExceeded(GenerationError):
    """More tokens than the model has positions. LiteLLM and LangChain recognise the error by OpenAI's words."""

    code = "context_length_exceeded"

    def __init__(self, limit: int, excess: str, param: str) -> None:
        maximum = f"This model's maximum context length is {limit} tokens."
        super().__init__(f"{maximum} However, {excess}. Please reduce the length of the {param}. ({self.code})")
        self.param = param


class InvalidSampling(GenerationError):
    param = "logit_bias"


class InvalidSchema(GenerationError):
    """A JSON schema that answers cannot be held to."""

    param = "response_format"


class InvalidTools(GenerationError):
    """Tools that the model cannot be given, or whose calls cannot be held to their schema."""

    param = "tools"


class EngineUnsupported(GenerationError):
    """Something that the engine of this worker does not do; `what` it is, in words."""

    code = "engine_unsupported"

    def __init__(self, what: str, param: str | None = None) -> None:
        super().__init__(f"The engine that serves this model does not support {what}: see docs/engines.md.")
        self.param = param


class EngineBusy(GenerationError):
    code = "engine_busy"


class EngineClosed(GenerationError):
    code = "engine_closed"


def request_tokens(context_length: int, cache_tokens: int) -> int:
    """The most tokens of prompt and answer of one request: the model's positions, as far as the KV cache holds them."""
    return min(context_length, cache_tokens)


def engine_capacity(max_requests: int) -> int:
    """The number of answers that an engine with a batch of `max_requests` takes, with those that wait for the batch."""
    return max(4 * max_requests, 32)


@dataclass(frozen=True)
class SamplingParams:
    """The rule by which the next token is chosen. Temperature 0 is greedy; top_k 0 and top_p 1 filter nothing.

    The presence and frequency penalties count the tokens of the answer (OpenAI), the repetition penalty also the tokens
    of the prompt (Keskar et al. 2019, arXiv:1909.05858). `logit_bias` has (token id, bias) pairs.
    """

    temperature: float = 1.0
    top_p: float = 1.0
    top_k: int = 0
    min_p: float = 0.0
    seed: int = 0
    presence_penalty: float = 0.0
    frequency_penalty: float = 0.0
    repetition_penalty: float = 1.0
    logit_bias: tuple[tuple[int, float], ...] = ()

    @property
    def needs_tables(self) -> bool:
        """True where the choice depends on earlier tokens, or on biases."""
        penalties = self.presence_penalty or self.frequency_penalty or self.repetition_penalty != 1
        return bool(penalties or self.logit_bias)


@dataclass(frozen=True)
class Parsing:
    """How the parts of an answer are found: its content, its reasoning and its calls of tools.

    `template` is a `response_template` of transformers; `tools` are OpenAI's objects, and without any a call is text.
    """

    template: Mapping[str, Any]
    tools: tuple[Mapping[str, Any], ...] = ()
    parallel: bool = True
    """False where the first call ends the answer."""


@dataclass(frozen=True)
class GenerationRequest:
    """One answer to generate; `prompt_ids` are token ids, `max_new_tokens` bounds the answer in tokens.

    With `top_logprobs` (0 to 20) each token comes with its log-probability and those of as many alternatives, as the
    model has them, before temperature and penalties; None asks for none. With `schema` the answer is JSON of that JSON
    schema (JSON text), with `grammar` it is of that grammar (llguidance's Lark).
    """

    request_id: str
    prompt_ids: Sequence[int]
    max_new_tokens: int
    sampling: SamplingParams = SamplingParams()
    steering: SteeringSpec | None = None
    stop: tuple[str, ...] = ()
    top_logprobs: int | None = None
    schema: str | None = None
    grammar: str | None = None
    prompt_field: str = "prompt"
    """The field of the request that has the prompt."""
    opens_text: bool = False
    """True where the answer is a text of its own, as in a chat, and does not continue the text of the prompt."""
    background: bool = False
    """True where no user waits for the answer: it gives way to requests of users."""
    parsing: Parsing | None = None
    """None where all of the answer is content."""
    answer_form: str = ""
    """The form of calls and reasoning of the model's row, by which a steering finds them; empty is the model's own."""


@dataclass(frozen=True)
class Event:
    """A report on a request; `kind` is started, delta, finished or failed.

    A delta has `text`, new text of the content, and `token_ids`. Where the answer is parsed, a delta also has `parts`,
    in the order of the answer: `{"kind": "content" or "reasoning", "text": …}`, or `{"kind": "call", "name": …,
    "arguments": JSON text}`, which is whole and valid. `finished` has `reason` (stop, length or tool_calls) and,
    where the answer is parsed, `reasoning_tokens`.
    """

    request_id: str
    kind: str
    data: Mapping[str, Any] = field(default_factory=dict)

    @property
    def is_last(self) -> bool:
        return self.kind in {"finished", "failed"}


def parts_of(delta: Mapping[str, Any]) -> list[dict[str, str]]:
    """The parts of a delta; its text as one where the answer is not parsed."""
    parts: list[dict[str, str]] | None = delta.get("parts")
    if parts is not None:
        return parts
    return [{"kind": "content", "text": delta["text"]}] if delta["text"] else []


Listener = Callable[[list[Event]], None]
"""Called once per engine step with the events of all requests of that step."""


@dataclass(frozen=True)
class EngineStatistics:
    """A reading of an engine: requests in it, tokens made since it started."""

    running: int
    waiting: int
    generated_tokens: int
    cache_tokens: int
    max_requests: int
    cache_use: float
    """The part of the KV cache in use, from 0 to 1."""


class Engine(Protocol):
    """The interface of an engine to the rest of miLLM."""

    context_length: int
    """The most tokens of prompt and answer of one request: see `request_tokens`."""

    def submit(self, request: GenerationRequest) -> None:
        """Queue a request; its events go to the listener. Raises GenerationError if it is refused."""

    def cancel(self, request_id: str) -> None:
        """Free the request's place in the batch; an unknown request is no error."""

    def statistics(self) -> EngineStatistics: ...

    def is_alive(self) -> bool: ...

    def fault(self) -> str:
        """The reason why the engine cannot answer any more; empty while it can."""

    def close(self) -> None: ...
