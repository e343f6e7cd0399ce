"""Consequences of unloading and detaching, as sentences: shown before the user confirms, and again afterwards."""

from django.conf import settings
from django.utils.text import capfirst

from inference.models import LanguageModel
from inference.room import Room, room_beside
from inference.setups.models import Setup
from profiles.current import is_named
from profiles.models import Profile
from steering.errors import Refused
from steering.models import SAE, SteeringState


def of_unloading(model: LanguageModel) -> list[str]:
    """The consequences of unloading `model`."""
    if not model.is_current:
        return []
    is_served = model.status == LanguageModel.Status.READY
    gone = [f"Model {model} is no longer served; {_finish()}."] if is_served else []
    return [*gone, *_of_no_model()]


def of_loading(model: LanguageModel) -> list[str]:
    """The consequences of loading `model` for another model that is current now."""
    current = LanguageModel.objects.current()
    if current is None or current == model:
        return []
    is_served = current.status == LanguageModel.Status.READY
    return [*([_of_switch(current, model)] if is_served else []), *_of_no_model()]


def _of_switch(current: LanguageModel, model: LanguageModel) -> str:
    """How long the served model is served, while another one is loaded."""
    ready = f"Model {current} answers, unsteered, until {model} is ready"
    checked = f"until the files of {model} are checked; then no model answers until {model} is ready"
    told = {
        Room.BOTH: f"{ready}: the memory holds both.",
        Room.ONE: f"Model {current} answers, unsteered, {checked}: the memory does not hold both.",
        Room.UNKNOWN: f"{ready}, where the memory holds both; otherwise {checked}.",
    }
    return f"{told[room_beside(model, current)]} {capfirst(_finish())}."


def _finish() -> str:
    return f"answers in progress may finish within {settings.INFERENCE_DRAIN_S:g} seconds"


def _of_no_model() -> list[str]:
    return [*(f"SAE {attached} is detached." for attached in SAE.objects.all_attached()), *_of_no_steering()]


def of_restoring(setup: Setup) -> list[str]:
    """The consequences of going back to `setup`, which may be one of the current model."""
    current, model = LanguageModel.objects.current(), setup.model
    if current is None or model is None:
        return _of_options(setup, model)
    if current != model:
        return [*of_loading(model), *_of_options(setup, model)]
    kept = {one["id"] for one in setup.saes}
    lines = [f"SAE {attached} is detached." for attached in SAE.objects.all_attached() if attached.pk not in kept]
    active, state = Profile.objects.active(), SteeringState.objects.load()
    if active and active.pk != setup.profile_id:
        lines.append(f"Profile {active} is deactivated.")
    if state.document:
        lines.append(f"The live steering of {_features(state)} is replaced.")
    return [*lines, *_of_options(setup, model)]


def _of_options(setup: Setup, model: LanguageModel | None) -> list[str]:
    if model is None or (model.dtype, model.device) == (setup.dtype, setup.device):
        return []
    return [f"Model {model} is loaded with dtype {setup.dtype} and device {setup.device}, as it was then."]


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
    if state.document:
        consequences.append(f"The live steering of {_features(state)} is cleared.")
    return consequences


def _features(state: SteeringState) -> str:
    count = state.document.number
    return f"{count} feature" if count == 1 else f"{count} features"
