"""The sum of profiles, features and the live steering that one request asks for."""

from dataclasses import dataclass
from typing import Any

from profiles.errors import ProfileNotFound
from profiles.models import Profile
from steering.document import Composition, Steering, combine
from steering.document.places import RAW
from steering.document.resolution import resolve
from steering.models import SAE, SteeringState
from steering.spec import SteeringSpec


@dataclass(frozen=True)
class UsedProfile:
    """A profile that is part of a steering, at an intensity: its own times that of the request."""

    name: str
    intensity: float
    sae_id: str | None
    layer: int | None

    @classmethod
    def of(cls, profile: Profile, intensity: float) -> "UsedProfile":
        return cls(profile.name, intensity * profile.document.intensity, profile.sae_id, profile.layer)


@dataclass(frozen=True)
class Chosen:
    """The steering of a request, the profiles in it, and the id of the profile to activate, if there is one."""

    spec: SteeringSpec | None = None
    profiles: tuple[UsedProfile, ...] = ()
    is_raw: bool = True
    """True where the values of all parts were given as they are in the spec."""
    activates: str | None = None
    is_sum: bool = False
    """True where profiles are summed with each other, with other features or with the live steering."""


UNSTEERED = Chosen()


def of_profile(profile: Profile, intensity: float = 1.0, *, model: Any = None, activates: bool = False) -> Chosen:
    """The steering of a profile at `intensity` times its own. `model` and errors are those of `Profile.spec`."""
    used = (UsedProfile.of(profile, intensity),)
    return Chosen(profile.spec(intensity, model), used, is_raw(profile.document), profile.pk if activates else None)


def of_live(intensity: float = 1.0) -> Chosen:
    """The live steering, and the active profile where it is the live steering. Raises SteeringUnavailable."""
    state = SteeringState.objects.filter(pk=1).first()
    if state is None or not state.enabled:
        return UNSTEERED
    spec = state.spec(SAE.objects.attached(), intensity)
    active = Profile.objects.active()
    used = (UsedProfile.of(active, intensity),) if active and not active.differs_from(state) else ()
    return Chosen(spec, used, is_raw(state.document))


def composed(asked: Composition, main: SAE | None, intensity: float = 1.0, field: str = "steering") -> Chosen:
    """The steering that `asked` names, at `intensity`, whose own features are of `main`.

    Raises what `summed` and `resolve` raise.
    """
    document, used = summed(asked, main, intensity, field)
    return Chosen(resolve(document, main, field=field), used, is_raw(document), is_sum=True)


def summed(
    asked: Composition, main: SAE | None, intensity: float = 1.0, field: str = "steering"
) -> tuple[Steering, tuple[UsedProfile, ...]]:
    """The sum that `asked` names as one document, and the profiles in it; the live steering is not scaled.

    Raises ProfileNotFound, IncompatibleProfile, SteeringUnavailable, or what `combine` raises.
    """
    if not asked.profiles and not asked.on_top:
        return asked.own.scaled(intensity), ()
    attached = SAE.objects.attached()
    used, weighted = [], [(asked.own, intensity)]
    for name, weight in asked.profiles.items():
        profile = _named(name, f"{field}.profiles.{name}")
        weighted.append((_of(attached, main, profile.fitting_document()), weight * intensity))
        used.append(UsedProfile.of(profile, weight * intensity))
    if asked.on_top:
        weighted.append((_of(attached, main, _live_document(attached)), 1.0))
    return combine(weighted, main.pk if main else "", field), tuple(used)


def is_raw(document: Steering) -> bool:
    """True where all parts of the document count in the unit `raw`."""
    return all(part.unit == RAW for part in document.parts(""))


def _of(attached: SAE | None, main: SAE | None, document: Steering) -> Steering:
    """A document whose own features are of `attached`, for a sum whose own features are of `main`."""
    return document.naming(attached.pk) if attached and attached != main else document


def _named(name: str, field: str) -> Profile:
    try:
        return Profile.objects.named(name)
    except ProfileNotFound as error:
        raise ProfileNotFound(f"{field}: {error}", field=field) from error


def _live_document(main: SAE | None) -> Steering:
    state = SteeringState.objects.filter(pk=1).first() or SteeringState()
    if not state.enabled:
        return Steering()
    state.check_sae(main)
    return state.document
