"""Reads and writes profile files.

miLLM writes the format of the specification, with `sae_fingerprint`; with `steering_document` where a profile has more
than features of its own SAE; and with `tags` and `notes` where it has them. It also reads the flat format of the miLLM
backend, the format of the user interface of that backend, and clusters and circuits of miStudio. An unknown field is
refused by its path; a known field that a profile does not keep is named in the notes of the import.
"""

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from django.conf import settings
from django.http import HttpResponse
from django.utils import timezone
from django.utils.http import content_disposition_header
from pydantic import ValidationError

from profiles.errors import InvalidProfileFile
from profiles.files.documents import DOCUMENTS
from profiles.files.formats import Document, FeatureFact
from profiles.files.millm import MORE, FlatDocument, InterfaceDocument
from steering import strict_json
from steering.document import Steering
from steering.errors import InvalidSteering, Refused
from steering.strengths import parse_values
from steering.validation import in_words, name_of

if TYPE_CHECKING:
    from profiles.models import Profile

MAX_PROFILES = 1000  # in one file: an import holds the lock of the steering
ZEROS_NAMED = 10  # features of strength 0 that a note names per profile


@dataclass(frozen=True)
class ProfileFile:
    """The profiles of one file, as (path in the file, fields of `Profile`); `notes` name what is left out.

    `facts` are labels and statistics of features, which `profiles.files.facts` keeps.
    """

    profiles: tuple[tuple[str, dict[str, Any]], ...]
    notes: tuple[str, ...]
    is_bundle: bool
    facts: tuple[FeatureFact, ...] = ()

    @classmethod
    def loads(cls, text: str | bytes, most: int | None = MAX_PROFILES) -> "ProfileFile":
        """Parse a JSON text of at most `most` profiles (None: any number). Raises InvalidProfileFile."""
        try:
            return cls.parse(strict_json.loads(text), most)
        except ValueError as error:
            raise InvalidProfileFile(f"the file is not JSON: {error}", field=None) from error

    @classmethod
    def parse(cls, document: object, most: int | None = MAX_PROFILES) -> "ProfileFile":
        """Parse a JSON value. Raises InvalidProfileFile with the path of the first wrong field."""
        path, content = _unwrap(document)
        document_type = _document_type(content)
        _check_number(content.get(document_type.bundle_field), most)
        try:
            parsed = document_type.model_validate(content)
        except ValidationError as error:
            first = error.errors(include_url=False)[0]
            where = ".".join(f"{part:.100}" if isinstance(part, str) else str(part) for part in (*path, *first["loc"]))
            raise InvalidProfileFile(f"{where}: {in_words([first])}", field=where) from error
        return cls._of(path, parsed)

    @classmethod
    def _of(cls, path: list[str], document: Document) -> "ProfileFile":
        notes = list(document.ignored())
        profiles = []
        for own_path, fields in document.profiles():
            where = ".".join([*path, *own_path])
            profiles.append((where, fields))
            _check_more(fields, where)
            notes += _without_effect(fields)
        _refuse_repeated_names(profiles)
        return cls(tuple(profiles), tuple(notes), bool(document.bundle_field), tuple(document.facts()))


@dataclass(frozen=True)
class Imported:
    """A profile that an import made, or would make; `outcome` is created, renamed, replaced or unchanged.

    `before` is a copy of the existing profile of that name, if the outcome is replaced or unchanged.
    """

    profile: "Profile"
    outcome: str
    before: "Profile | None" = None


@dataclass(frozen=True)
class RefusedProfile:
    """A profile of a file that an import would refuse."""

    name: str
    error: Refused


def _unwrap(document: object) -> tuple[list[str], Any]:
    """The path and the content of the profile document, taken out of `{"success": true, "data": …}` if it is in one."""
    if not isinstance(document, Mapping):
        raise InvalidProfileFile(
            f"the file: got {name_of(document)}, expected an object: one profile, or a bundle",
            field=None,
        )
    if "success" not in document:
        return [], document
    unknown = sorted(set(document) - {"success", "data", "error"})
    if unknown or document["success"] is not True or document.get("error") or "data" not in document:
        where = unknown[0][:100] if unknown else "success"
        raise InvalidProfileFile(f"{where}: expected an answer with success true and data only", field=where)
    if not isinstance(document["data"], Mapping):
        raise InvalidProfileFile("data: expected an object", field="data")
    return ["data"], document["data"]


def _check_number(profiles: object, most: int | None) -> None:
    """Refuse too many profiles before pydantic validates any of them."""
    if most is not None and isinstance(profiles, list) and len(profiles) > most:
        number = f"the file: got {len(profiles):,} profiles, expected at most {most:,}"
        raise InvalidProfileFile(f"{number}: split it, or use `manage.py import_profiles`", field=None)


