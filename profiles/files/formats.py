"""The formats of profile files, as strict pydantic models.

A field with `exclude=True` is known but is not kept in a profile: `ignored` names it.
"""

from collections.abc import Iterator
from typing import Annotated, Any, ClassVar, Literal

from django.conf import settings
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, StrictInt, StrictStr, field_validator

NAME_LENGTH, DESCRIPTION_LENGTH = 100, 4000
"""Characters of a profile's name and description."""
Ignored = Annotated[Any, Field(exclude=True)]
Located = tuple[tuple[str, ...], dict[str, Any]]
Name = Annotated[StrictStr, Field(min_length=1, max_length=NAME_LENGTH)]
Text = StrictStr | None
Description = Annotated[StrictStr, Field(max_length=DESCRIPTION_LENGTH)] | None
Layer = Annotated[StrictInt, Field(ge=0, lt=2**31)] | None


def _within_limit(features: Any) -> Any:
    """Refuse too many features before pydantic validates each of them."""
    most = settings.STEERING_MAX_FEATURES
    if isinstance(features, dict | list) and len(features) > most:
        raise ValueError(f"got {len(features)} features, expected at most {most}")
    return features


WithinLimit = BeforeValidator(_within_limit)
Strengths = Annotated[dict[StrictStr, Any], WithinLimit]
# Only the first error is reported: pydantic would collect one for each element of a list.
FirstError = Field(fail_fast=True)


class Part(BaseModel):
    model_config = ConfigDict(extra="forbid")

    def ignored(self, path: str = "") -> Iterator[str]:
        """One note for each field of the file that a profile does not keep."""
        yield from dict.fromkeys(f"{found}: a profile does not keep this field" for found in self._ignored(path))

    def _ignored(self, path: str) -> Iterator[str]:
        for name, field in type(self).model_fields.items():
            value, here = getattr(self, name), f"{path}{field.alias or name}"
            if field.exclude and value is not None:
                yield here
            for part in value if isinstance(value, list) else [value]:
                if isinstance(part, Part):
                    yield from part._ignored(f"{here}[]." if isinstance(value, list) else f"{here}.")


class Document(Part):
    """A whole file."""

    bundle_field: ClassVar[str] = ""
    """The field that holds the list of profiles; empty if the file is one profile."""

    def profiles(self) -> Iterator[Located]:
        """Yield each profile's path in the file and its fields by `Profile`'s names. The strengths are not checked."""
        raise NotImplementedError


class Stamp(Part):
    """The time and the program that wrote the file. An import ignores both; an export writes new ones."""

    exported_at: Text = None
    exported_from: Text = None


# --- miLLM ---


class Content(Part):
    name: Name
    description: Description = None
    model: Text = None
    sae: Text = None
    sae_fingerprint: StrictStr = ""
    layer: Layer = None
    steering: Strengths

    def fields(self) -> dict[str, Any]:
        return {
            "name": self.name,
            "description": self.description,
            "model_id": self.model,
            "sae_id": self.sae,
            "sae_fingerprint": self.sae_fingerprint,
            "layer": self.layer,
            "strengths": self.steering,
        }


class ProfileDocument(Document, Stamp):
    version: Literal["1.0"]
    type: Literal["millm_profile"]
    profile: Content

    def profiles(self) -> Iterator[Located]:
        yield ("profile",), self.profile.fields()


class BundleDocument(Document, Stamp):
    bundle_field = "profiles"
    version: Literal["1.0"]
    type: Literal["millm_profile_bundle"]
    # The file's `profiles`; here this is the name of a method.
    contents: Annotated[list[Content], FirstError] = Field(alias="profiles")

    def profiles(self) -> Iterator[Located]:
        for i, content in enumerate(self.contents):
            yield ("profiles", str(i)), content.fields()


# --- the miLLM backend and its user interface ---


class FlatBase(Document, Stamp):
    """A profile as the miLLM backend answers it. A new profile gets an id, dates and counts of its own."""

    version: Literal["1.0"] = "1.0"
    name: Name
    description: Description = None
    id: Ignored = None
    is_active: Ignored = None
    feature_count: Ignored = None
    created_at: Ignored = None
    updated_at: Ignored = None


class FlatDocument(FlatBase):
    model_id: Text = None
    sae_id: Text = None
    layer: Layer = None
    steering: Strengths

    def profiles(self) -> Iterator[Located]:
        content = {"model_id": self.model_id, "sae_id": self.sae_id, "layer": self.layer, "strengths": self.steering}
        yield (), {"name": self.name, "description": self.description, "sae_fingerprint": "", **content}


