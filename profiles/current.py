"""The transitions of the current model and the attached SAE, which end the active profile and the live steering.

The current model, the attached SAE, the active profile and the live steering change together, under one lock. Each
function takes `SteeringState.objects.lock()` first.
"""

from django.db import transaction

from profiles.models import Profile
from steering.errors import Refused
from steering.models import SAE, LanguageModel, SteeringState


class NoCurrentModel(Refused):
    """A change that needs the current model, and no model is current."""

    code = "no_current_model"
    status = 409


@transaction.atomic
def make_current(model: LanguageModel) -> None:
    """Serve `model` from now on; detaches the SAE of the model before it."""
    SteeringState.objects.lock()
    if LanguageModel.objects.filter(pk=model.pk, is_current=True).exists():
        return
    detach_sae()
    LanguageModel.objects.filter(is_current=True).update(is_current=False)
    LanguageModel.objects.filter(pk=model.pk).update(is_current=True)
    model.is_current = True


@transaction.atomic
def unload(model: LanguageModel) -> None:
    """Stop serving `model`; workers end its download or its load."""
    SteeringState.objects.lock()
    model.refresh_from_db()
    if model.is_current:
        detach_sae()
    LanguageModel.objects.filter(pk=model.pk).update(is_current=False)
    model.refresh_from_db()


@transaction.atomic
def attach(model: LanguageModel, sae: SAE) -> None:
    """Attach `sae` to `model`, which must be current, in place of the SAE attached before.

    Raises NoCurrentModel, or what `LanguageModel.check_fits` raises, and changes nothing then.
    """
    SteeringState.objects.lock()
    model.refresh_from_db()
    if not model.is_current:
        raise NoCurrentModel(f"{model} is not the current model: make it current first")
    sae.refresh_from_db()
    model.check_fits(sae)
    if not SAE.objects.filter(pk=sae.pk, is_attached=True).exists():
        detach_sae()
        SAE.objects.filter(pk=sae.pk).update(is_attached=True)
    sae.is_attached = True


def attach_sae(sae: SAE) -> None:
    """Attach `sae` to the current model. Raises what `attach` raises."""
    model = LanguageModel.objects.current()
    if model is None:
        raise NoCurrentModel("no model is current: load one first")
    attach(model, sae)


@transaction.atomic
def detach_sae(only: SAE | None = None) -> None:
    """Detach the attached SAE, if one is attached; deactivates the active profile and clears the live steering.

    Where `only` is given and another SAE is attached, nothing changes.
    """
    state = SteeringState.objects.lock()
    if only is not None and not SAE.objects.filter(pk=only.pk, is_attached=True).exists():
        return
    Profile.objects.deactivate_active(clear_steering=True)
    state.refresh_from_db()
    if state.strengths or state.enabled:
        state.clear()
    SAE.objects.filter(is_attached=True).update(is_attached=False)
