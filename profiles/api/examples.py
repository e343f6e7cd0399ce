"""Examples of the REST API: the demo's profile `ocean`, the live steering that it makes, and their versions."""

from typing import Any

FINGERPRINT = "3f0c6a5d9e1b7c24" * 4
STEERING = {"79": 6.29, "286": 11.87}
LABELS = {"79": "whales, dolphins, waves", "286": "drifts, dives, splashes"}
CREATED, CHANGED = "2026-11-28T21:43:09Z", "2026-11-28T21:46:00Z"
PROFILE: dict[str, Any] = {
    "id": "prof_5f9c1b34307bf941f083c8f991019e4c",
    "name": "ocean",
    "description": "Talks about the topic ocean.",
    "tags": ["nature", "demo"],
    "notes": "11.87 is the most that keeps the text fluent.",
    "model_id": "demo",
    "sae_id": "demo-sae",
    "layer": 1,
    "sae_fingerprint": FINGERPRINT,
    "steering": STEERING,
    "labels": LABELS,
    "is_active": True,
    "created_at": CREATED,
    "updated_at": CHANGED,
}
NEW_PROFILE = {"name": "ocean", "description": "Talks about the topic ocean.", "steering": STEERING}
VERSION: dict[str, Any] = {
    "version": 17,
    "number": 3,
    "type": "changed",
    "reason": "activated",
    "at": CHANGED,
    "user": "admin",
    "door": "admin",
    "agent": "admin",
    "name": "ocean",
    "is_active": True,
}
_content = {name: value for name, value in PROFILE.items() if name not in {"labels", "created_at", "updated_at"}}
DIFFERENCE = {
    "changed": [{"field": "description", "before": None, "after": "Talks about the topic ocean."}],
    "features": [{"index": 79, "before": 4.0, "after": 6.29}, {"index": 286, "before": None, "after": 11.87}],
}
LIVE: dict[str, Any] = {
    "enabled": True,
    "values": STEERING,
    "labels": LABELS,
    "version": 12,
    "sae_id": "demo-sae",
    "active_profile": {"id": PROFILE["id"], "name": "ocean"},
    "equals_active_profile": True,
    "updated_at": CHANGED,
}
LIVE_VERSION: dict[str, Any] = {
    "version": 12,
    "reason": "profile ocean was activated",
    "at": CHANGED,
    "door": "admin",
    "agent": "admin",
    "enabled": True,
    "sae_id": "demo-sae",
}


WHOLE_VERSION = {**VERSION, "profile": _content}
WHOLE_LIVE_VERSION = {**LIVE_VERSION, "values": STEERING, "labels": LABELS}
IMPORTED = {**PROFILE, "is_active": False, "outcome": "created"}
IMPORTED_FILE = {**IMPORTED, "notes": ["exported_at: a profile does not keep this field"]}
IMPORTED_BUNDLE = {"count": 1, "results": [IMPORTED], "notes": []}
