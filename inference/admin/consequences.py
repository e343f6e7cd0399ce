"""What ends when a model or an SAE goes, in words: told before somebody confirms it, and after."""

from django.conf import settings

from inference.models import LanguageModel
from profiles.models import Profile
from steering.errors import Refused
from steering.models import SAE, SteeringState


def of_unloading(model: LanguageModel) -> list[str]:
    """What ends with `model`."""
    if not model.is_current:
        return []
    told = []
    if model.status == LanguageModel.Status.READY:
        finish = f"answers that are running may finish within {settings.INFERENCE_DRAIN_S:g} seconds"
        told.append(f"Model {model} is served no more; {finish}.")
    attached = SAE.objects.attached()
    return [*told, *([f"SAE {attached} is detached."] if attached else []), *_of_no_steering()]


def of_loading(model: LanguageModel) -> list[str]:
    """What ends when `model` is loaded: all that belongs to the one that is current now."""
    current = LanguageModel.objects.current()
    return of_unloading(current) if current and current != model else []


def of_detaching(sae: SAE) -> list[str]:
    """What ends with `sae`."""
    return _of_no_steering() if sae.is_attached else []


def of_attaching(sae: SAE) -> list[str]:
    """What ends when `sae` is attached in place of another one."""
    attached, model = SAE.objects.attached(), LanguageModel.objects.current()
    if attached is None or attached == sae or model is None:
        return []
    try:
        model.check_fits(sae)
    except Refused:
        return []  # it will not be attached: nothing ends
    return [f"SAE {attached} is detached.", *_of_no_steering()]


def _of_no_steering() -> list[str]:
    profile, state = Profile.objects.active(), SteeringState.objects.load()
    told = [f"Profile {profile} is deactivated."] if profile else []
    if state.strengths:
        count = len(state.strengths)
        told.append(f"The live steering of {count} {'feature' if count == 1 else 'features'} is cleared.")
    return told
