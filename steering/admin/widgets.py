"""The table of features and strengths, as a form field and as a part of a page (static/millm/features.js)."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from django import forms
from django.conf import settings
from django.core.exceptions import ValidationError
from django.forms.boundfield import BoundField
from django.forms.fields import InvalidJSONInput
from django.template.loader import render_to_string
from django.urls import reverse
from django.utils.safestring import SafeString, mark_safe
from unfold.widgets import UnfoldAdminTextareaWidget

from steering import strict_json
from steering.admin.links import feature_url_pattern
from steering.document.places import RAW
from steering.errors import InvalidSteering, Refused
from steering.labels.models import FeatureLabel
from steering.models import SAE
from steering.strengths import INDEX, MODES, Strength, parse_strengths

SCRIPTS = (
    "combobox",
    "strengths",
    "feature_modes",
    "feature_lists",
    "feature_labels",
    "feature_rows",
    "feature_steps",
    "features",
)


@dataclass
class FeatureTable:
    """The table's options beside the strengths, for templates/millm/features.html."""

    sae: SAE | None = None
    """The SAE of the features; None if it is unknown."""
    user: Any = None
    """The user of the page. Users who may view labels may search them, and have links to the pages of features."""
    read_only: bool = False
    id: str = "features"
    """The id of the HTML element; unique in a page."""
    unit: str = RAW
    """The unit of the values, which the sliders' range follows."""

    def context(self, strengths: Mapping[int, Strength], errors: Mapping[str, str] | None = None) -> dict[str, Any]:
        """`features` of the template."""
        sae = self.sae.for_table() if self.sae else {"id": "", "d_sae": None, "norm": None}
        may_view = bool(self.user and self.user.has_perm("steering.view_featurelabel"))
        options = {
            "strengths": dict(strengths),
            "labels": FeatureLabel.objects.of(self.sae.pk, strengths) if self.sae else {},
            "errors": dict(errors or {}),
            "sae": sae["id"],
            "d_sae": sae["d_sae"],
            "norm": sae["norm"],
            "search": may_view,
            "page_url": feature_url_pattern() if may_view else "",
            "maximum_url": reverse("admin:steering_feature_maximum") if may_view else "",
            "read_only": self.read_only,
            "unit": self.unit,
            "max_strength": settings.STEERING_MAX_STRENGTH,
            "max_features": settings.STEERING_MAX_FEATURES,
        }
        sortable = [("index", "Feature"), ("strength", "Strength")]
        return {
            "id": self.id,
            "options_id": f"{self.id}-options",
            "options": options,
            "sortable": sortable,
            "modes": MODES,
        }

    def render(self, strengths: Mapping[int, Strength]) -> SafeString:
        """The table as HTML."""
        return mark_safe(render_to_string("millm/features.html", {"features": self.context(strengths)}))


class FeatureStrengthsWidget(UnfoldAdminTextareaWidget):
    """A textarea of JSON that the script shows as the table. The form sets `table` and `errors` (by feature index)."""

    template_name = "millm/features.html"

    class Media:
        css = {"all": ["millm/features.css"]}
        js = [f"millm/{name}.js" for name in SCRIPTS]

    def __init__(self, attrs: dict[str, Any] | None = None) -> None:
        super().__init__(attrs)
        self.table = FeatureTable()
        self.errors: dict[str, str] = {}

    def get_context(self, name: str, value: Any, attrs: dict[str, Any] | None) -> dict[str, Any]:
        context: dict[str, Any] = super().get_context(name, value, attrs)
        self.table.id = context["widget"]["attrs"].get("id", name)
        context["features"] = self.table.context(dict.fromkeys(indices(value), 0.0), self.errors)
        return context

    def id_for_label(self, id_: str, index: Any = None) -> str:
        return f"{id_}-add" if id_ else ""

    def _render(self, template_name: str, context: dict[str, Any], renderer: Any = None) -> SafeString:
        """Render with the project's templates, which the renderer of forms does not search."""
        return mark_safe(render_to_string(template_name, context))


def indices(value: Any) -> list[int]:
    """The feature indices in a field's JSON, whatever the strengths are; empty if the JSON is not an object."""
    try:
        entries = strict_json.loads(value) if isinstance(value, str) else value
    except ValueError:
        return []
    return [int(key) for key in entries if INDEX.match(key)] if isinstance(entries, dict) else []


def validation_error(error: Refused) -> ValidationError:
    """`error` for a form, which shows it below its field: only a field within another stays in the message.

    Its `params` name the field, and Django %-formats the message with them.
    """
    field = str(error.details.get("field", ""))
    message = str(error).removeprefix(f"{field}: ") if field and "." not in field else str(error)
    return ValidationError(message.replace("%", "%%"), code=error.code, params={"field": "", **error.details})


class FeatureStrengthsBoundField(BoundField):
    """Passes each error to the widget with the index of its feature."""

    def as_widget(self, widget: Any = None, attrs: Any = None, only_initial: bool = False) -> SafeString:
        messages = {str((error.params or {}).get("field", "")): error.messages[0] for error in self.errors.as_data()}
        self.field.widget.errors = {
            field.split(".")[1]: message.removeprefix(f"{field}: ")  # of `steering.88.value` too
            for field, message in messages.items()
            if "." in field
        }
        return super().as_widget(widget, attrs, only_initial)


class FeatureStrengthsFormField(forms.JSONField):
    """Strengths as JSON. An error names the feature in `params["field"]`, such as `steering.123`."""

    widget = FeatureStrengthsWidget
    bound_field_class = FeatureStrengthsBoundField

    def to_python(self, value: Any) -> Any:
        try:
            entries = strict_json.loads(value) if isinstance(value, str) and value else value
            return parse_strengths({} if entries is None or entries == "" else entries)
        except InvalidSteering as error:
            raise validation_error(error) from error
        except ValueError as error:
            raise ValidationError(f"Enter valid JSON: {error}", code="invalid") from error

    def bound_data(self, data: Any, initial: Any) -> Any:
        """The data as typed if it is not JSON, so that the form shows it again."""
        try:
            strict_json.loads(data or "null")
        except ValueError:
            return InvalidJSONInput(data)
        return super().bound_data(data, initial)

    def has_changed(self, initial: Any, data: Any) -> bool:
        try:
            return bool(self.to_python(data) != self.to_python(initial or {}))
        except ValidationError:
            return True
