"""Options of requests that are objects."""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, StrictInt

FeatureIndices = Annotated[
    list[Annotated[StrictInt, Field(ge=0, lt=2**31)]], Field(min_length=1, max_length=1000, fail_fast=True)
]


class StreamOptions(BaseModel):
    model_config = ConfigDict(strict=True)

    include_usage: bool | None = None


class OwnSteering(BaseModel):
    """Strengths for one request only; no features mean explicitly unsteered."""

    model_config = ConfigDict(strict=True, extra="forbid")

    features: dict[str, Any]


class AnswerActivations(BaseModel):
    """The features that fire in the answer, read when it has ended; see `inference.openai.activations`."""

    model_config = ConfigDict(strict=True, extra="forbid")

    sae: str = Field("", max_length=200)
    """The id of an SAE; empty is the attached one."""
    top_k: StrictInt | None = Field(None, ge=1, le=100)
    features: FeatureIndices | None = None
    positions: Literal["answer", "prompt", "all"] = "answer"
    skip_special: bool = True
    stage: Literal["before", "after"] = "after"
