"""A profile with a whole document, for tests."""

from typing import Any

from profiles.models import Profile

CLAMP: dict[str, Any] = {"mode": "clamp", "value": 2.0}
ALSO: dict[str, Any] = {"sae": "other", "layer": 1, "features": {"7": 2.0}, "when": {"feature": 5, "above": 1.0}}
DOCUMENT: dict[str, Any] = {
    "also": [ALSO],
    "intensity": 0.5,
    "positions": {"of": "answer", "first": 10},
    "special_tokens": False,
    "tools": False,
}
"""All but the features. `ALSO` is of the SAE of the fixture `other`."""


def made(**fields: Any) -> Profile:
    """A profile of this document, but for `fields`."""
    return Profile.objects.create_from(**{"name": "full", "strengths": {3: 4.0, 8: CLAMP}, "more": DOCUMENT, **fields})
