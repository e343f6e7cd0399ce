"""The reasons why a profile does not fit the current model and the attached SAE, as sentences."""

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from steering.models import SAE

if TYPE_CHECKING:
    from profiles.models import Profile


def reasons(profile: "Profile", model: Any, sae: SAE | None) -> list[str]:
    """Why `profile` cannot steer `model` by `sae`; empty where it can."""
    return [_told(difference, model, sae) for difference in profile.differences(model, sae)]


def in_one(differences: Iterable[dict[str, Any]], model: Any, sae: SAE | None) -> str:
    """The sentences on `differences` as a part of one sentence."""
    sentences = [_told(difference, model, sae) for difference in differences]
    return "; ".join(sentence[0].lower() + sentence[1:].removesuffix(".") for sentence in sentences)


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
    if field.startswith("also.") or field == "when.sae":
        return _of_part(field, got, here)
    if field == "sae_fingerprint":
        return (
            f"The attached SAE has other weights: their fingerprint is {here[:12]}…, and it was made for {got[:12]}…."
        )
    return f"{str(got).capitalize()} is beyond the attached SAE, which has {here}."


def _of_part(field: str, got: Any, here: Any) -> str:
    """A sentence on a further part, or on a condition."""
    path, _, name = field.rpartition(".")
    if path.endswith("when"):
        return f"Its condition needs the SAE {got}, which is not attached."
    part = f"Its part {int(path.split('.')[1]) + 1}"
    if name == "sae":
        return f"{part} is of {got}, which is not attached."
    if name == "layer":
        return f"{part} is for layer {got}, and its SAE is at layer {here}."
    if name == "sae_fingerprint":
        return f"{part} was made for the fingerprint {got[:12]}…, and that of its SAE is {here[:12]}…."
    return f"{part} has {got}, which is beyond its SAE, which has {here}."
