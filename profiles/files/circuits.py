"""miStudio's circuit definitions: features of SAEs at several layers, which become the parts of one profile.

https://github.com/hitsainet/miStudio, docs/schemas/circuit-definition-v1.json. As in miLLM's original, a cluster
contributes its expanded members and its own feature, and of a feature that is given twice at a layer the first counts
(https://github.com/hitsainet/miLLM, millm/ml/circuit_steering.py).
"""

from collections.abc import Iterator
from typing import Annotated, Any, Literal

from django.conf import settings
from pydantic import BeforeValidator, ConfigDict, Field, StrictInt, StrictStr, ValidationInfo, field_validator

from profiles.files.formats import (
    Description,
    Document,
    FeatureFact,
    FirstError,
    Ignored,
    Located,
    Name,
    Part,
    WithinLimit,
)
from profiles.files.mistudio import Budget, Intensity, Member, ModelReference, SAEReference

MOST_SAES = 16


def _within_limit(members: Any) -> Any:
    """Refuse too many features before pydantic validates each of them."""
    listed = [one for one in members if isinstance(one, dict)] if isinstance(members, list) else []
    clusters = [one["expanded_members"] for one in listed if isinstance(one.get("expanded_members"), list)]
    if (number := len(listed) + sum(map(len, clusters))) > 2 * settings.STEERING_MAX_FEATURES:
        raise ValueError(f"got {number} members, expected at most {settings.STEERING_MAX_FEATURES} features")
    return members


class CircuitMember(Part):
    layer: StrictInt = Field(ge=0, lt=2**31)
    member_kind: Literal["feature_ref", "cluster_ref"] = "feature_ref"
    feature: Member | None = None
    cluster_profile_id: Ignored = None
    cluster_name: Ignored = None
    expanded_members: Annotated[list[Member], FirstError, WithinLimit] | None = None

    @property
    def features(self) -> list[Member]:
        return [*(self.expanded_members or []), *([self.feature] if self.feature else [])]


class CircuitBudget(Part):
    # How the strengths of the members were computed is not imported.
    model_config = ConfigDict(extra="allow")
    layers: dict[StrictStr, Budget] = {}
    intensity: Intensity = 1.0
    intensity_range: Ignored = None


class Circuit(Document):
    kind: Literal["mistudio.circuit-definition", "mistudio.circuit-definition/v1"]
    schema_version: Literal["1"] = "1"
    name: Name
    narrative: Description = None
    model: ModelReference = ModelReference()
    saes: Annotated[list[SAEReference], FirstError] = Field(min_length=1, max_length=MOST_SAES)
    members: Annotated[list[CircuitMember], FirstError, BeforeValidator(_within_limit)] = Field(min_length=1)
    edges: Ignored = None
    budget: CircuitBudget | None = None
    calibration: Ignored = None
    faithfulness: Ignored = None
    discovery: Ignored = None
    provenance: Ignored = None

    @field_validator("members")
    @classmethod
    def _each_of_an_sae(cls, members: list[CircuitMember], info: ValidationInfo) -> list[CircuitMember]:
        for at, member in enumerate(members):
            if not member.features:
                got = "a cluster without its expanded_members" if member.member_kind == "cluster_ref" else "no feature"
                raise ValueError(f"member {at} is {got}: export the circuit again")
            _sae_of(info.data.get("saes", []), member, at)
        return members

    def profiles(self) -> Iterator[Located]:
        own, *others = self._parts()
        parts = [
            {"sae": sae.id, **({} if sae.layer is None else {"layer": sae.layer}), "features": features}
            for sae, features in others
        ]
        intensity = self.budget.intensity if self.budget else 1.0
        more = {**({"also": parts} if parts else {}), **({} if intensity == 1 else {"intensity": intensity})}
        yield (
            (),
            {
                "name": self.name,
                "description": self.narrative,
                "model_id": self.model.hf_id or self.model.mistudio_model_id,
                "sae_id": own[0].id,
                "sae_fingerprint": "",
                "layer": own[0].layer,
                "strengths": own[1],
                "more": more,
            },
        )

    def facts(self) -> Iterator[FeatureFact]:
        for at, member in enumerate(self.members):
            yield from _sae_of(self.saes, member, at).facts(member.features)

    def ignored(self, path: str = "") -> Iterator[str]:
        yield from super().ignored(path)
        used = [sae for sae, _ in self._parts()]
        for at, sae in enumerate(self.saes):
            if sae not in used:
                yield f"saes.{at}: no member is at its layer, {sae.layer}: left out"
        seen: set[tuple[int, int]] = set()
        for at, member in enumerate(self.members):
            for feature in member.features:
                if (key := (member.layer, feature.feature_idx)) in seen:
                    yield f"members.{at}: feature {key[1]} at layer {key[0]} is given before: the first counts"
                seen.add(key)

    def _parts(self) -> list[tuple[SAEReference, dict[str, float]]]:
        """The SAEs that have members, in the order of the file, each with the strengths of its features."""
        found = []
        for sae in self.saes:
            strengths: dict[str, float] = {}
            for at, member in enumerate(self.members):
                if _sae_of(self.saes, member, at) is sae:
                    for feature in member.features:
                        strengths.setdefault(str(feature.feature_idx), feature.directed * self._intensity(member.layer))
            if strengths:
                found.append((sae, strengths))
        return found

    def _intensity(self, layer: int) -> float:
        """The intensity of a layer; that of the whole circuit is the profile's."""
        budget = self.budget.layers.get(str(layer)) if self.budget else None
        return budget.intensity if budget else 1.0


def _sae_of(saes: list[SAEReference], member: CircuitMember, at: int) -> SAEReference:
    """The SAE of a member: the one at its layer. Raises ValueError."""
    alone = len(saes) == 1 and saes[0].layer is None
    found = saes if alone else [sae for sae in saes if sae.layer == member.layer]
    if len(found) != 1:
        got = "more than one SAE" if found else "no SAE"
        raise ValueError(f"member {at} is at layer {member.layer}, where the file has {got}: expected one")
    if not found[0].id:
        raise ValueError(f"member {at} is of an SAE without mistudio_sae_id: expected the id of an SAE")
    return found[0]
