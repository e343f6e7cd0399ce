"""The live steering beside the active profile, as pages show them."""

from collections import defaultdict
from typing import Any

from django.contrib.admin.utils import quote
from django.urls import reverse

from profiles.diff import Change, differences
from profiles.models import Profile
from steering.errors import Refused
from steering.labels.models import FeatureLabel
from steering.models import SAE, LanguageModel, SteeringState
from steering.spec import SteeringSpec

DIFFERENCES_SHOWN = 10


def live_steering() -> dict[str, Any]:
    """The JSON of the page of the live steering."""
    state, sae, profile = SteeringState.objects.load(), SAE.objects.attached(), Profile.objects.active()
    model, last = LanguageModel.objects.current(), SteeringState.history.first()
    return {
        "version": state.version,
        "enabled": state.enabled,
        "values": state.strengths,
        "labels": FeatureLabel.objects.of(state.sae_id, state.strengths),
        "model": model.name if model else None,
        "sae": {"id": sae.id, "d_sae": sae.d_sae, "layer": sae.layer} if sae else None,
        "profile": _compared(profile, state) if profile else None,
        "outcome": outcome(state, model, sae, profile),
        "changed": {
            "reason": last.history_change_reason or last.get_history_type_display().lower(),
            "by": f"{last.agent} ({last.get_door_display()})" if last.agent else last.get_door_display(),
            "at": last.history_date,
        }
        if last
        else None,
    }


def outcome(state: SteeringState, model: Any, sae: SAE | None, profile: Profile | None) -> dict[str, str]:
    """The outcome of a request that names no steering: `kind` (refused, unsteered, steered) and `told`, a sentence."""
    if model is None:
        return {"kind": "refused", "told": "No model is loaded: requests are refused."}
    try:
        spec = state.current_spec(sae)
    except Refused as error:
        return {"kind": "refused", "told": f"Requests are refused: {error}."}
    if spec is None:
        why = "no feature is set" if state.enabled else "the live steering is off"
        return {"kind": "unsteered", "told": f"Requests are answered unsteered: {why}."}
    whose = f", as profile {profile} says" if profile and not profile.differs_from(state) else ""
    return {"kind": "steered", "told": f"Requests are steered by {_listed(spec)} of {model}{whose}."}


def _listed(spec: SteeringSpec) -> str:
    """The SAEs of a spec with their layers, as a list in words."""
    features: dict[tuple[str, int], int] = defaultdict(int)
    for part in spec.parts:
        features[part.sae_id, part.layer] += len(part.changes)
    listed = [
        f"{number} feature{'s' if number > 1 else ''} of {sae_id}, at layer {layer}"
        for (sae_id, layer), number in features.items()
    ]
    return " and ".join(filter(None, ["; ".join(listed[:-1]), listed[-1]]))


def _compared(profile: Profile, state: SteeringState) -> dict[str, Any]:
    """The active profile, and the changes of the live steering since its activation."""
    kept = SteeringState(enabled=True, strengths=profile.strengths, more=profile.more, sae_id=profile.sae_id or "")
    [difference] = differences([(kept, state)], {"enabled": "steering"}, DIFFERENCES_SHOWN)
    return {
        "id": profile.pk,
        "name": profile.name,
        "url": reverse("admin:profiles_profile_change", args=[quote(profile.pk)]),
        "differs": bool(difference),
        "values_differ": bool(difference.features),
        "differences": [_shown(change) for change in (*difference.fields, *difference.features)],
        "more": difference.more,
    }


def _shown(change: Change) -> dict[str, str]:
    return {"kind": change.kind, "name": change.name, "before": change.before, "after": change.after}
