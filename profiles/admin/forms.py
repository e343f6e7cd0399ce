"""The admin's form of a profile. It shows a refusal of the model beside its field."""

from typing import Any

from django import forms
from django.core.exceptions import ValidationError

from profiles.admin.document_fields import DOCUMENT_FIELDS, OF_KEYS, DocumentFields, initial_fields
from profiles.errors import StaleProfile
from profiles.managers import CONTENT
from profiles.models import Profile
from steering.admin.widgets import FeatureTable, validation_error
from steering.document.places import RAW
from steering.errors import Refused
from steering.models import SAE

FIELDS = tuple(name for name in CONTENT if name != "more")  # which has fields of its own

LATER = {"tags", "notes"}
"""Fields that a page of the version before lacks: it keeps them."""


class ProfileForm(DocumentFields, forms.ModelForm[Profile]):
    opened = forms.CharField(required=False, widget=forms.HiddenInput)
    """The state of the profile that the user saw. Saving is refused if the profile has another state by then."""
    user: Any = None
    """The user who edits; set by the admin."""
    stale: StaleProfile | None = None
    """The error if nothing was saved because the profile was changed meanwhile."""

    class Meta:
        model = Profile
        fields = FIELDS

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if "strengths" not in self.fields:  # a viewer's
            return
        more = self.initial.get("more", self.instance.more)
        self.initial.update({**initial_fields(more), **{n: v for n, v in self.initial.items() if n in DOCUMENT_FIELDS}})
        self.initial["opened"] = "" if self.instance._state.adding else self.instance.state
        sae_id = self["sae_id"].value() or ""
        sae = SAE.objects.filter(pk=sae_id).first() if "\0" not in sae_id else None
        for name, known in (("model_id", "known-models"), ("sae_id", "known-saes")):
            self.fields[name].widget.attrs["list"] = known  # of the page; anything else can be typed
        self.fields["description"].widget.attrs["rows"] = 3
        self.fields["notes"].widget.attrs["rows"] = 3
        self.fields["strengths"].widget.table = FeatureTable(sae, self.user, unit=self["unit"].value() or RAW)

    def add_prefix(self, field_name: str) -> str:
        """The name in the page: strengths are `steering` there, as in REST and in files."""
        return super().add_prefix("steering" if field_name == "strengths" else field_name)

    def clean(self) -> dict[str, Any] | None:
        cleaned = super().clean()
        if "opened" in self.data:
            self._check_seen()
        if not self.errors:
            self._check_rules()
        return cleaned

    def _check_seen(self) -> None:
        """Refuse to overwrite a state of the profile that the user saw neither in the form nor in its warning."""
        seen = [self.data[name] for name in ("opened", "overwrite") if name in self.data]
        try:
            self.instance.check_seen(seen)
        except StaleProfile as error:
            self.stale = error
            self.add_error(None, ValidationError(f"{error}. Nothing was saved.", code=error.code))

    def _check_rules(self) -> None:
        for name in FIELDS:
            if name in LATER and self.add_prefix(name) not in self.data:
                continue
            setattr(self.instance, name, self.cleaned_data[name])
        if "unit" in self.data:  # a page of an earlier version has no fields of settings, and keeps them
            self.instance.more = self.more()
        try:
            self.instance.check_rules()
        except Refused as error:
            field = str(error.details.get("field", "")).split(".")[0]
            field = {"steering": "strengths", **OF_KEYS}.get(field, field)
            self.add_error(field if field in self.fields else None, validation_error(error))
