"""The transitions of the current model and the attached SAEs, which end the active profile and the live steering.

The current model, the attached SAEs, the active profile and the live steering change together, under one lock. Each
function takes `SteeringState.objects.lock()` first. One SAE is the main attached one; others are attached beside it.
"""

from collections.abc import Mapping
from typing import Any

from django.db import transaction

from profiles.models import Profile
from steering.errors import Refused
from steering.models import SAE, LanguageModel, SteeringState
from steering.saes import IN_USE


class NoCurrentModel(Refused):
    """A change that needs the current model, and no model is current."""

    code = "no_current_model"
    status = 409


class IsMainSAE(Refused):
    """The main attached SAE, which cannot be attached beside itself."""

    code = "sae_attached"
    status = 409


@transaction.atomic
def make_current(model: LanguageModel) -> None:
    """Serve `model` from now on; detaches the SAEs of the model before it."""
    SteeringState.objects.lock()
    if LanguageModel.objects.filter(pk=model.pk, is_current=True).exists():
        return
    detach_all()
    LanguageModel.objects.filter(is_current=True).update(is_current=False)
    LanguageModel.objects.filter(pk=model.pk).update(is_current=True)
    model.is_current = True


@transaction.atomic
def unload(model: LanguageModel) -> None:
    """Stop serving `model`; workers end its download or its load."""
    SteeringState.objects.lock()
    model.refresh_from_db()
    if model.is_current:
        detach_all()
    LanguageModel.objects.filter(pk=model.pk).update(is_current=False)
    model.refresh_from_db()


@transaction.atomic
def attach(model: LanguageModel, sae: SAE, *, also: bool = False) -> None:
    """Attach `sae` to `model`, which must be current, in place of the main attached SAE, which is detached.

    With `also`, attach `sae` beside the main attached SAE: nothing else changes. An SAE that is attached beside the
    main one becomes the main one without `also`.

    Raises NoCurrentModel, IsMainSAE, or what `LanguageModel.check_fits` raises, and changes nothing then.
    """
    SteeringState.objects.lock()
    model.refresh_from_db()
    if not model.is_current:
        raise NoCurrentModel(f"{model} is not the current model: make it current first")
    sae.refresh_from_db()
    model.check_fits(sae)
    if also and sae.is_attached:
        raise IsMainSAE(f"SAE {sae} is the main attached SAE: name another SAE to attach in addition")
    if not also and not sae.is_attached:
        detach_sae()
    sae.is_attached, sae.is_also_attached = not also, also
    SAE.objects.filter(pk=sae.pk).update(is_attached=sae.is_attached, is_also_attached=sae.is_also_attached)


def attach_sae(sae: SAE, *, also: bool = False) -> None:
    """Attach `sae` to the current model. Raises what `attach` raises."""
    model = LanguageModel.objects.current()
    if model is None:
        raise NoCurrentModel("no model is current: load one first")
    attach(model, sae, also=also)


@transaction.atomic
def detach_sae(only: SAE | None = None) -> None:
    """Detach `only`, by default the main attached SAE; does nothing where it is not attached.

    Without the main SAE the active profile and the live steering end. Without another SAE they end where one of the
    two names that SAE.
    """
    SteeringState.objects.lock()
    sae = SAE.objects.filter(IN_USE, pk=only.pk).first() if only else SAE.objects.attached()
    if sae is None:
        if only is None:
            _end_steering()
        return
    if sae.is_attached:
        _end_steering()
    elif is_named(sae):
        _end_steering(f"SAE {sae} was detached")
    SAE.objects.filter(pk=sae.pk).update(is_attached=False, is_also_attached=False)


def is_named(sae: SAE) -> bool:
    """True where the active profile or the live steering names `sae` beside its own SAE."""
    steering = [SteeringState.objects.load(), Profile.objects.active()]
    return any(sae.pk in _named_by(one.more) for one in steering if one)


def _named_by(more: Mapping[str, Any]) -> set[str]:
    """The ids of the SAEs of further parts and of conditions."""
    parts = [more, *more.get("also", [])]
    conditions = [part["when"] for part in parts if part.get("when")]
    return {named["sae"] for named in (*parts, *conditions) if "sae" in named}


@transaction.atomic
def detach_all() -> None:
    """Detach all SAEs, which ends the active profile and the live steering."""
    SteeringState.objects.lock()
    _end_steering()
    SAE.objects.filter(IN_USE).update(is_attached=False, is_also_attached=False)


def _end_steering(why: str = "") -> None:
    """Deactivate the active profile and clear the live steering; the history keeps `why`."""
    if active := Profile.objects.active():
        active.deactivate(why=why)
    state = SteeringState.objects.load()
    if state.strengths or state.enabled or state.more:
        state.clear(reason=why or "cleared")
