"""What differs between two profiles, or two versions of one."""

from typing import Any

COMPARED = ("name", "description", "model_id", "sae_id", "layer", "sae_fingerprint")


def diff(before: Any, after: Any) -> dict[str, list[dict[str, Any]]]:
    """The fields (`changed`) and features that differ, each with its values; a feature that is not there has None."""
    changed = [
        {"field": name, "before": getattr(before, name), "after": getattr(after, name)}
        for name in COMPARED
        if getattr(before, name) != getattr(after, name)
    ]
    features = [
        {"index": index, "before": before.steering.get(index), "after": after.steering.get(index)}
        for index in sorted(before.steering.keys() | after.steering.keys())
        if before.steering.get(index) != after.steering.get(index)
    ]
    return {"changed": changed, "features": features}