def _document_type(content: Mapping[str, Any]) -> type[Document]:
    for field in ("type", "kind"):
        if field in content:
            name = str(content[field]).removesuffix("/v1")
            if name not in DOCUMENTS[field]:
                expected = " or ".join(DOCUMENTS[field])
                raise InvalidProfileFile(f"{field}: got {content[field]!r:.100}, expected {expected}", field=field)
            return DOCUMENTS[field][name]
    if "features" in content:
        return InterfaceDocument
    if "steering" in content:
        return FlatDocument
    message = "type: this is not a profile file: expected type, kind, steering or features"
    raise InvalidProfileFile(message, field="type")


def _check_more(fields: Mapping[str, Any], where: str) -> None:
    """Raises InvalidSteering, which names the path in the file."""
    try:
        Steering.of_columns({}, fields.get("more", {}))
    except InvalidSteering as error:
        raise error.at(f"{where}.{MORE}".lstrip(".")) from error


def _without_effect(fields: Mapping[str, Any]) -> Iterator[str]:
    """A note for the features of each part that steer nothing."""
    parts = [("", fields["strengths"])]
    parts += [(f"SAE {part['sae']}: ", part["features"]) for part in fields.get("more", {}).get("also", [])]
    for part, features in parts:
        strengths = features if isinstance(features, dict) else {}
        if zeros := [index for index, strength in strengths.items() if strength == 0]:
            yield f"{fields['name']}: {part}{_named(zeros)} strength 0, which steers nothing: left out"
        if idle := [index for index, strength in strengths.items() if _is_idle(strength)]:
            yield f"{fields['name']}: {part}{_named(idle)} a value that changes nothing: left out"


def _is_idle(strength: object) -> bool:
    """True of an object whose value changes nothing; one that is wrong is refused when the profile is saved."""
    try:
        return isinstance(strength, dict) and parse_values({0: strength})[0].changes_nothing
    except InvalidSteering:
        return False


def _named(indices: list[str]) -> str:
    """`feature 9 has`, or `features 1, 2, … have` with the first ZEROS_NAMED indices."""
    if len(indices) == 1:
        return f"feature {indices[0]} has"
    return f"features {', '.join(indices[:ZEROS_NAMED])}{' …' if len(indices) > ZEROS_NAMED else ''} have"


def _refuse_repeated_names(profiles: list[tuple[str, dict[str, Any]]]) -> None:
    seen = set()
    for path, fields in profiles:
        name = fields["name"].strip()
        if name in seen:
            where = f"{path}.name"
            raise InvalidProfileFile(f"{where}: the file has two profiles named {name!r}", field=where)
        seen.add(name)


def document(profile: "Profile") -> dict[str, Any]:
    """The file of one profile."""
    return {"version": "1.0", "type": "millm_profile", "profile": _content(profile), **_stamp()}


def bundle(profiles: "Iterable[Profile]") -> dict[str, Any]:
    """The file of several profiles."""
    content = [_content(profile) for profile in profiles]
    return {"version": "1.0", "type": "millm_profile_bundle", "profiles": content, **_stamp()}


def bundle_name(count: int) -> str:
    """The name of the file of `count` profiles, without its ending."""
    return f"millm-profiles-{count}-{timezone.localdate():%Y-%m-%d}"


def dumps(document: Mapping[str, Any]) -> str:
    """A document as the text of a file, one line per feature, so that two versions can be compared."""
    return json.dumps(document, ensure_ascii=False, indent=2, allow_nan=False) + "\n"


def download(document: Mapping[str, Any], name: str) -> HttpResponse:
    """A document as the answer to a download, with a file name that every file system accepts."""
    safe = "".join(character if character.isalnum() or character in " ._-()" else "_" for character in name).strip(". ")
    disposition = content_disposition_header(True, f"{safe or 'profile'}.json") or "attachment"
    headers = {"Content-Disposition": disposition}
    return HttpResponse(dumps(document), content_type="application/json", headers=headers)


def _content(profile: "Profile") -> dict[str, Any]:
    strengths, more = profile.document.split()
    return {
        "name": profile.name,
        "description": profile.description,
        "model": profile.model_id,
        "sae": profile.sae_id,
        "layer": profile.layer,
        "steering": {str(index): strength for index, strength in strengths.items()},
        "sae_fingerprint": profile.sae_fingerprint,
        **({MORE: more} if more else {}),
        **({"tags": profile.tags} if profile.tags else {}),
        **({"notes": profile.notes} if profile.notes else {}),
    }


def _stamp() -> dict[str, str]:
    return {"exported_at": timezone.now().isoformat(), "exported_from": f"miLLM v{settings.VERSION}"}
