"""Badges of a profile in the admin: the reasons why it does not fit, and its strongest features."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from heapq import nlargest

from profiles.compatibility import reasons
from profiles.models import Profile
from steering.models import SAE, FeatureLabel, LanguageModel
from steering.strengths import Strength, Value

FEATURES_SHOWN = 4


@dataclass(frozen=True)
class Chip:
    """A feature with its strength; `label` is empty if it is unknown."""

    index: int
    strength: Strength
    label: str

    @property
    def shown(self) -> str:
        """The strength with its sign, or the mode in words."""
        value = Value.stored(self.strength)
        return str(value) if isinstance(self.strength, dict) else f"{value.value:+g}"

    def __str__(self) -> str:
        return f"{self.index}: {self.shown}" + (f" — {self.label}" if self.label else "")


@dataclass(frozen=True)
class Badges:
    """`misfit`: why the profile does not fit; empty if it fits. `more`: the number of features that have no chip.

    Chips are of own features; `more` counts those of further parts too.
    """

    misfit: tuple[str, ...]
    chips: tuple[Chip, ...]
    more: int


def badges(profiles: Iterable[Profile]) -> list[Badges]:
    """The badges of each profile, by a fixed number of queries."""
    model, sae = LanguageModel.objects.current(), SAE.objects.attached()
    shown = [(profile, strongest(profile.strengths, FEATURES_SHOWN)) for profile in profiles]
    labels = FeatureLabel.objects.of_many((profile.sae_id, indices) for profile, indices in shown)
    return [
        Badges(
            tuple(reasons(profile, model, sae)),
            tuple(Chip(i, profile.strengths[i], labels.get((profile.sae_id or "", i), "")) for i in indices),
            profile.document.number - len(indices),
        )
        for profile, indices in shown
    ]


def strongest(strengths: Mapping[int, Strength], number: int) -> list[int]:
    """The features of the largest values, at most `number`; values of all modes are compared by their numbers."""
    return nlargest(number, strengths, key=lambda index: abs(Value.stored(strengths[index]).value))
