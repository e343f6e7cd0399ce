"""Forms of API keys."""

import datetime
from typing import Any

from django import forms
from django.core.exceptions import ValidationError
from django.utils import timezone
from unfold.widgets import UnfoldAdminSelectWidget, UnfoldAdminSingleDateWidget

from millm_site.models import APIKey

ON_A_DATE = "date"
LIFETIMES = {"": "Never", "30": "In 30 days", "90": "In 90 days", "365": "In a year", ON_A_DATE: "On a date"}


class NewKeyForm(forms.ModelForm[APIKey]):
    expires = forms.ChoiceField(choices=[*LIFETIMES.items()], required=False, widget=UnfoldAdminSelectWidget)
    expires_on = forms.DateField(
        required=False,
        widget=UnfoldAdminSingleDateWidget,
        help_text="The last day on which the key works, in UTC.",
    )

    class Meta:
        model = APIKey
        fields = ["name", "user", "requests_per_minute"]

    def clean(self) -> dict[str, Any]:
        cleaned: dict[str, Any] = super().clean() or {}
        day = cleaned.get("expires_on")
        if cleaned.get("expires") == ON_A_DATE and "expires_on" not in self.errors:
            if day is None:
                self.add_error("expires_on", "Enter a date.")
            elif day < timezone.now().date():
                self.add_error("expires_on", f"Got {day:%-d %b %Y}, expected today or a later day.")
            elif day == datetime.date.max:
                self.add_error("expires_on", f"Got {day:%-d %b %Y}, expected an earlier day, or Never.")
        elif day is not None:
            chosen = LIFETIMES[cleaned.get("expires", "")]
            self.add_error("expires", f"Got a date and {chosen!r}: choose 'On a date', or clear the date.")
        return cleaned

    def expires_at(self) -> datetime.datetime | None:
        """The time when the key expires, by the form's fields; None: never."""
        chosen, day = self.cleaned_data["expires"], self.cleaned_data["expires_on"]
        if chosen == ON_A_DATE:
            end = datetime.datetime.combine(day, datetime.time.min, tzinfo=datetime.UTC)
            return end + datetime.timedelta(days=1)
        return timezone.now() + datetime.timedelta(days=int(chosen)) if chosen else None


class KeyForm(forms.ModelForm[APIKey]):
    class Meta:
        model = APIKey
        fields = ["name", "requests_per_minute", "expiry"]
        labels = {"expiry": "Expires at"}
        help_texts = {"expiry": "In UTC. Empty: never."}

    def clean_expiry(self) -> datetime.datetime | None:
        expiry: datetime.datetime | None = self.cleaned_data["expiry"]
        if "expiry" in self.changed_data and expiry is not None and expiry <= timezone.now():
            raise ValidationError(f"Got {expiry:%-d %b %Y %H:%M}, expected a later time. Revoke a key to end it now.")
        return expiry
