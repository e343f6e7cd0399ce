"""The one validator of feature strengths, for REST, chat, pages, files and commands."""

import math
import re
from collections.abc import Mapping

from django.conf import settings

from steering.errors import InvalidSteering

INDEX = re.compile(r"[0-9]{1,10}\Z")


def parse_strengths(data: object, *, d_sae: int | None = None, field: str = "steering") -> dict[int, float]:
    """Parse {feature index: strength} from JSON or Python; returns it in order of index, without zeros.

    Raises what `parse_entries` raises.
    """
    entries = parse_entries(data, d_sae=d_sae, field=field)
    return {index: strength for index, strength in sorted(entries.items()) if strength}


def parse_entries(data: object, *, d_sae: int | None = None, field: str = "steering") -> dict[int, float]:
    """Parse {feature index: strength}; keeps the zeros and the order.

    Raises InvalidSteering naming the entry: an index that is no integer >= 0 (and below `d_sae` where that is
    known), given twice ("7" and "07"), a strength that is not finite or beyond STEERING_MAX_STRENGTH, or
    more than STEERING_MAX_FEATURES entries.
    """
    if not isinstance(data, Mapping):
        raise InvalidSteering(f"got {type(data).__name__}, expected an object of feature index: strength", field)
    if len(data) > settings.STEERING_MAX_FEATURES:
        raise InvalidSteering(f"got {len(data)} features, expected at most {settings.STEERING_MAX_FEATURES}", field)
    strengths: dict[int, float] = {}
    for key, value in data.items():
        index = _index(key, d_sae, field)
        if index in strengths:
            raise InvalidSteering(f"feature {index} is given twice", f"{field}.{key}")
        strengths[index] = _strength(value, f"{field}.{key}")
    return strengths


def _index(key: object, d_sae: int | None, field: str) -> int:
    if isinstance(key, bool) or not (
        (isinstance(key, int) and key >= 0) or (isinstance(key, str) and INDEX.match(key))
    ):
        raise InvalidSteering(f"got index {key!r:.100}, expected an integer >= 0", field)
    index = int(key)
    if index >= 2**31:
        raise InvalidSteering(f"got index {index}, expected one below 2147483648", field)
    if d_sae is not None and index >= d_sae:
        raise InvalidSteering(f"feature {index} is out of range: the SAE has {d_sae} features", f"{field}.{key}")
    return index


def _strength(value: object, field: str) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise InvalidSteering(f"got {value!r:.100}, expected a finite number", field)
    limit = settings.STEERING_MAX_STRENGTH
    if not (-limit <= value <= limit) or math.isnan(value):
        raise InvalidSteering(f"got {value!r:.100}, expected a finite number from -{limit:g} to {limit:g}", field)
    return float(value)
