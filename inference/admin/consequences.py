"""Consequences of unloading and detaching, as sentences: shown before the user confirms, and again afterwards."""

from django.conf import settings

from inference.models import LanguageModel
from profiles.current import is_named
from profiles.models import Profile
from steering.errors import Refused
from steering.models import SAE, SteeringState


def of_unloading(model: LanguageModel) -> list[str]:
    """The consequences of unloading `model`."""
    if not model.is_current:
        return []
    consequences = []
    if model.status == LanguageModel.Status.READY:
        finish = f"answers in progress may finish within {settings.INFERENCE_DRAIN_S:g} seconds"
        consequences.append(f"Model {model} is no longer served; {finish}.")
    consequences += [f"SAE {attached} is detached." for attached in SAE.objects.all_attached()]
    return [*consequences, *_of_no_steering()]


def of_loading(model: LanguageModel) -> list[str]:
    """The consequences of loading `model` for another model that is current now."""
    current = LanguageModel.objects.current()
    return of_unloading(current) if current and current != model else []


def of_detaching(sae: SAE) -> list[str]:
    """The consequences of detaching `sae`."""
    return _of_no_steering() if sae.is_attached or (sae.is_also_attached and is_named(sae)) else []


def of_attaching(sae: SAE) -> list[str]:
    """The consequences of attaching `sae` in place of the main attached SAE."""
    attached, model = SAE.objects.attached(), LanguageModel.objects.current()
    if attached is None or attached == sae or model is None:
        return []
    try:
        model.check_fits(sae)
    except Refused:
        return []  # attaching will be refused
    return [f"SAE {attached} is detached.", *_of_no_steering()]


def _of_no_steering() -> list[str]:
    profile, state = Profile.objects.active(), SteeringState.objects.load()
    consequences = [f"Profile {profile} is deactivated."] if profile else []
    if count := state.document.number:
        consequences.append(f"The live steering of {count} {'feature' if count == 1 else 'features'} is cleared.")
    return consequences
