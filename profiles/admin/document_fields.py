"""The fields of a form for what a document has beside its own features: settings, parts and a condition."""

import json
from collections.abc import Mapping
from typing import Any

from django import forms
from django.core.exceptions import ValidationError
from unfold.widgets import (
    UnfoldAdminDecimalFieldWidget,
    UnfoldAdminIntegerFieldWidget,
    UnfoldAdminSelectWidget,
    UnfoldAdminTextareaWidget,
    UnfoldBooleanSwitchWidget,
)

from steering.document.part import TOKEN_FLAGS
from steering.document.places import UNITS
from steering.document.steering import MAX_INTENSITY
from steering.strict_json import loads

POSITIONS = {
    "all": "all tokens",
    "prompt": "the prompt",
    "answer": "the answer",
    "first-all": "the first tokens of the request",
    "first-prompt": "the first tokens of the prompt",
    "last-prompt": "the last tokens of the prompt",
    "first-answer": "the first tokens of the answer",
}
"""The choices of positions: those of a document, or `first` or `last` and of which tokens."""
UNIT_NAMES = {"raw": "raw", "max_activation": "maximum activation (1 is the largest measured)", "residual": "residual"}
ALSO_EXAMPLE = '[{"sae": "other-sae", "features": {"7": 2.0}, "positions": "answer"}]'
WHEN_EXAMPLE = '{"feature": 12, "above": 3.0}'
OF_KEYS = {name: f"skip_{name}" for name in TOKEN_FLAGS}
"""The names of fields that are not named as the key of the document."""
DOCUMENT_FIELDS = ("unit", "intensity", "positions", "positions_tokens", *OF_KEYS.values(), "when", "also")


class JSONTextField(forms.CharField):
    """JSON that is edited as text; None is nothing. A text that is no JSON is shown again as typed."""

    widget = UnfoldAdminTextareaWidget

    def to_python(self, value: Any) -> Any:
        text = super().to_python(value)
        if not text:
            return None
        try:
            return loads(text)
        except ValueError as error:
            raise ValidationError(f"Enter valid JSON: {error}", code="invalid") from error

    def prepare_value(self, value: Any) -> Any:
        """A list has a line for each of its elements."""
        if value is None or isinstance(value, str):
            return value
        if isinstance(value, list):
            return "[\n{}\n]".format(",\n".join(json.dumps(one, ensure_ascii=False) for one in value))
        return json.dumps(value, ensure_ascii=False)

    def has_changed(self, initial: Any, data: Any) -> bool:
        try:
            return bool(self.to_python(data) != initial)
        except ValidationError:
            return True


class DocumentFields(forms.Form):
    """A form with the settings of a document. Values that are left out are those of an empty document."""

    unit = forms.ChoiceField(
        choices=[(unit, UNIT_NAMES[unit]) for unit in UNITS],
        required=False,
        widget=UnfoldAdminSelectWidget,
        help_text="The unit of the values of add and clamp: as they are, in maximum activations of the feature, or as "
        "a share of the mean norm of the residual stream. The latter two need a measured SAE.",
    )
    intensity = forms.FloatField(
        required=False,
        widget=UnfoldAdminDecimalFieldWidget(attrs={"min": 0, "max": MAX_INTENSITY, "step": "any"}),
        help_text="0 to 2: 1 applies the values as they are, 0 turns them off.",
    )
    positions = forms.ChoiceField(
        choices=list(POSITIONS.items()),
        required=False,
        widget=UnfoldAdminSelectWidget,
        label="Steered tokens",
    )
    positions_tokens = forms.IntegerField(
        required=False,
        min_value=1,
        widget=UnfoldAdminIntegerFieldWidget(attrs={"min": 1}),
        label="Number of tokens",
        help_text="Of the first or last tokens.",
    )
    skip_special_tokens = forms.BooleanField(
        required=False,
        widget=UnfoldBooleanSwitchWidget,
        label="Leave special tokens unsteered",
    )
    skip_tools = forms.BooleanField(
        required=False,
        widget=UnfoldBooleanSwitchWidget,
        label="Leave tool calls unsteered",
    )
    skip_thinking = forms.BooleanField(
        required=False,
        widget=UnfoldBooleanSwitchWidget,
        label="Leave the reasoning unsteered",
    )
    when = JSONTextField(
        required=False,
        label="Condition",
        widget=UnfoldAdminTextareaWidget(attrs={"rows": 2, "spellcheck": "false"}),
        help_text=f"The features steer only at tokens where this holds, such as {WHEN_EXAMPLE}; with "
        '"so_far": true, from the first such token on. "sae" names another attached SAE. JSON, empty for none.',
    )
    also = JSONTextField(
        required=False,
        label="Further parts",
        widget=UnfoldAdminTextareaWidget(attrs={"rows": 5, "spellcheck": "false"}),
        help_text=f"Features of other attached SAEs and vectors of sets, such as {ALSO_EXAMPLE}. A part may have a "
        "layer, a unit, positions, special_tokens, tools, thinking and a condition (when) of its own. JSON, empty for "
        "none.",
    )

    def clean_positions_tokens(self) -> int | None:
        tokens: int | None = self.cleaned_data["positions_tokens"]
        counted = "-" in self.cleaned_data.get("positions", "")
        if counted and tokens is None:
            raise ValidationError("Enter the number of tokens.", code="required")
        if tokens is not None and not counted and self.cleaned_data.get("positions"):
            raise ValidationError("Choose the first or last tokens above, or leave this empty.", code="invalid")
        return tokens

    def more(self) -> dict[str, Any]:
        """The document's keys beside its features, of valid fields; defaults are left out by its parser."""
        cleaned = self.cleaned_data
        which, _, of = cleaned["positions"].partition("-")
        settings: dict[str, Any] = {
            "unit": cleaned["unit"] or None,
            "intensity": cleaned["intensity"],
            "positions": {"of": of, which: cleaned["positions_tokens"]} if of else which or None,
            **{name: False if cleaned[field] else None for name, field in OF_KEYS.items()},
            "when": cleaned["when"],
            "also": cleaned["also"],
        }
        return {name: value for name, value in settings.items() if value is not None}


def initial_fields(more: Mapping[str, Any]) -> dict[str, Any]:
    """The fields' values of a document's keys beside its features."""
    positions = more.get("positions", "all")
    tokens = None
    if not isinstance(positions, str):
        of = positions.get("of", "all")
        which = next((name for name in ("first", "last") if name in positions), "")
        positions, tokens = (f"{which}-{of}", positions[which]) if which else (of, None)
    return {
        "unit": more.get("unit", "raw"),
        "intensity": more.get("intensity", 1.0),
        "positions": positions,
        "positions_tokens": tokens,
        **{field: more.get(name) is False for name, field in OF_KEYS.items()},
        "when": more.get("when"),
        "also": more.get("also"),
    }
