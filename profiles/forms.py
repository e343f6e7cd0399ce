"""The admin's form of a profile: what the model refuses is an error beside its field."""

from typing import Any

from django import forms
from django.core.exceptions import ValidationError

from profiles.models import Profile
from steering.errors import SteeringError


class ProfileForm(forms.ModelForm[Profile]):
    class Meta:
        model = Profile
        fields = ["name", "description", "model_id", "sae_id", "layer", "sae_fingerprint", "steering"]

    def clean(self) -> dict[str, Any] | None:
        cleaned = super().clean()
        if not self.errors:
            self._check_rules()
        return cleaned

    def _check_rules(self) -> None:
        for name, value in self.cleaned_data.items():
            setattr(self.instance, name, value)
        try:
            self.instance.check_rules()
        except SteeringError as error:
            field = str(error.details.get("field", "")).split(".")[0]
            self.add_error(field if field in self.fields else None, ValidationError(str(error), code=error.code))
