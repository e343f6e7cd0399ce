"""The refusals of setups."""

from steering.errors import Refused


class NoSuchSetup(Refused):
    """An id that no kept setup has, or no setup where the newest one is asked for."""

    code = "setup_not_found"
    status = 404


class SetupGone(Refused):
    """A setup whose model was deleted, or is another one now."""

    code = "setup_gone"
    status = 409


class SetupIncomplete(Refused):
    """A setup of which a part cannot be restored; `missing` has a sentence for each such part."""

    code = "setup_incomplete"
    status = 409
