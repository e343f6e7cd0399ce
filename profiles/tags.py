"""Tags of profiles: words by which people group profiles. They change nothing that a profile steers by."""

import unicodedata
from typing import Any

from django import forms
from django.contrib.postgres.fields import ArrayField
from django.core.exceptions import ValidationError
from django.db import models
from unfold.widgets import UnfoldAdminTextInputWidget

from profiles.errors import InvalidProfile
from steering.validation import name_of

TAG_LENGTH, MAX_TAGS = 40, 20
"""Characters of a tag, and tags of a profile."""


def parse_tags(given: object, field: str = "tags") -> list[str]:
    """Parse a list of tags from JSON or Python: trimmed, in the given order. Raises InvalidProfile naming `field`."""
    if not isinstance(given, list):
        raise InvalidProfile(f"{field}: got {name_of(given)}, expected a list of strings", field=field)
    if len(given) > MAX_TAGS:
        raise InvalidProfile(f"{field}: got {len(given)} tags, expected at most {MAX_TAGS}: remove some", field=field)
    tags: list[str] = []
    for number, one in enumerate(given):
        tag = _tag(one, field if field == "tag" else f"{field}.{number}")
        if tag in tags:
            raise InvalidProfile(f"{field}: got {tag!r} twice, expected each tag once", field=field)
        tags.append(tag)
    return tags


def _tag(given: object, field: str) -> str:
    if not isinstance(given, str):
        raise InvalidProfile(f"{field}: got {name_of(given)}, expected a string", field=field)
    tag = given.strip()
    if not tag or len(tag) > TAG_LENGTH:
        raise InvalidProfile(f"{field}: got {len(tag)} characters, expected 1 to {TAG_LENGTH}", field=field)
    if "," in tag:
        message = f"{field}: got {tag!r}, expected a tag without a comma: make two tags of it"
        raise InvalidProfile(message, field=field)
    check_printable(tag, field)
    return tag


def check_printable(text: str, field: str) -> None:
    """Refuse control characters and halves of surrogate pairs. Raises InvalidProfile."""
    allowed = "\n\r\t" if field in {"description", "notes"} else ""
    for character in text:
        if unicodedata.category(character) in {"Cc", "Cs"} and character not in allowed:
            raise InvalidProfile(f"{field}: got the character {character!r}, expected printable text", field=field)


def split_tags(text: str) -> list[str]:
    """The parts of a text between commas, trimmed, without empty ones."""
    return [part.strip() for part in text.split(",") if part.strip()]


class TagsFormField(forms.CharField):
    """Tags as one line, with a comma between two tags."""

    widget = UnfoldAdminTextInputWidget

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**{"required": False, **kwargs})

    def prepare_value(self, value: Any) -> Any:
        return ", ".join(value) if isinstance(value, list) else value

    def clean(self, value: Any) -> Any:
        try:
            return parse_tags(split_tags(super().clean(value)))
        except InvalidProfile as error:
            raise ValidationError(str(error), code=error.code) from error

    def has_changed(self, initial: Any, data: Any) -> bool:
        return split_tags(data or "") != list(initial or [])


class TagsField(ArrayField[Any, Any]):
    """The column: an array of texts, [] for none."""

    def __init__(self, **kwargs: Any) -> None:
        own = {"base_field": models.CharField(max_length=TAG_LENGTH), "size": MAX_TAGS, "blank": True}
        # The version before inserts rows without this column, and the history copies it.
        super().__init__(**{**own, "default": list, "db_default": [], **kwargs})

    def formfield(self, *args: Any, **kwargs: Any) -> Any:
        shown = {"label": kwargs.get("label", "Tags"), "help_text": kwargs.get("help_text", self.help_text)}
        return TagsFormField(**shown)
