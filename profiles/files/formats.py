"""The forms of profile files that are read, as strict pydantic models.

A field with `exclude=True` is known and has no place in a profile: `ignored` names it.
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


def _within_bound(features: Any) -> Any:
    """Refuse too many features before any of them is looked at."""
    most = settings.STEERING_MAX_FEATURES
    if isinstance(features, dict | list) and len(features) > most:
        raise ValueError(f"got {len(features)} features, expected at most {most}")
    return features


Bounded = BeforeValidator(_within_bound)
Strengths = Annotated[dict[StrictStr, Any], Bounded]
# The first error is reported and no other: pydantic would collect one for each element of a list.
FirstError = Field(fail_fast=True)


class Part(BaseModel):
    model_config = ConfigDict(extra="forbid")

    def ignored(self, path: str = "") -> Iterator[str]:
        """Which fields of the file have no place in a profile, each once, however often it is there."""
        yield from dict.fromkeys(f"{found}: has no place in a profile, is left out" for found in self._ignored(path))

    def _ignored(self, path: str) -> Iterator[str]:
        for name, field in type(self).model_fields.items():
            value, here = getattr(self, name), f"{path}{field.alias or name}"
            if field.exclude and value is not None:
                yield here
            for part in value if isinstance(value, list) else [value]:
                if isinstance(part, Part):
                    yield from part._ignored(f"{here}[]." if isinstance(value, list) else f"{here}.")


class Form(Part):
    """A whole file."""

    several: ClassVar[str] = ""
    """The field that has the profiles, where there may be several."""

    def profiles(self) -> Iterator[Located]:
        """Each profile's path in the file and its fields by the names of `Profile`; strengths are not checked yet."""
        raise NotImplementedError


class Stamp(Part):
    """When and by what a file was written, which the next export says anew."""

    exported_at: Text = None
    exported_from: Text = None


# --- ours ---


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


class ProfileForm(Form, Stamp):
    version: Literal["1.0"]
    type: Literal["millm_profile"]
    profile: Content

    def profiles(self) -> Iterator[Located]:
        yield ("profile",), self.profile.fields()


class BundleForm(Form, Stamp):
    several = "profiles"
    version: Literal["1.0"]
    type: Literal["millm_profile_bundle"]
    # `profiles` in the file, which here is the method of every form
    contents: Annotated[list[Content], FirstError] = Field(alias="profiles")

    def profiles(self) -> Iterator[Located]:
        for i, content in enumerate(self.contents):
            yield ("profiles", str(i)), content.fields()


# --- the miLLM backend and its user interface ---


class Flat(Form, Stamp):
    """What the answers of the miLLM backend have besides, and a new profile gets anew."""

    version: Literal["1.0"] = "1.0"
    name: Name
    description: Description = None
    id: Ignored = None
    is_active: Ignored = None
    feature_count: Ignored = None
    created_at: Ignored = None
    updated_at: Ignored = None


class FlatForm(Flat):
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
    seen: set[int] = set()
    for index in indices:
        if index in seen:
            raise ValueError(f"feature {index} is given twice")
        seen.add(index)


class InterfaceForm(Flat):
    model: ModelReference | None = None
    sae: SAEReference | None = None
    features: Annotated[list[Feature], FirstError, Bounded]

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
    # How the allocation was computed travels in a miStudio file too; only its result, the strengths, steers.
    model_config = ConfigDict(extra="allow")
    intensity: Annotated[float, Field(ge=0, le=2, strict=True)] = 1.0


class Cluster(Form):
    kind: Literal["mistudio.cluster-definition", "mistudio.cluster-definition/v1"] = "mistudio.cluster-definition"
    schema_version: Literal["1"] = "1"
    name: Name
    narrative: Description = None
    display_token: Ignored = None
    model: ClusterModel = ClusterModel()
    sae: ClusterSAE = ClusterSAE()
    members: Annotated[list[Member], FirstError, Bounded] = Field(min_length=1)
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
        """A negative strength as it is, else `sign × strength`; times the intensity of the budget."""
        signed = member.strength if member.strength < 0 else member.sign * member.strength
        return signed * (self.budget.intensity if self.budget else 1.0)


class ClusterBundle(Form):
    several = "definitions"
    kind: Literal["mistudio.cluster-bundle", "mistudio.cluster-bundle/v1"]
    schema_version: Literal["1"] = "1"
    definitions: Annotated[list[Cluster], FirstError] = Field(min_length=1)

    def profiles(self) -> Iterator[Located]:
        for i, cluster in enumerate(self.definitions):
            yield ("definitions", str(i)), cluster.fields()


FORMS: dict[str, dict[str, type[Form]]] = {
    "type": {"millm_profile": ProfileForm, "millm_profile_bundle": BundleForm},
    "kind": {"mistudio.cluster-definition": Cluster, "mistudio.cluster-bundle": ClusterBundle},
}
