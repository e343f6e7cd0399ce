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


class NothingLive(SteeringError):
    """The live steering has no features: a profile of it would be an empty one."""

    code = "nothing_live"
    status = 409


class ProfileNotActive(SteeringError):
    """What only the active profile can do."""

    code = "profile_not_active"
    status = 409


class IncompatibleProfile(SteeringError):
    """A profile for another model, SAE or layer than the ones here; `differences` has got and expected of each."""

    code = "profile_incompatible"
    status = 409


class InvalidProfileFile(SteeringError):
    """What is no profile file; `field` is the path of the first field that is wrong."""

    code = "invalid_profile_file"


class ProfileNotFound(SteeringError):
    code = "profile_not_found"
    status = 404


class StaleProfile(SteeringError):
    """The If-Match of a request names another state of the profile than the one it has now."""

    code = "precondition_failed"
    status = 412
