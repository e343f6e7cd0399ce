"""The reasons why a profile does not fit the current model and the attached SAE, as sentences."""

from typing import Any

from profiles.models import Profile
from steering.models import SAE


def reasons(profile: Profile, model: Any, sae: SAE | None) -> list[str]:
    """Why `profile` cannot steer `model` by `sae`; empty where it can."""
    return [_told(difference, model, sae) for difference in profile.differences(model, sae)]


def _told(difference: dict[str, Any], model: Any, sae: SAE | None) -> str:
    field, got, here = difference["field"], difference["got"], difference["expected"]
    if field == "model":
        if model is None:
            return "No model is loaded."
        return f"It is for the model {got}, and {here} is loaded." if got else "It does not say which model it is for."
    if field == "sae":
        if sae is None:
            return "No SAE is attached."
        return f"It is for the SAE {got}, and {here} is attached." if got else "It does not say which SAE it is for."
    if field == "layer":
        mine = "it does not say which layer it is for" if got is None else f"it is for layer {got}"
        return f"The attached SAE is at layer {here}, and {mine}."
    if field == "sae_fingerprint":
        return (
            f"The attached SAE has other weights: their fingerprint is {here[:12]}…, and it was made for {got[:12]}…."
        )
    return f"{str(got).capitalize()} is beyond the attached SAE, which has {here}."
