"""The history in the admin: lists, compares and restores versions. Versions are never edited."""

from typing import Any, ClassVar

from django.contrib import messages
from django.contrib.admin.utils import quote, unquote
from django.core.exceptions import PermissionDenied
from django.core.paginator import Paginator
from django.db.models import QuerySet
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseNotAllowed
from django.shortcuts import redirect
from django.template.response import TemplateResponse
from django.urls import URLPattern, path, reverse
from unfold.admin import ModelAdmin

from profiles.api.history import known
from profiles.diff import TITLES, differences
from profiles.errors import ProfileNotFound
from profiles.models import Profile
from steering.document import Steering
from steering.errors import NoSuchVersion, Refused

NOW = "now"
OFFERED = 100  # versions to choose from in a comparison; the list compares any two
FEATURES_SHOWN = 12  # changed features that the list shows per version; the comparison shows all


class HistoryAdmin(ModelAdmin):
    """The pages of a row's versions, under `<id>/history/`."""

    compared: ClassVar[dict[str, str]]
    """{name of a compared field: its title}."""
    number: ClassVar[str]
    """The attribute that identifies a version in URLs."""
    versions_per_page = 25
    comparison = "admin/profiles/history/compare.html"

    def versions(self, pk: str) -> QuerySet[Any]:
        """The versions of the row, the latest first. Raises Http404 if the row never existed."""
        raise NotImplementedError

    def version(self, pk: str, number: int) -> Any:
        """The version of this number. Raises NoSuchVersion."""
        raise NotImplementedError

    def now(self, pk: str) -> Any:
        """The row as it is now; None if it is deleted."""
        raise NotImplementedError

    def count(self, pk: str, version: Any) -> int:
        """The number of a version for users: it counts the versions of the row, from the oldest that is kept."""
        raise NotImplementedError

    def restore(self, pk: str, number: int) -> str:
        """Restore the version. Returns how the row differs from the version, as a part of a sentence.

        Raises Refused.
        """
        raise NotImplementedError

    def steers_at_once(self, now: Any, past: Any) -> str:
        """The effect of restoring `past` on the live steering, as a sentence; empty if there is none."""
        raise NotImplementedError

    def has_restore_permission(self, request: HttpRequest, now: Any) -> bool:
        return bool(self.has_change_permission(request, now))

    def get_urls(self) -> list[URLPattern]:
        name = f"{self.opts.app_label}_{self.opts.model_name}_history"
        compare, restore = self.admin_site.admin_view(self.compare_view), self.admin_site.admin_view(self.restore_view)
        return [
            path("<path:object_id>/history/compare/", compare, name=f"{name}_compare"),
            path("<path:object_id>/history/<int:number>/restore/", restore, name=f"{name}_restore"),
            *super().get_urls(),
        ]

    def history_view(self, request: HttpRequest, object_id: str, extra_context: Any = None) -> HttpResponse:
        """The list of versions, each with its changes."""
        pk = unquote(object_id)
        rows, now = self.versions(pk), self._seen(request, pk)
        page = Paginator(rows, self.versions_per_page).get_page(request.GET.get("page"))
        # One version more than the page shows, to compare the page's last version with.
        shown = list(rows[max(page.start_index() - 1, 0) : page.end_index() + 1])
        versions, before = shown[: len(page)], [*shown[1:], None]
        changes = differences(zip(before, versions, strict=False), self.compared, FEATURES_SHOWN)
        newest = self.count(pk, versions[0]) if versions else 0
        context = {
            **self._context(request, pk, now),
            "page": page,
            "newest": newest if now and page.number == 1 else None,  # is the row as it is now: nothing to restore
            "page_range": page.paginator.get_elided_page_range(page.number),
            "versions": [
                (newest - at, getattr(version, self.number), version, old and getattr(old, self.number), difference)
                for at, (version, old, difference) in enumerate(zip(versions, before, changes, strict=False))
            ],
            **(extra_context or {}),
        }
        return TemplateResponse(request, "admin/profiles/history/list.html", context)

    def compare_view(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """The differences from one version (or from nothing) to another version (or to the row as it is now)."""
        pk = unquote(object_id)
        offered = list(self.versions(pk)[:OFFERED])
        now, sides = self._seen(request, pk), [request.GET.get("from", ""), request.GET.get("to", NOW)]
        context = {**self._context(request, pk, now), "from": sides[0], "to": sides[1]}
        newest = self.count(pk, offered[0]) if offered else 0
        context["offered"] = [(str(getattr(one, self.number)), newest - at, one) for at, one in enumerate(offered)]
        try:
            before = self._side(pk, now, sides[0]) if sides[0] else None  # None: show the whole version as added
            after = self._side(pk, now, sides[1])
        except Refused as error:
            return TemplateResponse(request, self.comparison, {**context, "error": str(error)}, status=error.status)
        chosen = {side: one for side, one in zip(sides, (before, after), strict=True) if side.isdecimal()}
        restorable = [(int(side), self.count(pk, one)) for side, one in chosen.items() if context["may_restore"]]
        listed = {number for number, _, _ in context["offered"]}
        context["offered"] += [(side, self.count(pk, one), one) for side, one in chosen.items() if side not in listed]
        context |= {"restorable": restorable, **self._comparison(before, after)}
        return TemplateResponse(request, self.comparison, context)

    def restore_view(self, request: HttpRequest, object_id: str, number: int) -> HttpResponse:
        """Restore a version; if it steers at once, the user sees the comparison first and confirms."""
        if request.method != "POST":
            return HttpResponseNotAllowed(["POST"])
        pk = unquote(object_id)
        self.versions(pk)
        now = self._seen(request, pk)
        if not self.has_restore_permission(request, now):
            raise PermissionDenied
        shown = ""
        try:
            past = self.version(pk, number)
            shown = f"Version {self.count(pk, past)}"
            warning = self.steers_at_once(now, past)
            if warning and "confirmed" not in request.POST:
                context = {**self._context(request, pk, now), "warning": warning, "restored": shown.lower()}
                return TemplateResponse(request, self.comparison, context | self._comparison(now, past))
            difference = self.restore(pk, number)
        except Refused as error:
            why = str(error).removeprefix("name: ")
            self.message_user(request, f"{shown or 'The version'} was not restored: {why}.", messages.ERROR)
        else:
            self.message_user(request, f"Restored {shown.lower()}{difference}.", messages.SUCCESS)
        return redirect(self._url("", quote(pk)))

    def _seen(self, request: HttpRequest, pk: str) -> Any:
        """The row as it is now. Raises PermissionDenied if the user may not view it."""
        now = self.now(pk)
        if not self.has_view_permission(request, now):
            raise PermissionDenied
        return now

    def _side(self, pk: str, now: Any, side: str) -> Any:
        if side == NOW and now is not None:
            return now
        if not (side.isascii() and side.isdecimal() and len(side) < 20):
            raise NoSuchVersion(f"got {side!r}, expected the number of a version" + (", or now" if now else ""))
        return self.version(pk, int(side))

    def _comparison(self, before: Any, after: Any) -> dict[str, Any]:
        [difference] = differences([(before, after)], self.compared)
        return {"before": before, "after": after, "difference": difference}

    def _url(self, page: str, *args: Any) -> str:
        return reverse(f"admin:{self.opts.app_label}_{self.opts.model_name}_history{page}", args=args)

    def _context(self, request: HttpRequest, pk: str, now: Any) -> dict[str, Any]:
        request.current_app = self.admin_site.name
        return {
            **self.admin_site.each_context(request),
            "opts": self.opts,
            "original": now,
            "now": now,
            "title": "History",
            "quoted_pk": quote(pk),
            "history_url": self._url("", quote(pk)),
            "compare_url": self._url("_compare", quote(pk)),
            "restore_url_name": f"admin:{self.opts.app_label}_{self.opts.model_name}_history_restore",
            "may_restore": self.has_restore_permission(request, now),
        }


class ProfileHistoryAdmin(HistoryAdmin):
    """The versions of profiles, and the list of deleted profiles, which can be restored from their versions."""

    compared = TITLES
    number = "history_id"
    deleted_per_page = 50

    def get_urls(self) -> list[URLPattern]:
        deleted = path("deleted/", self.admin_site.admin_view(self.deleted_view), name="profiles_profile_deleted")
        return [deleted, *super().get_urls()]

    def versions(self, pk: str) -> QuerySet[Any]:
        try:
            rows: QuerySet[Any] = Profile.history.filter(id=known(pk)).order_by("-history_id")
        except ProfileNotFound as error:
            raise Http404(str(error)) from error
        return rows

    def version(self, pk: str, number: int) -> Any:
        return Profile.objects.version(pk, number)

    def count(self, pk: str, version: Any) -> int:
        return Profile.objects.number(version)

    def now(self, pk: str) -> Profile | None:
        return Profile.objects.filter(pk=pk).first()

    def restore(self, pk: str, number: int) -> str:
        name, restored = self.version(pk, number).name, Profile.objects.restore(pk, number)
        return "" if restored.name == name else f" as {restored.name}: another profile is named {name}"

    def steers_at_once(self, now: Profile | None, past: Any) -> str:
        if now is None or not now.is_active or now.document == Steering.join(past.strengths, past.more):
            return ""
        return f"{now} is active: restoring takes effect immediately for all requests."

    def has_restore_permission(self, request: HttpRequest, now: Any) -> bool:
        """Restoring a deleted profile needs the permission to add one too."""
        return super().has_restore_permission(request, now) and (now is not None or self.has_add_permission(request))

    def deleted_view(self, request: HttpRequest) -> HttpResponse:
        """The list of deleted profiles. They are not counted, since there may be very many."""
        if not self.has_view_permission(request):
            raise PermissionDenied
        search, number = request.GET.get("q", ""), request.GET.get("page", "")
        page = max(int(number), 1) if number.isascii() and number.isdecimal() and len(number) < 7 else 1
        start = (page - 1) * self.deleted_per_page
        found = list(Profile.objects.deleted(search)[start : start + self.deleted_per_page + 1])
        context = {
            **self.admin_site.each_context(request),
            "opts": self.opts,
            "title": "Deleted profiles",
            "search": search,
            "deleted": [(version, quote(version.id)) for version in found[: self.deleted_per_page]],
            "newer": page - 1,
            "older": page + 1 if len(found) > self.deleted_per_page else None,
            "may_restore": self.has_restore_permission(request, None),
        }
        return TemplateResponse(request, "admin/profiles/history/deleted.html", context)
