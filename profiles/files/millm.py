"""miLLM's own profile files, and those of the miLLM backend and its user interface."""

from collections.abc import Iterator
from typing import Annotated, Any, Literal

from pydantic import Field, StrictInt, StrictStr, field_validator

from profiles.files.formats import (
    Description,
    Document,
    FirstError,
    Ignored,
    Layer,
    Located,
    Name,
    Notes,
    Part,
    Stamp,
    Strengths,
    Text,
    WithinLimit,
    refuse_repeated,
)

MORE = "steering_document"
"""The field of the document of what steers, without its features; `steering` has these. See docs/steering.md."""

# --- miLLM ---


class Content(Part):
    name: Name
    description: Description = None
    tags: Any = []  # checked with the profile
    notes: Notes = ""
    model: Text = None
    sae: Text = None
    sae_fingerprint: StrictStr = ""
    layer: Layer = None
    steering: Strengths
    steering_document: dict[StrictStr, Any] = {}

    def fields(self) -> dict[str, Any]:
        return {
            "name": self.name,
            "description": self.description,
            "tags": self.tags,
            "notes": self.notes,
            "model_id": self.model,
            "sae_id": self.sae,
            "sae_fingerprint": self.sae_fingerprint,
            "layer": self.layer,
            "strengths": self.steering,
            "more": self.steering_document,
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