class ModelReference(Part):
    repo_id: Text = None
    quantization: Ignored = None


class SAEReference(Part):
    repo_id: Text = None
    layer: Layer = None


class Feature(Part):
    index: StrictInt = Field(ge=0)
    strength: Any
    label: Ignored = None


def refuse_repeated(indices: list[int]) -> None:
    """Raises ValueError, which pydantic reports with the field."""
    seen: set[int] = set()
    for index in indices:
        if index in seen:
            raise ValueError(f"feature {index} is given twice")
        seen.add(index)


class InterfaceDocument(FlatBase):
    """A profile as the user interface of miLLM exports it."""

    model: ModelReference | None = None
    sae: SAEReference | None = None
    features: Annotated[list[Feature], FirstError, WithinLimit]

    @field_validator("features")
    @classmethod
    def _each_once(cls, features: list[Feature]) -> list[Feature]:
        refuse_repeated([feature.index for feature in features])
        return features

    def profiles(self) -> Iterator[Located]:
        yield (
            (),
            {
                "name": self.name,
                "description": self.description,
                "model_id": self.model.repo_id if self.model else None,
                "sae_id": self.sae.repo_id if self.sae else None,
                "sae_fingerprint": "",
                "layer": self.sae.layer if self.sae else None,
                "strengths": {str(feature.index): feature.strength for feature in self.features},
            },
        )


# --- miStudio ---


class ClusterModel(Part):
    hf_id: Text = None
    mistudio_model_id: Text = None
    load_dtype: Ignored = None


class ClusterSAE(Part):
    mistudio_sae_id: Text = None
    sae_id: Text = None
    layer: Layer = None
    source_hint: Ignored = None
    hook_type: Ignored = None
    n_features: Ignored = None
    d_model: Ignored = None


class Member(Part):
    feature_idx: StrictInt = Field(ge=0)
    strength: Annotated[float, Field(strict=True, allow_inf_nan=False)]
    sign: Literal[1, -1] = 1
    label: Ignored = None
    pinned: Ignored = None
    similarity: Ignored = None
    max_activation: Ignored = None
    activation_frequency: Ignored = None
    meta: Ignored = None


class Budget(Part):
    # A miStudio file also holds how the strengths were computed; only the strengths are imported.
    model_config = ConfigDict(extra="allow")
    intensity: Annotated[float, Field(ge=0, le=2, strict=True)] = 1.0


class Cluster(Document):
    kind: Literal["mistudio.cluster-definition", "mistudio.cluster-definition/v1"] = "mistudio.cluster-definition"
    schema_version: Literal["1"] = "1"
    name: Name
    narrative: Description = None
    display_token: Ignored = None
    model: ClusterModel = ClusterModel()
    sae: ClusterSAE = ClusterSAE()
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

    def fields(self) -> dict[str, Any]:
        return {
            "name": self.name,
            "description": self.narrative,
            "model_id": self.model.hf_id or self.model.mistudio_model_id,
            "sae_id": self.sae.mistudio_sae_id or self.sae.sae_id,
            "sae_fingerprint": "",
            "layer": self.sae.layer,
            "strengths": {str(member.feature_idx): self._strength(member) for member in self.members},
        }

    def _strength(self, member: Member) -> float:
        """`sign × strength`, or a negative strength as it is, times the intensity of the budget."""
        signed = member.strength if member.strength < 0 else member.sign * member.strength
        return signed * (self.budget.intensity if self.budget else 1.0)


class ClusterBundle(Document):
    bundle_field = "definitions"
    kind: Literal["mistudio.cluster-bundle", "mistudio.cluster-bundle/v1"]
    schema_version: Literal["1"] = "1"
    definitions: Annotated[list[Cluster], FirstError] = Field(min_length=1)

    def profiles(self) -> Iterator[Located]:
        for i, cluster in enumerate(self.definitions):
            yield ("definitions", str(i)), cluster.fields()


DOCUMENTS: dict[str, dict[str, type[Document]]] = {
    "type": {"millm_profile": ProfileDocument, "millm_profile_bundle": BundleDocument},
    "kind": {"mistudio.cluster-definition": Cluster, "mistudio.cluster-bundle": ClusterBundle},
}
