"""Profiles as a set: create, import, restore, find the active one."""

import re
from collections.abc import Mapping
from copy import copy
from typing import TYPE_CHECKING, Any, Literal

from django.db import models, transaction
from django.db.models import Exists, OuterRef, Q, Window
from django.db.models.functions import RowNumber

from profiles.errors import NothingLive, ProfileExists, ProfileNotFound
from profiles.files.formats import DESCRIPTION_LENGTH as DESCRIPTION_LENGTH
from profiles.files.formats import NAME_LENGTH as NAME_LENGTH
from profiles.files.formats import NOTES_LENGTH as NOTES_LENGTH
from profiles.files.transfer import Imported, ProfileFile, RefusedProfile
from profiles.tags import parse_tags
from steering.errors import NoSAEAttached, NoSuchVersion, Refused
from steering.models import SAE, LanguageModel, SteeringState

if TYPE_CHECKING:
    from profiles.models import Profile

# A text column of PostgreSQL holds neither NUL nor half a surrogate pair, so no profile has such a name.
UNSTORABLE = re.compile(r"[\0\ud800-\udfff]")
ID = re.compile(r"[\w-]{1,50}\Z", re.ASCII)
OnConflict = Literal["fail", "rename", "replace"]
# The fields that `duplicate` copies and `restore` restores.
CONTENT = (
    "name",
    "description",
    "tags",
    "notes",
    "model_id",
    "sae_id",
    "layer",
    "sae_fingerprint",
    "strengths",
    "more",
)


class HighestFeature(models.Func):
    """The highest index in strengths, -1 where there are none; a function of the first migration."""

    function = "highest_feature"
    output_field = models.BigIntegerField()


class Strongest(models.Func):
    """The largest absolute strength of own features, 0 where there are none; a function of a migration.

    Values of all modes and units are compared by their numbers, as `profiles.admin.badges.strongest` does.
    """

    function = "strongest_strength"
    output_field = models.FloatField()


class PartsFit(models.Func):
    """True where attached SAEs have all parts of `more`, as `misfits` decides; a function of a migration."""

    function = "parts_fit"
    output_field = models.BooleanField()


def _fits(model: Any, sae: SAE | None) -> Q:
    """The condition of `fitting`, on rows with `parts_fit`."""
    own = Q(strengths={}, more__has_key="also")  # profiles that steer by their parts alone
    if sae is not None:
        of_sae = Q(sae_id=sae.id, layer=sae.layer, highest__lt=sae.d_sae)
        own |= of_sae & (Q(sae_fingerprint__in=["", sae.fingerprint]) if sae.fingerprint else Q())
    return Q(model_id=model.name) & own & (Q(more={}) | Q(parts_fit=True))


