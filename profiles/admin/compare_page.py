"""The page in the admin with the difference of two profiles."""

from typing import Any

from django.contrib import admin, messages
from django.contrib.admin.utils import quote, unquote
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.template.response import TemplateResponse
from django.urls import URLPattern, path, reverse
from django.utils.http import urlencode
from unfold.admin import ModelAdmin
from unfold.decorators import action

from profiles.diff import CONTENT_TITLES, differences
from profiles.errors import ProfileNotFound
from profiles.models import Profile
from steering.admin.permissions import missing

OFFERED = 200  # suggested names; other names can be typed
SIDES = ("from", "to")


class CompareAdmin(ModelAdmin):
    """Compares two profiles, selected in the list, or begun from the page of one of them."""

    def get_urls(self) -> list[URLPattern]:
        compare = self.admin_site.admin_view(self.compare_profiles_view)
        return [path("compare/", compare, name="profiles_profile_compare"), *super().get_urls()]

    @admin.action(description="Compare", permissions=["view"])
    def compare_selected(self, request: HttpRequest, queryset: QuerySet[Profile]) -> HttpResponse | None:
        names = list(queryset.order_by("name").values_list("name", flat=True)[:3])
        if len(names) != len(SIDES):
            got = "one profile" if len(names) == 1 else f"{queryset.count()} profiles"
            self.message_user(request, f"Compare: got {got}, expected two. Select two.", messages.ERROR)
            return None
        return redirect(_url(*names))

    @action(description="Compare with …", permissions=["view"], icon="compare_arrows", url_path="compare-with")
    def compare_with(self, request: HttpRequest, object_id: str) -> HttpResponse:
        profile = Profile.objects.filter(pk=unquote(object_id)).first()
        return redirect(_url(profile.name if profile else ""))

    def compare_profiles_view(self, request: HttpRequest) -> HttpResponse:
        """The difference of the profiles that `from` and `to` name; without both names the form alone."""
        if not self.has_view_permission(request):
            raise missing("profiles.view_profile")
        names = {side: request.GET.get(side, "").strip() for side in SIDES}
        request.current_app = self.admin_site.name
        context: dict[str, Any] = {
            **self.admin_site.each_context(request),
            "opts": self.opts,
            "title": "Compare profiles",
            "names": [(side, names[side]) for side in SIDES],
            "offered": Profile.objects.order_by("name").values_list("name", flat=True)[:OFFERED],
            "swapped": _url(names["to"], names["from"]),
        }
        status = 200
        if all(names.values()):
            try:
                context |= _compared(Profile.objects.named(names["from"]), Profile.objects.named(names["to"]))
            except ProfileNotFound as error:
                context["error"], status = f"{str(error)[0].upper()}{str(error)[1:]}.", error.status
        return TemplateResponse(request, "admin/profiles/profile/compare.html", context, status=status)


def _compared(before: Profile, after: Profile) -> dict[str, Any]:
    [difference] = differences([(before, after)], CONTENT_TITLES)  # the page's heading has the names
    sides = [(side, reverse("admin:profiles_profile_change", args=[quote(side.pk)])) for side in (before, after)]
    return {"difference": difference, "sides": sides}


def _url(before: str, after: str = "") -> str:
    query = urlencode({side: name for side, name in zip(SIDES, (before, after), strict=True) if name})
    return f"{reverse('admin:profiles_profile_compare')}?{query}"
