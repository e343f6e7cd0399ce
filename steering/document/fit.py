"""The parts of a document that do not fit the attached SAEs."""

from collections.abc import Iterator, Mapping
from typing import Any

from steering.document.part import Part
from steering.document.steering import Steering
from steering.saes import SAE


def misfits(document: Steering, main: SAE | None) -> Iterator[dict[str, Any]]:
    """Yield {field, got, expected} for each part of `also`, and each condition, that no attached SAE fits."""
    attached = {sae.pk: sae for sae in (*SAE.objects.all_attached(), *([main] if main else []))}
    if document.when and document.features and document.when.sae:
        yield from _unattached("when.sae", document.when.sae, attached)
    for at, part in enumerate(document.also):
        yield from _of_part(f"also.{at}", part, attached)


def _of_part(path: str, part: Part, attached: Mapping[str, SAE]) -> Iterator[dict[str, Any]]:
    yield from _unattached(f"{path}.sae", part.sae, attached)
    if sae := attached.get(part.sae):
        layers = sae.layers or [sae.layer]
        if part.layer is not None and part.layer not in layers:
            yield _difference(f"{path}.layer", part.layer, layers[0] if len(layers) == 1 else layers)
        if part.sae_fingerprint and sae.fingerprint and part.sae_fingerprint != sae.fingerprint:
            yield _difference(f"{path}.sae_fingerprint", part.sae_fingerprint, sae.fingerprint)
        if (index := max(part.features, default=0)) >= sae.d_sae:
            yield _difference(f"{path}.features", f"feature {index}", f"features below {sae.d_sae}")
    if part.when and part.when.sae:
        yield from _unattached(f"{path}.when.sae", part.when.sae, attached)


def _unattached(field: str, sae_id: str, attached: Mapping[str, SAE]) -> Iterator[dict[str, Any]]:
    if sae_id not in attached:
        yield _difference(field, sae_id, "an attached SAE")


def _difference(field: str, got: Any, expected: Any) -> dict[str, Any]:
    return {"field": field, "got": got, "expected": expected}
