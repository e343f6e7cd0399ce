"""The admin's import page: the user gives a text or a file, sees a preview, and imports exactly that."""

import hashlib
import json
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from django import forms
from django.conf import settings
from django.contrib import messages
from django.contrib.admin import VERTICAL
from django.core.files.uploadedfile import UploadedFile
from django.db import transaction
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.template.defaultfilters import filesizeformat
from django.template.response import TemplateResponse
from unfold.admin import ModelAdmin
from unfold.widgets import UnfoldAdminFileFieldWidget, UnfoldAdminRadioSelectWidget, UnfoldAdminTextareaWidget

from profiles.admin.badges import Badges, badges
from profiles.diff import CONTENT_TITLES, Difference, differences
from profiles.files import facts
from profiles.files.transfer import Imported, ProfileFile, RefusedProfile
from profiles.managers import CONTENT, OnConflict
from profiles.models import Profile
from steering.errors import Refused

SHOWN = 200  # profiles in the preview; refused ones come first
OVERHEAD = 1024  # bytes of the request beside the text
CONFLICTS = [
    ("fail", "Refuse the whole file"),
    ("rename", "Import under a free name, such as “ocean (2)”"),
    ("replace", "Replace the existing profile; an active profile stays active"),
]


class ImportForm(forms.Form):
    """A valid form has `profile_file`, the parsed text or file."""

    text = forms.CharField(
        required=False,
        label="Paste the text",
        widget=UnfoldAdminTextareaWidget(
            {"rows": 14, "spellcheck": "false", "autocomplete": "off", "placeholder": '{"version": "1.0", …}'}
        ),
        help_text="A profile or a bundle exported by miLLM, or a cluster, a bundle or a circuit of miStudio.",
    )
    file = forms.FileField(
        required=False,
        label="or choose a file",
        widget=UnfoldAdminFileFieldWidget({"accept": ".json,application/json"}),
    )
    on_conflict = forms.ChoiceField(
        label="If a name already exists",
        choices=CONFLICTS,
        initial="fail",
        widget=UnfoldAdminRadioSelectWidget(radio_style=VERTICAL),
    )

    def __init__(self, *args: Any, may_replace: bool, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if not may_replace:
            self.fields["on_conflict"].choices = CONFLICTS[:-1]  # type: ignore[attr-defined]

    def clean(self) -> dict[str, Any]:
        text, upload = self.cleaned_data.get("text", ""), self.cleaned_data.get("file")
        if upload and text:
            self.add_error(
                "file", f"Got a text and {upload.name}, expected only one of them: clear the text, or choose no file."
            )
        elif upload:
            self._read(upload)
        elif not text and not self.errors:
            self.add_error("text", "Paste the text of a file, or choose a file.")
        if not self.errors:
            self._parse()
        return self.cleaned_data

    def _read(self, upload: UploadedFile) -> None:
        """Put the file's text into the text field, where a refused text is shown again."""
        limit = settings.DATA_UPLOAD_MAX_MEMORY_SIZE - OVERHEAD
        content = upload.read(limit + 1)
        # A browser sends each end of a line in a text as two bytes.
        if len(content) + content.count(b"\n") > limit:
            got, most = filesizeformat(upload.size or 0), filesizeformat(limit)
            self.add_error("file", f"{upload.name} has {got}, expected at most {most}: split it into several files.")
            return
        try:
            text = content.decode(json.detect_encoding(content))
        except UnicodeDecodeError as error:
            self.add_error("file", f"{upload.name} is not text: {error.reason} at byte {error.start}.")
            return
        self.cleaned_data["text"] = text
        self.data = {**self.data, "text": text}

    def _parse(self) -> None:
        try:
            self.profile_file = ProfileFile.loads(self.cleaned_data["text"])
        except Refused as error:
            self.add_error("text", str(error))


@dataclass(frozen=True)
class Previewed:
    """The planned import of one profile of a file."""

    name: str
    planned: Imported | RefusedProfile
    badges: Badges | None = None
    difference: Difference | None = None
    steers: bool = False

    @property
    def outcome(self) -> str:
        return "refused" if isinstance(self.planned, RefusedProfile) else self.planned.outcome


@dataclass(frozen=True)
class Preview:
    """The planned import of a file; `more` is the number of profiles that are not in `shown`."""

    shown: list[Previewed]
    more: int
    counts: dict[str, int]
    seen: str

    @property
    def refused(self) -> int:
        return self.counts.get("refused", 0)


def preview(file: ProfileFile, on_conflict: OnConflict) -> Preview:
    plan = Profile.objects.plan_import(file, on_conflict)
    names = [fields["name"].strip() for _, fields in file.profiles]
    refused = [Previewed(result.name, result) for result in plan if isinstance(result, RefusedProfile)]
    imported = [(name, result) for name, result in zip(names, plan, strict=True) if isinstance(result, Imported)]
    shown = [*refused[:SHOWN], *_described(imported[: max(0, SHOWN - len(refused))])]
    counts = Counter("refused" if isinstance(result, RefusedProfile) else result.outcome for result in plan)
    return Preview(shown, len(plan) - len(shown), dict(counts), _digest([result for _, result in imported]))


def _described(imported: Sequence[tuple[str, Imported]]) -> Iterable[Previewed]:
    all_badges = badges([result.profile for _, result in imported])
    changes = differences([(result.before or result.profile, result.profile) for _, result in imported], CONTENT_TITLES)
    for (name, result), profile_badges, difference in zip(imported, all_badges, changes, strict=True):
        steers = result.profile.is_active and any(difference.features)
        yield Previewed(name, result, profile_badges, difference if result.before else None, steers)


def _digest(imported: Iterable[Imported]) -> str:
    """A hash of all that an import does. Two imports with equal digests do the same."""
    effects = [[one.outcome, _content(one.profile), one.before and _content(one.before)] for one in imported]
    return hashlib.sha256(json.dumps(effects).encode()).hexdigest()


def _content(profile: Profile) -> list[Any]:
    return [profile.is_active, *(getattr(profile, name) for name in CONTENT)]


def import_as_seen(
    file: ProfileFile, on_conflict: OnConflict, seen: str, *, may_label: bool = False
) -> list[Imported] | None:
    """Import if the effect equals the preview whose digest is `seen`; else change nothing and return None."""
    try:
        with transaction.atomic():
            imported = Profile.objects.import_file(file, on_conflict)
            if _digest(imported) != seen:
                transaction.set_rollback(True)
                return None
            facts.keep(file.facts, may_keep=may_label)
    except Refused:  # the page makes the preview again, which shows the refusal beside its profile
        return None
    return imported


def import_page(page: ModelAdmin, request: HttpRequest) -> HttpResponse:
    """The page: the form, after a POST the preview below it. The preview's button `import` imports."""
    may_replace = request.user.has_perm("profiles.change_profile")
    may_label = request.user.has_perms(facts.PERMISSIONS)
    sent = request.method == "POST"
    if sent and "edit" not in request.POST:
        form = ImportForm(request.POST, request.FILES, may_replace=may_replace)
    else:
        form = ImportForm(initial=request.POST.dict() if sent else {}, may_replace=may_replace)
    context = {
        **page.admin_site.each_context(request),
        "model_admin": page,
        "title": "Import profiles",
        "form": form,
        "limit": settings.DATA_UPLOAD_MAX_MEMORY_SIZE - OVERHEAD,
    }
    if form.is_bound and form.is_valid():
        on_conflict: Any = form.cleaned_data["on_conflict"]
        if "import" in request.POST:
            seen = request.POST.get("seen", "")
            imported = import_as_seen(form.profile_file, on_conflict, seen, may_label=may_label)
            if imported is not None:
                page.message_user(request, _success(imported), messages.SUCCESS)
                return redirect("admin:profiles_profile_changelist")
            context["is_another"] = True
        notes = [*form.profile_file.notes, *facts.notes(form.profile_file.facts, may_keep=may_label)]
        context |= {"preview": preview(form.profile_file, on_conflict), "notes": notes}
    return TemplateResponse(request, "admin/profiles/profile/import.html", context)


def _success(imported: Sequence[Imported]) -> str:
    counts = Counter(result.outcome for result in imported)
    outcomes = ", ".join(f"{count} {outcome}" for outcome, count in counts.items())
    names = ", ".join(result.profile.name for result in imported[:5]) + (", …" if len(imported) > 5 else "")
    return f"Imported: {outcomes} ({names})." if imported else "The file has no profiles: nothing was imported."
