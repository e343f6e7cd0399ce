"""Badges of a profile in the admin: the reasons why it does not fit, and its strongest features."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from heapq import nlargest

from profiles.compatibility import reasons
from profiles.models import Profile
from steering.models import SAE, FeatureLabel, LanguageModel

FEATURES_SHOWN = 4


@dataclass(frozen=True)
class Chip:
    """A feature with its strength; `label` is empty if it is unknown."""

    index: int
    strength: float
    label: str

    def __str__(self) -> str:
        return f"{self.index}: {self.strength:+g}" + (f" — {self.label}" if self.label else "")


@dataclass(frozen=True)
class Badges:
    """`misfit`: why the profile does not fit; empty if it fits. `more`: the number of features that have no chip."""

    misfit: tuple[str, ...]
    chips: tuple[Chip, ...]
    more: int


def badges(profiles: Iterable[Profile]) -> list[Badges]:
    """The badges of each profile, by a fixed number of queries."""
    model, sae = LanguageModel.objects.current(), SAE.objects.attached()
    strongest = [(profile, _strongest(profile.strengths)) for profile in profiles]
    labels = FeatureLabel.objects.of_many((profile.sae_id, indices) for profile, indices in strongest)
    return [
        Badges(
            tuple(reasons(profile, model, sae)),
            tuple(Chip(i, profile.strengths[i], labels.get((profile.sae_id or "", i), "")) for i in indices),
            len(profile.strengths) - len(indices),
        )
        for profile, indices in strongest
    ]


def _strongest(strengths: Mapping[int, float]) -> list[int]:
    return nlargest(FEATURES_SHOWN, strengths, key=lambda index: abs(strengths[index]))
