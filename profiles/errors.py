"""What profiles refuse, beside what steering refuses."""

from steering.errors import SteeringError


class InvalidProfile(SteeringError):
    code = "invalid_profile"


class ProfileExists(SteeringError):
    code = "profile_exists"
    status = 409


class NoActiveProfile(SteeringError):
    code = "no_active_profile"
    status = 404


class IncompatibleProfile(SteeringError):
    """A profile for another model, SAE or layer than the ones here; `differences` has got and expected of each."""

    code = "profile_incompatible"
    status = 409
