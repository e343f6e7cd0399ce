"""The messages by which a web hands a request to a worker: the wire format, in one place.

A message is a flat JSON object. Workers are upgraded before webs, so a field that a new version adds has a default:
the messages of older webs lack it. A message with a field that its worker does not know is refused, since the worker
must not leave out what the web asks for.
"""

import json
from collections.abc import Mapping
from typing import Any, ClassVar, Literal, Self, final

from pydantic import BaseModel, ConfigDict
from typing_extensions import TypedDict

from inference.interface import SamplingParams
from steering.spec import SAEPlace, SteeringSpec


@final
class ChatPrompt(TypedDict):
    """Messages for the chat template of the model: see `inference.openai.fields.messages`."""

    messages: list[dict[str, Any]]


@final
class TextPrompt(TypedDict):
    """Text, to which the tokenizer adds its special tokens."""

    text: str


@final
class TokensPrompt(TypedDict):
    """Token ids, which the model gets as they are."""

    ids: list[int]


Prompt = ChatPrompt | TextPrompt | TokensPrompt


Stage = Literal["before", "after"]
"""Whether the residual stream is read before or after the steering at the same hook point is added."""
Pool = Literal["mean", "max"]
"""The score of a feature for a text, over the activations on its tokens."""

VectorMethod = Literal["difference", "pca"]
"""Difference of the means of two sets of texts, or first principal component of the differences of pairs."""
VectorPool = Literal["mean", "last"]
"""The residual stream of a text: the mean over its tokens, or that of the last token."""


class Message(BaseModel):
    """A request for a worker: its address, and the prompts."""

    model_config = ConfigDict(frozen=True, strict=True, extra="forbid")

    TASK: ClassVar[str]
    """The name of the Celery task that takes it."""

    request_id: str
    inbox: str
    """The Redis stream that its events go to: see `inference.broker.inbox`."""
    version: str
    """The `LanguageModel.version` that must answer it."""
    deadline: float
    """Unix time by the clock of Redis, in seconds."""
    prompts: list[Prompt]

    @classmethod
    def parse(cls, fields: Mapping[str, Any]) -> Self:
        """Read a message as Celery hands it over. Raises ValidationError."""
        return cls.model_validate_json(json.dumps(fields))  # only JSON's strict mode has tuples and dataclasses


class EmbedMessage(Message):
    """A request for the embedding of each prompt."""

    TASK = "inference.embed"


class AnswerReading(BaseModel):
    """The features to read in an answer when it has ended, with its prompt and under its steering."""

    model_config = ConfigDict(frozen=True, strict=True, extra="forbid")

    place: SAEPlace
    skip_special: bool
    """True where special tokens do not count."""
    top_k: int
    features: list[int] | None
    """The only features looked at; None is all."""
    positions: Literal["answer", "prompt", "all"]
    stage: Stage


class GenerateMessage(Message):
    """A request for answers: `choices` of them to each prompt."""

    TASK = "inference.generate"

    choices: int
    steering: SteeringSpec | None
    """None is unsteered, and is said: a message that lacks the field is refused."""
    sampling: SamplingParams
    max_tokens: int | None
    """The longest answer in tokens; None is what the context leaves."""
    stop: list[str] = []
    top_logprobs: int | None = None
    """The number of alternatives to each token, 0 to 20; None asks for no log-probabilities."""
    answer_schema: str | None = None
    """The JSON schema of the answer, as JSON text."""
    echo: bool = False
    """True where the answer begins with its prompt."""
    template: dict[str, Any] = {}
    """Options of the chat template."""
    reading: AnswerReading | None = None
    parsed: bool = False
    """True where calls and reasoning are found in the answer, as in chats: deltas then have `parts`."""
    tools: list[dict[str, Any]] = []
    """OpenAI's tool objects, in the order of the request."""
    tool_choice: str = "auto"
    """`none`, `auto`, `required`, or `function:NAME`."""
    parallel_tool_calls: bool = True
    """False where the answer has at most one call."""
    answer_form: str = ""
    """The form of calls and reasoning of the model's row; empty is that of the tokenizer or the chat template."""


class TextsMessage(Message):
    """A request for a reading of prompts."""

    skip_special: bool
    """True where special tokens do not count."""
    answer_only: bool
    """True where of messages only the last one of the assistant counts."""


class ReadingMessage(TextsMessage):
    """A request for features of prompts: `place` is that of the SAE that reads them."""

    place: SAEPlace


class ActivationsMessage(ReadingMessage):
    """A request for the features that fire on each token of each prompt."""

    TASK = "inference.activations"

    top_k: int
    """Features of each token."""
    features: list[int] | None
    """The only features looked at; None is all."""
    steering: SteeringSpec | None
    stage: Stage
    answer_form: str = ""
    """As of a GenerateMessage: by it a steering finds calls and reasoning in the prompts."""


class ContrastMessage(ReadingMessage):
    """A request for the features that tell the first `positives` prompts from the others."""

    TASK = "inference.contrast"

    positives: int
    pool: Pool
    max_density: float
    top: int


class VectorMessage(TextsMessage):
    """A request for a vector from the residual streams of the other prompts to those of the first `positives`."""

    TASK = "inference.vector"

    hook_name: str
    positives: int
    method: VectorMethod
    pool: VectorPool


class FeatureMessage(Message):
    """A request for what the weights say of the feature `index`: promoted and suppressed tokens, nearest features."""

    TASK = "inference.feature"

    place: SAEPlace
    index: int
    top: int


class ExportMessage(Message):
    """A request for the file of a control vector: the directions of the feature `index` at all layers of its SAE."""

    TASK = "inference.export"

    place: SAEPlace
    index: int
    model_hint: str
    """The type of the model, for the file."""
