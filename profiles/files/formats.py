"""The parts that all formats of profile files share, as strict pydantic models.

A field with `exclude=True` is known but is not kept in a profile: `ignored` names it.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar

from django.conf import settings
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, StrictInt, StrictStr

NAME_LENGTH, DESCRIPTION_LENGTH, NOTES_LENGTH = 100, 4000, 10_000
"""Characters of a profile's name, description and notes."""
Ignored = Annotated[Any, Field(exclude=True)]
Located = tuple[tuple[str, ...], dict[str, Any]]
Name = Annotated[StrictStr, Field(min_length=1, max_length=NAME_LENGTH)]
Text = StrictStr | None
Description = Annotated[StrictStr, Field(max_length=DESCRIPTION_LENGTH)] | None
Notes = Annotated[StrictStr, Field(max_length=NOTES_LENGTH)]
Layer = Annotated[StrictInt, Field(ge=0, lt=2**31)] | None


def _within_limit(features: Any) -> Any:
    """Refuse too many features before pydantic validates each of them."""
    most = settings.STEERING_MAX_FEATURES
    if isinstance(features, dict | list) and len(features) > most:
        raise ValueError(f"got {len(features)} features, expected at most {most}")
    return features


def _mapped(features: Any) -> Any:
    """The form of miLLM's user interface, a list of `{index, strength}`, as a mapping."""
    if not isinstance(features, list):
        return features
    found = {}
    for at, entry in enumerate(features):
        if not isinstance(entry, dict) or not {"index", "strength"} <= set(entry) <= {"index", "strength", "label"}:
            raise ValueError(f"got {entry!r:.100} at {at}, expected an object of index and strength")
        if type(entry["index"]) is not int or entry["index"] < 0:
            raise ValueError(f"got index {entry['index']!r:.100} at {at}, expected an integer >= 0")
        found[str(entry["index"])] = entry["strength"]
    refuse_repeated([entry["index"] for entry in features])
    return found


WithinLimit = BeforeValidator(_within_limit)
Strengths = Annotated[dict[StrictStr, Any], BeforeValidator(_mapped), WithinLimit]
# Only the first error is reported: pydantic would collect one for each element of a list.
FirstError = Field(fail_fast=True)


@dataclass(frozen=True)
class FeatureFact:
    """Label and maximum activation of one feature, as a file has them; the SAE has `number` features there."""

    sae_id: str
    number: int | None
    index: int
    label: str
    source: str
    """The source of the label."""
    maximum: float | None
    """The maximum activation."""


class Part(BaseModel):
    model_config = ConfigDict(extra="forbid")

    def ignored(self, path: str = "") -> Iterator[str]:
        """One note for each field of the file that a profile does not keep."""
        yield from dict.fromkeys(f"{found}: a profile does not keep this field" for found in self._ignored(path))

    def _ignored(self, path: str) -> Iterator[str]:
        for name, field in type(self).model_fields.items():
            value, here = getattr(self, name), f"{path}{field.alias or name}"
            if field.exclude and value is not None:
                yield here
            for part in value if isinstance(value, list) else [value]:
                if isinstance(part, Part):
                    yield from part._ignored(f"{here}[]." if isinstance(value, list) else f"{here}.")


class Document(Part):
    """A whole file."""

    bundle_field: ClassVar[str] = ""
    """The field that holds the list of profiles; empty if the file is one profile."""

    def profiles(self) -> Iterator[Located]:
        """Yield each profile's path in the file and its fields by `Profile`'s names. The strengths are not checked."""
        raise NotImplementedError

    def facts(self) -> Iterator[FeatureFact]:
        """Yield the facts about features that the file has beside the steering."""
        yield from ()


class Stamp(Part):
    """The time and the program that wrote the file. An import ignores both; an export writes new ones."""

    exported_at: Text = None
    exported_from: Text = None


def refuse_repeated(indices: list[int]) -> None:
    """Raises ValueError, which pydantic reports with the field."""
    seen: set[int] = set()
    for index in indices:
        if index in seen:
            raise ValueError(f"feature {index} is given twice")
        seen.add(index)
