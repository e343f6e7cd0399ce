"""The form of a new sweep."""

import re
from typing import Any

from django import forms
from django.conf import settings
from django.core.exceptions import ValidationError
from unfold.widgets import (
    UnfoldAdminDecimalFieldWidget,
    UnfoldAdminRadioSelectWidget,
    UnfoldAdminTextareaWidget,
    UnfoldAdminTextInputWidget,
    UnfoldBooleanSwitchWidget,
)

from inference.sweeps.effects import LEAST_ANSWERS
from inference.sweeps.models import Sweep
from inference.sweeps.plan import MAX_PROMPTS, MAX_SEEDS, MAX_VALUES, MAX_WORDS, Plan, parse_values
from inference.sweeps.subject import Subject
from profiles.managers import NAME_LENGTH
from steering.errors import Refused
from steering.strict_json import loads

VARIES = [("profile", "The intensity of a profile"), ("feature", "The strength of one feature")]
PROMPTS = "Tell me something.\nWhat do you see?"


def _number(label: str, initial: float | None, help_text: str = "", **bounds: Any) -> forms.FloatField:
    widget = UnfoldAdminDecimalFieldWidget(attrs={"step": "any"})
    return forms.FloatField(label=label, initial=initial, help_text=help_text, required=False, widget=widget, **bounds)


def _integer(label: str, initial: int | None, help_text: str = "", **bounds: Any) -> forms.IntegerField:
    widget = UnfoldAdminDecimalFieldWidget()
    return forms.IntegerField(
        label=label, initial=initial, help_text=help_text, required=False, widget=widget, **bounds
    )


def _line(label: str, help_text: str = "", offers: str = "", **more: Any) -> forms.CharField:
    """`offers` is the id of the page's list of suggestions."""
    widget = UnfoldAdminTextInputWidget(attrs={"autocomplete": "off", **({"list": offers} if offers else {})})
    return forms.CharField(label=label, help_text=help_text, required=False, widget=widget, **more)


def _lines(label: str, rows: int, help_text: str, **more: Any) -> forms.CharField:
    widget = UnfoldAdminTextareaWidget(attrs={"rows": rows})
    return forms.CharField(label=label, help_text=help_text, widget=widget, strip=False, **more)


class SweepForm(forms.Form):
    """What varies, over which values, and the questions. A refusal of `save` becomes an error of a field."""

    varies = forms.ChoiceField(
        label="What varies", choices=VARIES, initial="profile", widget=UnfoldAdminRadioSelectWidget()
    )
    profile = _line(
        "Profile", "It must fit the current model and the attached SAE.", "sweep-profiles", max_length=NAME_LENGTH
    )
    sae = _line("SAE", "An attached SAE; empty: the main one.", "sweep-saes", max_length=200)
    feature = _integer("Feature", None, "Its index.", min_value=0, max_value=2**31 - 1)
    start = _number("From", 0)
    end = _number("To", 2)
    count = _integer("Number of values", 9, min_value=2, max_value=MAX_VALUES)
    values = _line(
        "Other values", f"Up to {MAX_VALUES} numbers, in place of the range. 0 is always added, as the reference."
    )
    prompts = _lines("Prompts", 4, f"One per line, up to {MAX_PROMPTS}.", initial=PROMPTS)
    chat = forms.BooleanField(
        label="Ask as a chat",
        required=False,
        initial=True,
        help_text="Off: the answer continues the text, for models without a chat template.",
        widget=UnfoldBooleanSwitchWidget(),
    )
    seeds = _line(
        "Seeds",
        f"Up to {MAX_SEEDS} numbers; each gives an answer to each prompt. "
        f"A value is judged from {LEAST_ANSWERS} answers on (prompts × seeds).",
        initial="1 2",
    )
    words = _lines(
        "Words to watch",
        3,
        f"One per line, up to {MAX_WORDS}: their log-probability right after the prompt. A leading blank counts.",
        required=False,
    )
    max_tokens = _integer(
        "Max tokens", 64, "Limit of an answer's length.", min_value=1, max_value=settings.INFERENCE_MAX_NEW_TOKENS
    )
    temperature = _number("Temperature", 1.0, "0 always picks the most likely token.", min_value=0, max_value=2)
    top_p = _number("Top p", 1.0, "Lower values drop unlikely tokens.", min_value=0, max_value=1)

    def clean(self) -> dict[str, Any]:
        cleaned = super().clean() or {}
        needed = "profile" if cleaned.get("varies") == "profile" else "feature"
        if cleaned.get(needed) in (None, "") and needed not in self.errors:
            self.add_error(needed, "Enter a profile." if needed == "profile" else "Enter the index of a feature.")
        for name in ("seeds", "max_tokens"):
            if cleaned.get(name) in (None, "") and name not in self.errors:
                self.add_error(name, ValidationError("This field is required.", code="required"))
        return cleaned

    def save(self) -> Sweep | None:
        """The new sweep; None where it is refused, and a field has the error."""
        given = self.cleaned_data
        try:
            if given["varies"] == "profile":
                subject = Subject.of_profile(given["profile"])
            else:
                subject = Subject.of_feature(given["feature"], given["sae"].strip())
            return Sweep.objects.start(subject, self._plan())
        except Refused as error:
            self._refused(error)
            return None

    def _plan(self) -> Plan:
        """Raises InvalidSweep."""
        given = self.cleaned_data
        listed = _split(given["values"])
        a_range = {"from": given["start"], "to": given["end"], "count": given["count"]}
        return Plan(
            values=parse_values(listed or a_range),
            prompts=[line for line in given["prompts"].splitlines() if line.strip()],
            seeds=_split(given["seeds"]),
            words=[line for line in given["words"].splitlines() if line.strip()],
            chat=given["chat"],
            max_tokens=given["max_tokens"],
            sampling={name: given[name] for name in ("temperature", "top_p") if given[name] is not None},
        )

    def _refused(self, error: Refused) -> None:
        path = str(error.details.get("field", ""))
        name = path.split(".")[0]
        of_range = {"values.from": "start", "values.to": "end", "values.count": "count"}
        if name == "values" and not self.cleaned_data["values"].strip():
            field = of_range.get(path, "start")
        elif name in self.fields:
            field = name
        else:
            field = "profile" if self.cleaned_data["varies"] == "profile" else "sae"
        self.add_error(field, ValidationError(str(error).removeprefix(f"{path}: "), code=error.code))


def _split(text: str) -> list[Any]:
    """The numbers of a line, between blanks, commas or semicolons; what is no number stays a text."""
    return [_parsed(one) for one in re.split(r"[\s,;]+", text.strip()) if one]


def _parsed(text: str) -> Any:
    try:
        number = loads(text)
    except ValueError:
        return text
    return number if isinstance(number, int | float) else text
