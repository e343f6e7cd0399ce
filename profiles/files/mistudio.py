"""miStudio's cluster definitions and bundles.

https://github.com/hitsainet/miStudio, docs/schemas/cluster-definition-v1.json.
"""

from collections.abc import Iterable, Iterator
from typing import Annotated, Any, Literal

from pydantic import ConfigDict, Field, StrictInt, field_validator

from profiles.files.formats import (
    Description,
    Document,
    FeatureFact,
    FirstError,
    Ignored,
    Layer,
    Located,
    Name,
    Part,
    Text,
    WithinLimit,
    refuse_repeated,
)

SOURCE = "mistudio"
"""The source of labels and statistics, with miStudio's own source of a label behind a slash."""
Number = Annotated[float, Field(strict=True, allow_inf_nan=False)]
Intensity = Annotated[float, Field(ge=0, le=2, strict=True)]


class ModelReference(Part):
    hf_id: Text = None
    mistudio_model_id: Text = None
    load_dtype: Ignored = None


class SAEReference(Part):
    mistudio_sae_id: Text = None
    sae_id: Text = None
    layer: Layer = None
    source_hint: Ignored = None
    hook_type: Ignored = None
    n_features: Ignored = None
    d_model: Ignored = None

    @property
    def id(self) -> str | None:
        return self.mistudio_sae_id or self.sae_id

    def facts(self, members: Iterable["Member"]) -> Iterator[FeatureFact]:
        """The facts that members have about features of this SAE."""
        number = self.n_features if isinstance(self.n_features, int) else None
        for member in members:
            if self.id and (member.label or member.max_activation is not None):
                yield FeatureFact(
                    self.id, number, member.feature_idx, member.label or "", member.source, member.max_activation
                )


class Member(Part):
    feature_idx: StrictInt = Field(ge=0)
    strength: Number
    sign: Literal[1, -1] = 1
    label: Text = None
    pinned: Ignored = None
    similarity: Ignored = None
    max_activation: Annotated[Number, Field(ge=0)] | None = None
    activation_frequency: Ignored = None
    meta: Ignored = None

    @property
    def directed(self) -> float:
        """`sign × strength`, or a negative strength as it is."""
        return self.strength if self.strength < 0 else self.sign * self.strength

    @property
    def source(self) -> str:
        """The source of the label."""
        own = self.meta.get("label_source") if isinstance(self.meta, dict) else None
        return f"{SOURCE}/{own}" if own and isinstance(own, str) else SOURCE


class Budget(Part):
    # A miStudio file also holds how the strengths were computed; only the strengths are imported.
    model_config = ConfigDict(extra="allow")
    intensity: Intensity = 1.0
    intensity_range: Ignored = None


class Cluster(Document):
    kind: Literal["mistudio.cluster-definition", "mistudio.cluster-definition/v1"] = "mistudio.cluster-definition"
    schema_version: Literal["1"] = "1"
    name: Name
    narrative: Description = None
    display_token: Ignored = None
    model: ModelReference = ModelReference()
    sae: SAEReference = SAEReference()
    members: Annotated[list[Member], FirstError, WithinLimit] = Field(min_length=1)
    budget: Budget | None = None
    provenance: Ignored = None

    @field_validator("members")
    @classmethod
    def _each_once(cls, members: list[Member]) -> list[Member]:
        refuse_repeated([member.feature_idx for member in members])
        return members

    def profiles(self) -> Iterator[Located]:
        yield (), self.fields()

    def facts(self) -> Iterator[FeatureFact]:
        yield from self.sae.facts(self.members)

    def fields(self) -> dict[str, Any]:
        intensity = self.budget.intensity if self.budget else 1.0
        return {
            "name": self.name,
            "description": self.narrative,
            "model_id": self.model.hf_id or self.model.mistudio_model_id,
            "sae_id": self.sae.id,
            "sae_fingerprint": "",
            "layer": self.sae.layer,
            "strengths": {str(member.feature_idx): member.directed * intensity for member in self.members},
        }


class ClusterBundle(Document):
    bundle_field = "definitions"
    kind: Literal["mistudio.cluster-bundle", "mistudio.cluster-bundle/v1"]
    schema_version: Literal["1"] = "1"
    definitions: Annotated[list[Cluster], FirstError] = Field(min_length=1)

    def profiles(self) -> Iterator[Located]:
        for i, cluster in enumerate(self.definitions):
            yield ("definitions", str(i)), cluster.fields()

    def facts(self) -> Iterator[FeatureFact]:
        for cluster in self.definitions:
            yield from cluster.facts()
