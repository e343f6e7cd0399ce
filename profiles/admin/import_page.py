"""The admin's page that imports profiles: a text or a file, then what it would do, then that and nothing else."""

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
from profiles.diff import Difference, differences
from profiles.files.transfer import Imported, ProfileFile, RefusedProfile
from profiles.managers import CONTENT, OnConflict
from profiles.models import Profile
from steering.errors import Refused

SHOWN = 200  # of what a file holds; what is refused comes first
OVERHEAD = 1024  # bytes of the request that are not the text
CONFLICTS = [
    ("fail", "Refuse the whole file"),
    ("rename", "Import it under a free name, such as “ocean (2)”"),
    ("replace", "Replace the profile here; it stays active if it is"),
]
COMPARED = {
    "description": "description",
    "model_id": "model",
    "sae_id": "SAE",
    "layer": "layer",
    "sae_fingerprint": "SAE fingerprint",
}


class ImportForm(forms.Form):
    """`profile_file` is what the text or the file holds."""

    text = forms.CharField(
        required=False,
        label="Paste the text",
        widget=UnfoldAdminTextareaWidget(
            {"rows": 14, "spellcheck": "false", "autocomplete": "off", "placeholder": '{"version": "1.0", …}'}
        ),
        help_text="One profile or a bundle, as miLLM exports them, or a cluster definition or bundle of miStudio.",
    )
    file = forms.FileField(
        required=False,
        label="or choose a file",
        widget=UnfoldAdminFileFieldWidget({"accept": ".json,application/json"}),
    )
    on_conflict = forms.ChoiceField(
        label="For a name that exists here",
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
                "file", f"Got a text and {upload.name}, expected one of them: clear the text, or choose none."
            )
        elif upload:
            self._read(upload)
        elif not text and not self.errors:
            self.add_error("text", "Paste the text of a file, or choose a file.")
        if not self.errors:
            self._parse()
        return self.cleaned_data

    def _read(self, upload: UploadedFile) -> None:
        """The file's text, in the place of a pasted one: there it is kept where it is refused."""
        limit = settings.DATA_UPLOAD_MAX_MEMORY_SIZE - OVERHEAD
        content = upload.read(limit + 1)
        # A browser sends a text with two bytes for the end of a line.
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
    """What would become of one profile of a file."""

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
    """What would become of a file; `more` of its profiles are not among `shown`."""

    shown: list[Previewed]
    more: int
    counts: dict[str, int]
    seen: str

    @property
    def refused(self) -> int:
        return self.counts.get("refused", 0)


def preview(file: ProfileFile, on_conflict: OnConflict) -> Preview:
    planned = Profile.objects.plan_import(file, on_conflict)
    names = [fields["name"].strip() for _, fields in file.profiles]
    refused = [Previewed(one.name, one) for one in planned if isinstance(one, RefusedProfile)]
    imported = [(name, one) for name, one in zip(names, planned, strict=True) if isinstance(one, Imported)]
    shown = [*refused[:SHOWN], *_described(imported[: max(0, SHOWN - len(refused))])]
    counts = Counter("refused" if isinstance(one, RefusedProfile) else one.outcome for one in planned)
    return Preview(shown, len(planned) - len(shown), dict(counts), _digest([one for _, one in imported]))


def _described(imported: Sequence[tuple[str, Imported]]) -> Iterable[Previewed]:
    made = badges([one.profile for _, one in imported])
    changed = differences([(one.before or one.profile, one.profile) for _, one in imported], COMPARED)
    for (name, one), its_badges, difference in zip(imported, made, changed, strict=True):
        steers = one.profile.is_active and any(difference.features)
        yield Previewed(name, one, its_badges, difference if one.before else None, steers)


def _digest(imported: Iterable[Imported]) -> str:
    """Another string where an import does something else."""
    told = [[one.outcome, _content(one.profile), one.before and _content(one.before)] for one in imported]
    return hashlib.sha256(json.dumps(told).encode()).hexdigest()


def _content(profile: Profile) -> list[Any]:
    return [profile.is_active, *(getattr(profile, name) for name in CONTENT)]


def import_as_seen(file: ProfileFile, on_conflict: OnConflict, seen: str) -> list[Imported] | None:
    """Import where that does what the preview `seen` showed; else None, and nothing is changed."""
    try:
        with transaction.atomic():
            made = Profile.objects.import_file(file, on_conflict)
            if _digest(made) != seen:
                transaction.set_rollback(True)
                return None
    except Refused:  # the preview, which is made again, shows it where it belongs
        return None
    return made


def import_page(page: ModelAdmin, request: HttpRequest) -> HttpResponse:
    """The form; posted, with the preview below; its button `import` imports."""
    may_replace = request.user.has_perm("profiles.change_profile")
    sent = request.method == "POST"
    if sent and "edit" not in request.POST:
        form = ImportForm(request.POST, request.FILES, may_replace=may_replace)
    else:
        form = ImportForm(initial=request.POST.dict() if sent else {}, may_replace=may_replace)
    context = {
        **page.admin_site.each_context(request),
        "model_admin": page,
        "title": "Import profiles",
        "content_title": "Import",
        "form": form,
        "limit": settings.DATA_UPLOAD_MAX_MEMORY_SIZE - OVERHEAD,
    }
    if form.is_bound and form.is_valid():
        on_conflict: Any = form.cleaned_data["on_conflict"]
        if "import" in request.POST:
            made = import_as_seen(form.profile_file, on_conflict, request.POST.get("seen", ""))
            if made is not None:
                page.message_user(request, told(made), messages.SUCCESS)
                return redirect("admin:profiles_profile_changelist")
            context["is_another"] = True
        context |= {"preview": preview(form.profile_file, on_conflict), "notes": form.profile_file.notes}
    return TemplateResponse(request, "admin/profiles/profile/import.html", context)


def told(made: Sequence[Imported]) -> str:
    counts = Counter(one.outcome for one in made)
    outcomes = ", ".join(f"{count} {outcome}" for outcome, count in counts.items())
    names = ", ".join(one.profile.name for one in made[:5]) + (", …" if len(made) > 5 else "")
    return f"Imported: {outcomes} ({names})." if made else "The file holds no profiles: nothing was imported."
