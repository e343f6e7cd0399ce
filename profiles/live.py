"""The live steering beside the active profile, as pages show them."""

from collections import defaultdict
from collections.abc import Mapping
from typing import Any

from django.contrib.admin.utils import quote
from django.urls import reverse

from profiles.diff import FLAG_NAMES, Change, differences
from profiles.models import Profile
from steering.document.places import When
from steering.errors import Refused
from steering.labels.models import FeatureLabel
from steering.models import SAE, LanguageModel, SteeringState
from steering.spec import SteeringSpec
from steering.strengths import stored_values

DIFFERENCES_SHOWN = 10
FEATURES_OF_PART = 20
TITLES = {"unit": "unit", "positions": "steered tokens", **FLAG_NAMES, "when": "condition"}


def live_steering() -> dict[str, Any]:
    """The JSON of the page of the live steering."""
    state, sae, profile = SteeringState.objects.load(), SAE.objects.attached(), Profile.objects.active()
    document = state.document
    model, last = LanguageModel.objects.current(), SteeringState.history.first()
    return {
        "version": state.version,
        "enabled": state.enabled,
        "values": state.strengths,
        "more": state.more,
        "unit": document.unit,
        "intensity": document.intensity,
        "settings": in_words(state.more),
        "labels": FeatureLabel.objects.of(state.sae_id, state.strengths),
        "model": model.name if model else None,
        "sae": {**sae.for_table(), "layer": sae.layer} if sae else None,
        "profile": _compared(profile, state) if profile else None,
        "outcome": outcome(state, model, sae, profile),
        "changed": {
            "reason": last.history_change_reason or last.get_history_type_display().lower(),
            "by": last.author,
            "at": last.history_date,
        }
        if last
        else None,
    }


def in_words(more: Mapping[str, Any]) -> list[dict[str, str]]:
    """The settings and parts of a document for people, each `name` and `value`; the intensity is left out."""
    shown = [(name, value) for name, value in more.items() if name not in {"also", "intensity"}]
    return [
        *({"name": TITLES[name], "value": _as_text(name, value)} for name, value in shown),
        *({"name": "part", "value": _part_in_words(part)} for part in more.get("also", [])),
    ]


def _as_text(name: str, value: Any) -> str:
    if name in FLAG_NAMES:
        return "steered" if value else "not steered"
    if name == "when":
        return str(When.parse(value, "when"))
    if name == "positions" and isinstance(value, dict):
        which = next(key for key in ("first", "last") if key in value)
        return f"{which} {value[which]} of {value.get('of', 'all')}"
    return str(value)


def _part_in_words(part: Mapping[str, Any]) -> str:
    """Such as `other-sae, layer 20: 7: 2, 9: clamp to 1; positions answer`."""
    layer = f", layer {part['layer']}" if "layer" in part else ""
    values = stored_values(part["features"])
    features = ", ".join(f"{index}: {value}" for index, value in list(values.items())[:FEATURES_OF_PART])
    rest = f" and {len(values) - FEATURES_OF_PART} more" if len(values) > FEATURES_OF_PART else ""
    own = [f"; {TITLES[name]} {_as_text(name, part[name])}" for name in TITLES if name in part]
    return f"{part['sae']}{layer}: {features}{rest}{''.join(own)}"


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
    whose = f", as set by profile {profile}" if profile and not profile.differs_from(state) else ""
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
        "url": profile_url(profile),
        "differs": bool(difference),
        "values_differ": bool(difference.features),
        "differences": [_shown(change) for change in (*difference.fields, *difference.features)],
        "more": difference.more,
    }


def profile_url(profile: Profile) -> str:
    return reverse("admin:profiles_profile_change", args=[quote(profile.pk)])


def _shown(change: Change) -> dict[str, str]:
    return {"kind": change.kind, "name": change.name, "before": change.before, "after": change.after}
