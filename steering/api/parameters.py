"""Parameters of requests, checked."""

from typing import Any

from rest_framework.exceptions import ValidationError
from rest_framework.request import Request

from steering.saes import SAE, NoSuchSAE


def sae_of(sae_id: str) -> SAE:
    """The SAE with this id. Raises NoSuchSAE."""
    sae = SAE.objects.filter(pk=sae_id).first()
    if sae is None:
        raise NoSuchSAE(f"there is no SAE {sae_id}")
    return sae


def known_parameters(request: Request, *names: str) -> Any:
    """The query string's parameters. Raises ValidationError for one that is not in `names`."""
    params = request.query_params
    if unknown := sorted(set(params) - {*names, "format"}):
        raise ValidationError(
            {name: [f"This parameter is unknown: expected {', '.join(names) or 'none'}."] for name in unknown}
        )
    return params


def parse_index(given: str) -> int:
    if not (len(given) <= 10 and given.isascii() and given.isdecimal() and int(given) < 2**31):
        raise ValidationError({"index": [f"Got {given!r:.100}, expected a whole number from 0 to {2**31 - 1}."]})
    return int(given)