class ProfileQuerySet(models.QuerySet["Profile"]):
    def active(self) -> "Profile | None":
        """The active profile; None where no profile is active."""
        return self.filter(is_active=True).first()

    def named(self, name: str) -> "Profile":
        """The profile of that name. Raises ProfileNotFound."""
        profile = self._find(name)
        if profile is None:
            raise ProfileNotFound(f"there is no profile {name!r}")
        return profile

    def _find(self, name: str) -> "Profile | None":
        return None if UNSTORABLE.search(name) else self.filter(name=name).first()

    def with_id(self, profile_id: str) -> "Profile":
        """The profile of that id. Raises ProfileNotFound."""
        profile = self.filter(pk=profile_id).first() if ID.match(profile_id) else None
        if profile is None:
            raise ProfileNotFound(f"there is no profile {profile_id}")
        return profile

    def fitting(self, model: Any, sae: SAE | None) -> "ProfileQuerySet":
        """The profiles that can be activated with `model` and `sae`: those without `Profile.differences`."""
        return self.none() if model is None else self._with_parts_fit().filter(_fits(model, sae))

    def misfitting(self, model: Any, sae: SAE | None) -> "ProfileQuerySet":
        """The profiles that `fitting` leaves out."""
        return self.all() if model is None else self._with_parts_fit().exclude(_fits(model, sae))

    def _with_parts_fit(self) -> "ProfileQuerySet":
        return self.alias(parts_fit=PartsFit("more"))

    def with_feature(self, index: int) -> "ProfileQuerySet":
        """The profiles that steer this feature."""
        return self.filter(strengths__has_key=str(index))

    def with_tags(self, tags: list[str]) -> "ProfileQuerySet":
        """The profiles that have all of these tags. Raises InvalidProfile where they are no tags."""
        return self.filter(tags__contains=parse_tags(tags, "tag"))

    @transaction.atomic
    def create_from(
        self, *, strengths: Mapping[Any, Any] | None = None, reason: str | None = None, **fields: Any
    ) -> "Profile":
        """Create a profile; fields that are left out are those of `defaults`. The history keeps `reason`.

        Raises what `Profile.save` raises.
        """
        SteeringState.objects.lock()
        now = self.defaults()
        if "sae_id" in fields and fields["sae_id"] != now["sae_id"]:
            # The layer and the fingerprint of `now` are those of another SAE.
            now |= {"layer": None, "sae_fingerprint": ""}
        if strengths is not None or "more" in fields:
            now |= {"strengths": {}, "more": {}}  # a document of its own, and nothing of the live one
        if strengths is not None:
            fields["strengths"] = strengths
        made = self.model(**{**now, **fields})
        made.save(force_insert=True, reason=reason)
        return made

    def defaults(self) -> dict[str, Any]:
        """The fields of a profile of the current model, the attached SAE and the live steering."""
        model, sae = LanguageModel.objects.current(), SAE.objects.attached()
        strengths, more = SteeringState.objects.load().document.split()
        return {
            "model_id": model.name if model else None,
            "sae_id": sae.id if sae else None,
            "layer": sae.layer if sae else None,
            "sae_fingerprint": sae.fingerprint if sae else "",
            "strengths": strengths,
            "more": more,
        }

    def save_current(self, **fields: Any) -> "Profile":
        """Create a profile of the live steering. Raises NoSAEAttached, or NothingLive without strengths."""
        with transaction.atomic():
            SteeringState.objects.lock()
            self.check_current()
            return self.create_from(**fields, reason="saved from the live steering")

    def check_current(self) -> None:
        """Raises NoSAEAttached, or NothingLive without strengths, where there is no live steering to save."""
        if not SAE.objects.all_attached():
            raise NoSAEAttached("no SAE is attached: there is no live steering to save")
        if not SteeringState.objects.load().document:
            raise NothingLive("no feature is set: there is no live steering to save. Set one first")

    def free_name(self, name: str) -> str:
        """`name`, or the first of "name (2)", "name (3)" … that no profile has, cut to what a name may have."""
        taken = set(self.model.objects.filter(name__startswith=name[: NAME_LENGTH - 12]).values_list("name", flat=True))
        candidate, number = name, 1
        while candidate in taken:
            number += 1
            suffix = f" ({number})"
            candidate = name[: NAME_LENGTH - len(suffix)] + suffix
        return candidate

    @transaction.atomic
    def import_file(self, file: ProfileFile, on_conflict: OnConflict = "fail") -> list[Imported]:
        """Create all profiles of `file`, or on any error none.

        For a name that exists: `fail` raises ProfileExists, `rename` takes a free name, `replace` gives the
        profile of that name the content of the file; it stays active if it is, and is unchanged where it is the same.
        """
        SteeringState.objects.lock()
        return [self._import(path, fields, on_conflict) for path, fields in file.profiles]

    @transaction.atomic
    def plan_import(self, file: ProfileFile, on_conflict: OnConflict = "fail") -> list[Imported | RefusedProfile]:
        """The outcome that `import_file` would have for each profile of `file`; imports them and rolls back."""
        SteeringState.objects.lock()
        planned: list[Imported | RefusedProfile] = []
        for path, fields in file.profiles:
            try:
                with transaction.atomic():
                    planned.append(self._import(path, fields, on_conflict))
            except Refused as error:
                planned.append(RefusedProfile(fields["name"], error))
        transaction.set_rollback(True)
        return planned

    def _import(self, path: str, fields: Mapping[str, Any], on_conflict: OnConflict) -> Imported:
        try:
            return self._import_as(fields, on_conflict)
        except Refused as error:
            raise (error.at(path) if path else error) from error

    def _import_as(self, fields: Mapping[str, Any], on_conflict: OnConflict) -> Imported:
        fields = {"more": {}, **fields}
        existing = self._find(fields["name"].strip())
        if existing is None:
            return Imported(self._save_as("imported", self.model(), fields), "created")
        if on_conflict == "replace":
            return self._replace(existing, fields)
        if on_conflict == "rename":
            fields = {**fields, "name": self.free_name(existing.name)}
            return Imported(self._save_as("imported", self.model(), fields), "renamed")
        raise ProfileExists(f"name: a profile {existing.name!r} already exists", field="name")

    def _replace(self, existing: "Profile", fields: Mapping[str, Any]) -> Imported:
        before = copy(existing)
        for name, value in fields.items():
            setattr(existing, name, value)
        existing.check_rules()  # brings the fields into their stored form, which can be compared
        if all(getattr(existing, name) == getattr(before, name) for name in CONTENT):
            return Imported(existing, "unchanged", before)
        return Imported(self._save_as("replaced by an import", existing, {}), "replaced", before)

    @transaction.atomic
    def restore(self, profile_id: str, version: int, on_conflict: Literal["rename", "fail"] = "rename") -> "Profile":
        """Restore one of a profile's versions, also of a deleted profile. Raises NoSuchVersion.

        Where another profile has the name of the version: `rename` takes a free name, `fail` raises ProfileExists.
        """
        SteeringState.objects.lock()
        past = self.version(profile_id, version)
        profile = self.filter(pk=profile_id).first() or self.model(id=profile_id)
        content = {name: getattr(past, name) for name in CONTENT}
        if self.model.objects.filter(name=past.name).exclude(pk=profile_id).exists():
            if on_conflict == "fail":
                message = f"name: a profile {past.name!r} already exists: on_conflict=rename restores under a free name"
                raise ProfileExists(message, field="name")
            content["name"] = self.free_name(past.name)
        return self._save_as(f"restored the version of {past.history_date:%-d %b %Y, %H:%M:%S}", profile, content)

    def versions(self, profile_id: str) -> Any:
        """The versions of a profile, each with its `number`: 1 is the oldest that is kept."""
        number = Window(RowNumber(), order_by="history_id")
        return self.model.history.filter(id=profile_id).annotate(number=number)

    def number(self, past: Any) -> int:
        """The number of one version."""
        found: int = self.model.history.filter(id=past.id, history_id__lte=past.history_id).count()
        return found

    def version(self, profile_id: str, version: int) -> Any:
        """A row of the history. Raises NoSuchVersion."""
        # PostgreSQL refuses a number that does not fit the bigint column
        past = self.model.history.filter(id=profile_id, history_id=version).first() if version < 2**63 else None
        if past is None:
            raise NoSuchVersion(f"profile {profile_id} has no version {version}")
        return past

    def deleted(self, text: str = "") -> Any:
        """The last versions of deleted profiles with `text` in their name, newest first."""
        versions = self.model.history
        gone = versions.filter(history_type="-", name__icontains=text.replace("\0", ""))
        here = self.model.objects.filter(pk=OuterRef("id"))
        later = versions.filter(history_type="-", id=OuterRef("id"), history_id__gt=OuterRef("history_id"))
        return gone.exclude(Exists(here)).exclude(Exists(later))

    def _save_as(self, reason: str, profile: "Profile", fields: Mapping[str, Any]) -> "Profile":
        for name, value in fields.items():
            setattr(profile, name, value)
        profile.save(reason=reason)
        return profile

    @transaction.atomic
    def deactivate_active(self, *, clear_steering: bool = True) -> None:
        """Deactivate the active profile, if a profile is active."""
        SteeringState.objects.lock()
        if active := self.model.objects.active():
            active.deactivate(clear_steering=clear_steering)

    @transaction.atomic
    def delete(self) -> tuple[int, dict[str, int]]:
        SteeringState.objects.lock()
        if self.filter(is_active=True).exists():
            self.model.objects.deactivate_active()
        return super().delete()

    delete.queryset_only = True  # type: ignore[attr-defined]
    delete.alters_data = True  # type: ignore[attr-defined]
