"""The errors of profiles."""

from steering.errors import Refused


class InvalidProfile(Refused):
    """A field that breaks a rule; `field` is its name."""

    code = "invalid_profile"


class ProfileExists(Refused):
    """A name that another profile has."""

    code = "profile_exists"
    status = 409


class NoActiveProfile(Refused):
    """A request for the active profile, and no profile is active."""

    code = "no_active_profile"
    status = 404


class NothingLive(Refused):
    """The live steering has no features, so its profile would be empty."""

    code = "nothing_live"
    status = 409


class ProfileNotActive(Refused):
    """An action that needs the active profile, on another profile."""

    code = "profile_not_active"
    status = 409


class IncompatibleProfile(Refused):
    """A profile of another model, SAE or layer than the current ones; `differences` has got and expected of each."""

    code = "profile_incompatible"
    status = 409


class InvalidProfileFile(Refused):
    """A document that is no profile file; `field` is the path of the first wrong field."""

    code = "invalid_profile_file"


class ProfileNotFound(Refused):
    """An id or a name that no profile has."""

    code = "profile_not_found"
    status = 404


class NothingToUndo(Refused):
    """An undo of a change after which something else was changed, or of no change."""

    code = "nothing_to_undo"
    status = 409


class StaleProfile(Refused):
    """A change that was decided on another state of the profile than the current one (If-Match)."""

    code = "precondition_failed"
    status = 412
