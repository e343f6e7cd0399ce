"""The profile file: what is written, and the forms of other programs that are read.

Written is the format of the specification, with `sae_fingerprint` as the one addition. Read, besides that: the flat
form of the miLLM backend, the form of its user interface, and miStudio's cluster definitions and bundles
(https://github.com/hitsainet/miStudio, docs/schemas/cluster-definition-v1.json). A field that no form knows is refused
by its path; what a form knows and a profile has no place for is named in the notes of the import.
"""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from django.conf import settings
from django.http import HttpResponse
from django.utils import timezone
from django.utils.http import content_disposition_header
from pydantic import ValidationError

from profiles.errors import InvalidProfileFile
from profiles.files.formats import FORMS, FlatForm, Form, InterfaceForm
from steering import strict_json
from steering.errors import Refused

if TYPE_CHECKING:
    from profiles.models import Profile

MAX_PROFILES = 1000  # of one file: an import holds the lock of the steering
ZEROS_NAMED = 10  # features of strength 0 of each profile, in the notes


@dataclass(frozen=True)
class ProfileFile:
    """The profiles of one file, each with its path there and the fields of `Profile`; what was left out, in words."""

    profiles: tuple[tuple[str, dict[str, Any]], ...]
    notes: tuple[str, ...]
    is_bundle: bool

    @classmethod
    def loads(cls, text: str | bytes, most: int | None = MAX_PROFILES) -> "ProfileFile":
        """The file in a JSON text; `most` None: of any number of profiles. Raises InvalidProfileFile."""
        try:
            return cls.parse(strict_json.loads(text), most)
        except ValueError as error:
            raise InvalidProfileFile(f"the file is not JSON: {error}", field=None) from error

    @classmethod
    def parse(cls, document: object, most: int | None = MAX_PROFILES) -> "ProfileFile":
        """The file in a JSON value. Raises InvalidProfileFile with the path of the first field that is wrong."""
        path, content = _unwrap(document)
        kind = _form_of(content)
        _check_number(content.get(kind.several), most)
        try:
            form = kind.model_validate(content)
        except ValidationError as error:
            first = error.errors(include_url=False, include_context=False)[0]
            where = ".".join(f"{part:.100}" if isinstance(part, str) else str(part) for part in (*path, *first["loc"]))
            raise InvalidProfileFile(f"{where}: {first['msg']}", field=where) from error
        return cls._of(path, form)

    @classmethod
    def _of(cls, path: list[str], form: Form) -> "ProfileFile":
        notes = list(form.ignored())
        profiles = []
        for own_path, fields in form.profiles():
            where = ".".join([*path, *own_path])
            profiles.append((where, fields))
            if zeros := [index for index, strength in fields["strengths"].items() if strength == 0]:
                notes.append(f"{fields['name']}: {_named(zeros)} strength 0, which steers nothing: left out")
        _refuse_repeated_names(profiles)
        return cls(tuple(profiles), tuple(notes), bool(form.several))


@dataclass(frozen=True)
class Imported:
    """A profile that an import made, or would make; `outcome` is created, renamed, replaced or unchanged.

    `before` is the one that had the name, as it was, where it was replaced or is the same.
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
    """The document inside `{"success": true, "data": …}`, where it is one, and its path."""
    if not isinstance(document, Mapping):
        raise InvalidProfileFile(f"the file: got {type(document).__name__}, expected an object", field=None)
    if "success" not in document:
        return [], document
    unknown = sorted(set(document) - {"success", "data", "error"})
    if unknown or document["success"] is not True or document.get("error") or "data" not in document:
        where = unknown[0][:100] if unknown else "success"
        raise InvalidProfileFile(f"{where}: expected an answer with success true and data, and no more", field=where)
    if not isinstance(document["data"], Mapping):
        raise InvalidProfileFile("data: expected an object", field="data")
    return ["data"], document["data"]


def _check_number(profiles: object, most: int | None) -> None:
    """Refuse too many profiles before one of them is looked at."""
    if most is not None and isinstance(profiles, list) and len(profiles) > most:
        told = f"the file: got {len(profiles):,} profiles, expected at most {most:,}"
        raise InvalidProfileFile(f"{told}: split it, or use `manage.py import_profiles`", field=None)


def _form_of(document: Mapping[str, Any]) -> type[Form]:
    for field in ("type", "kind"):
        if field in document:
            kind = str(document[field]).removesuffix("/v1")
            if kind not in FORMS[field]:
                expected = " or ".join(FORMS[field])
                raise InvalidProfileFile(f"{field}: got {document[field]!r:.100}, expected {expected}", field=field)
            return FORMS[field][kind]
    if "features" in document:
        return InterfaceForm
    if "steering" in document:
        return FlatForm
    raise InvalidProfileFile("type: this is no profile file: expected type, kind, steering or features", field="type")


def _named(indices: list[str]) -> str:
    """`feature 9 has`, or of several the first ones."""
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


def dumps(document: Mapping[str, Any]) -> str:
    """A document as the text of a file: a line for each feature, so that two versions can be compared."""
    return json.dumps(document, ensure_ascii=False, indent=2, allow_nan=False) + "\n"


def download(document: Mapping[str, Any], name: str) -> HttpResponse:
    """A document as a file to keep, with a name that every file system takes."""
    safe = "".join(character if character.isalnum() or character in " ._-()" else "_" for character in name).strip(". ")
    disposition = content_disposition_header(True, f"{safe or 'profile'}.json") or "attachment"
    headers = {"Content-Disposition": disposition}
    return HttpResponse(dumps(document), content_type="application/json", headers=headers)


def _content(profile: "Profile") -> dict[str, Any]:
    return {
        "name": profile.name,
        "description": profile.description,
        "model": profile.model_id,
        "sae": profile.sae_id,
        "layer": profile.layer,
        "steering": {str(index): strength for index, strength in profile.strengths.items()},
        "sae_fingerprint": profile.sae_fingerprint,
    }


def _stamp() -> dict[str, str]:
    return {"exported_at": timezone.now().isoformat(), "exported_from": f"miLLM v{settings.VERSION}"}
