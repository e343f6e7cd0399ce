"""The document of a steering, in OpenAPI: schemas of its keys, and an example of each form."""

from typing import Any

from drf_spectacular.utils import OpenApiExample

from steering.document.places import OF, UNITS
from steering.document.steering import MAX_INTENSITY, MAX_PARTS
from steering.strengths import MAX_WEIGHT, MODES

STRENGTH: dict[str, Any] = {
    "oneOf": [
        {"type": "number"},
        {
            "type": "object",
            "properties": {
                "mode": {"enum": list(MODES), "default": "add"},
                "value": {"type": "number"},
                "weight": {"type": "number", "minimum": 0, "maximum": MAX_WEIGHT, "default": 1},
            },
            "additionalProperties": False,
        },
    ]
}
SINGLE_STRENGTHS: dict[str, Any] = {
    "type": "object",
    "description": "Feature index (a whole number as a string): strength, or an object with a mode.",
    "additionalProperties": STRENGTH,
    "example": {"123": 5.0, "456": -2.5},
}
LISTED_STRENGTHS: dict[str, Any] = {
    "type": "array",
    "description": "In requests only: features as upstream's user interface writes them.",
    "items": {
        "type": "object",
        "properties": {
            "index": {"type": "integer", "minimum": 0},
            "strength": STRENGTH,
            "label": {"description": "Ignored."},
        },
        "required": ["index", "strength"],
        "additionalProperties": False,
    },
}
STRENGTHS: dict[str, Any] = {"oneOf": [SINGLE_STRENGTHS, LISTED_STRENGTHS], "example": {"123": 5.0, "456": -2.5}}
UNIT = {
    "type": "string",
    "enum": list(UNITS),
    "default": "raw",
    "description": "The unit of the values of add and clamp.",
}
INTENSITY = {"type": "number", "minimum": 0, "maximum": MAX_INTENSITY, "default": 1}
TOKENS = {"type": "integer", "minimum": 1}
POSITIONS = {
    "description": "The tokens that are steered.",
    "oneOf": [
        {"enum": list(OF)},
        {
            "type": "object",
            "properties": {"of": {"enum": list(OF), "default": "all"}, "first": TOKENS, "last": TOKENS},
            "additionalProperties": False,
        },
    ],
    "default": "all",
}
SPECIAL_TOKENS = {"type": "boolean", "default": True, "description": "False: special tokens are not steered."}
TOOLS = {"type": "boolean", "default": True, "description": "False: the tokens of tool calls are not steered."}
THINKING = {"type": "boolean", "default": True, "description": "False: the tokens of the reasoning are not steered."}
SAE_ID = {"type": "string", "minLength": 1, "maxLength": 200}
WHEN: dict[str, Any] = {
    "type": "object",
    "description": "Steer only at tokens where a feature is above a threshold; with `so_far`, from the first one on.",
    "properties": {
        "feature": {"type": "integer", "minimum": 0},
        "above": {"type": "number"},
        "sae": SAE_ID,
        "so_far": {"type": "boolean", "default": False},
    },
    "required": ["feature", "above"],
    "additionalProperties": False,
}
ALSO: dict[str, Any] = {
    "type": "array",
    "maxItems": MAX_PARTS,
    "description": "Features of further attached SAEs, or vectors of attached sets.",
    "items": {
        "type": "object",
        "properties": {
            "sae": SAE_ID,
            "layer": {"type": "integer", "minimum": 0},
            "sae_fingerprint": {"type": "string", "maxLength": 64},
            "features": STRENGTHS,
            "unit": UNIT,
            "positions": POSITIONS,
            "special_tokens": SPECIAL_TOKENS,
            "tools": TOOLS,
            "thinking": THINKING,
            "when": WHEN,
        },
        "required": ["sae", "features"],
        "additionalProperties": False,
    },
}
SETTING_SCHEMAS: dict[str, dict[str, Any]] = {
    "also": ALSO,
    "unit": UNIT,
    "intensity": INTENSITY,
    "positions": POSITIONS,
    "special_tokens": SPECIAL_TOKENS,
    "tools": TOOLS,
    "thinking": THINKING,
    "when": WHEN,
}
"""The schemas of the keys beside `features`."""

FORMS: dict[str, dict[str, Any]] = {
    "features that are added": {"features": {"123": 5.0, "456": -2.5}},
    "modes": {
        "features": {
            "1": {"mode": "clamp", "value": 8.0},
            "2": {"mode": "ablate"},
            "3": {"mode": "scale", "value": 0.5},
            "4": {"mode": "project", "value": 1.0},
        }
    },
    "the answer alone, in shares of the largest activations": {
        "features": {"123": 0.4},
        "unit": "max_activation",
        "positions": "answer",
        "special_tokens": False,
    },
    "the first tokens, at half intensity": {
        "features": {"123": 5.0},
        "intensity": 0.5,
        "positions": {"of": "answer", "first": 20},
    },
    "all but tool calls and the reasoning": {"features": {"123": 5.0}, "tools": False, "thinking": False},
    "several SAEs, on a condition": {
        "features": {"123": 5.0},
        "also": [{"sae": "other-sae", "layer": 20, "features": {"7": 2.0}, "when": {"feature": 12, "above": 3.0}}],
        "when": {"feature": 88, "above": 1.5, "so_far": True},
    },
    "a list, as upstream's user interface writes it": {"features": [{"index": 123, "strength": 5.0}]},
}
"""A document of each form."""
COMPOSITION = {"profiles": {"ocean": 0.5, "formal": 1.0}, "features": {"123": 2.0}, "on_top": True}


def examples(features_key: str = "features", **other: Any) -> list[OpenApiExample]:
    """A request of each form, whose features are called `features_key`, with the fields `other`."""
    renamed = (
        (name, {features_key if key == "features" else key: value for key, value in form.items()})
        for name, form in FORMS.items()
    )
    return [OpenApiExample(name, {**other, **form}, request_only=True) for name, form in renamed]
