"""The subject of a sweep: the intensity of a profile, or the strength of one feature of an attached SAE."""

from collections.abc import Sequence
from dataclasses import dataclass

from profiles.models import Profile
from steering.document import Steering
from steering.document.resolution import resolve
from steering.document.steering import MAX_INTENSITY
from steering.errors import InvalidSteering, NoSAEAttached
from steering.models import SAE
from steering.spec import SteeringSpec
from steering.strengths import finite_number


@dataclass(frozen=True)
class Subject:
    """What a value of the sweep scales, as it is now: later changes of profile and SAE do not reach it."""

    document: Steering
    """A profile's content; of a feature the steering at strength 1."""
    attached: SAE | None
    """The main attached SAE, whose features the document names by their index alone."""
    profile: Profile | None = None
    sae: SAE | None = None
    feature: int | None = None

    @classmethod
    def of_profile(cls, name: str) -> "Subject":
        """The intensity of a profile that fits. Raises ProfileNotFound or IncompatibleProfile."""
        profile = Profile.objects.named(name)
        return cls(profile.fitting_document(), SAE.objects.attached(), profile=profile)

    @classmethod
    def of_feature(cls, feature: int, sae_id: str = "") -> "Subject":
        """The strength of a feature of an attached SAE, by default the main one; nothing else steers.

        Raises NoSAEAttached, or InvalidSteering.
        """
        attached = SAE.objects.all_attached()
        sae = next((one for one in attached if sae_id in ("", one.pk)), None)
        if sae is None:
            what = f"SAE {sae_id} is not attached" if sae_id else "no SAE is attached"
            raise NoSAEAttached(f"{what}: attach the SAE of the feature, then sweep its strength")
        if feature >= sae.d_sae:
            raise InvalidSteering(f"got {feature}, and {sae} has {sae.d_sae} features", "feature")
        main = attached[0] if attached[0].is_attached else None
        subject = cls(Steering(), main, sae=sae, feature=feature)
        return cls(subject._at_strength(1.0), main, sae=sae, feature=feature)

    def specs(self, values: Sequence[float]) -> list[SteeringSpec | None]:
        """The steering at each of `values`; None is unsteered, as at 0.

        Raises InvalidSteering for a value out of range, which names it, and what `resolve` raises.
        """
        return [resolve(self._at(value, f"values.{at}"), self.attached) for at, value in enumerate(values)]

    def _at(self, value: float, field: str) -> Steering:
        if self.profile is not None:
            return self.document.scaled(finite_number(value, field, 0, MAX_INTENSITY))
        return self._at_strength(finite_number(value, field))

    def _at_strength(self, strength: float) -> Steering:
        assert self.sae is not None
        features = {str(self.feature): strength}
        if self.sae.is_attached:
            return Steering.parse({"features": features})
        return Steering.parse({"also": [{"sae": self.sae.pk, "features": features}]})
