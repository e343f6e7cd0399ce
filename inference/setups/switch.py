"""The switch to a setup: its parts one after another, each by the method that makes it alone."""

from collections.abc import Callable, Mapping
from functools import partial
from typing import TYPE_CHECKING, Any

from django.db import transaction

from profiles import current
from profiles.models import Profile
from steering.errors import Refused
from steering.models import SAE, SteeringState

if TYPE_CHECKING:
    from inference.models import LanguageModel
    from inference.setups.models import Setup

RESTORED = "restored with a setup"


class PartGone(Refused):
    """A part of a setup that was deleted, or is another one now."""


def switch(setup: "Setup", model: "LanguageModel") -> list[str]:
    """Make all rows as they were in `setup`, whose model is `model`; the caller holds the lock.

    Returns a sentence for each part that could not be restored. It asks for no new load: a worker may serve the model.
    """
    if (model.dtype, model.device) != (setup.dtype, setup.device):
        model.dtype, model.device = setup.dtype, setup.device
        model.save(update_fields=["dtype", "device", "updated_at"])
    current.detach_all()
    current.make_current(model)
    told = [_tried(f"SAE {one['id']}", partial(_attach, model, one)) for one in setup.saes]
    if setup.profile_id:
        told.append(_tried(f"Profile {setup.profile_name}", partial(_activate, setup.profile_id)))
    if setup.is_by_hand:
        state = SteeringState.objects.load()
        steer = partial(state.replace, setup.document, setup.enabled, reason=RESTORED)
        told.append(_tried("The live steering", steer))
    return [*filter(None, told)]


def changed(kept: Mapping[str, Any], sae: SAE) -> bool:
    """True where the SAE has other weights than when the setup was left; `kept` is one of `Setup.saes`."""
    return bool(kept["fingerprint"] and sae.fingerprint and kept["fingerprint"] != sae.fingerprint)


def _tried(part: str, do: Callable[[], None]) -> str:
    """Do it; a sentence on the part where it is refused, and nothing was changed."""
    try:
        with transaction.atomic():
            do()
    except Refused as error:
        return f"{part} cannot be restored: {error}."
    return ""


def _attach(model: "LanguageModel", kept: Mapping[str, Any]) -> None:
    sae = SAE.objects.filter(pk=kept["id"]).first()
    if sae is None:
        raise PartGone("it was deleted")
    if changed(kept, sae):
        raise PartGone("its weights are others now")
    current.attach(model, sae, also=kept["also"])


def _activate(profile_id: str) -> None:
    profile = Profile.objects.filter(pk=profile_id).first()
    if profile is None:
        raise PartGone("it was deleted")
    profile.activate(reason=RESTORED)
