"""The list of profiles in the admin, and its actions."""

import re
from collections.abc import Callable
from datetime import timedelta
from typing import Any

from django.contrib import admin, messages
from django.contrib.admin.utils import unquote
from django.core.paginator import Page, Paginator
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.template.loader import render_to_string
from django.urls import reverse
from django.utils.formats import date_format
from django.utils.functional import cached_property
from django.utils.html import format_html
from django.utils.http import urlencode
from django.utils.safestring import SafeString
from django.utils.timesince import timesince
from django.utils.timezone import localtime, now
from unfold.decorators import action, display
from unfold.views import ChangeList

from profiles.admin.badges import badges
from profiles.admin.blend_page import blend_page
from profiles.admin.compare_page import CompareAdmin
from profiles.admin.form_page import LIVE, profile_link
from profiles.admin.import_page import import_page
from profiles.admin.list_filters import LIST_FILTERS
from profiles.admin.undo_page import UndoAdmin, with_undo
from profiles.errors import ProfileNotFound
from profiles.files import transfer
from profiles.models import Profile
from profiles.undo import record
from steering.admin.actions import page_before, posted_action
from steering.admin.search import BoundedSearch, Found
from steering.admin.selections import ChecksSelection
from steering.errors import Refused
from steering.models import SteeringState

DELETED_SHOWN = 100
ENDED = "is no longer active: requests are answered unsteered."
TWO_LINES = (
    '<span class="flex flex-col text-right lg:text-left"><strong class="block font-normal">{}</strong>'
    '<span class="second text-base-500">{}</span></span>'
)
FEATURE = re.compile(r"feature:([0-9]{1,10})\Z", re.IGNORECASE)


class FirstPageFirst(Paginator[Any]):
    """Counts only if the first page does not hold all rows: in a search, counting and reading each scan the table."""

    @cached_property
    def first(self) -> list[Any]:
        return list(self.object_list[: self.per_page + 1])

    @cached_property
    def count(self) -> int:
        if len(self.first) <= self.per_page:
            self.object_list = self.first
        return super().count

    def page(self, number: int | str) -> Any:
        if str(number) == "1":
            return Page(self.first[: self.per_page], 1, self)
        return super().page(number)


class ProfileChangeList(ChangeList):
    def get_results(self, request: HttpRequest) -> None:
        """The page's profiles, each with its badges, which are queried once for all of them."""
        self.result_list: Any
        super().get_results(request)
        if not self.query and not self.has_active_filters:
            self.full_result_count = self.result_count  # else Unfold's heading offers to show all
        rows: list[Any] = list(self.result_list if self.multi_page else self.paginator.object_list)
        state = SteeringState.objects.load()
        for row, row_badges in zip(rows, badges(rows), strict=True):
            row.badges, row.differs = row_badges, row.is_active and row.differs_from(state)
        self.result_list = rows


class ProfileListAdmin(CompareAdmin, UndoAdmin, ChecksSelection, BoundedSearch):
    list_display = ["titled", "status", "features", "made_for", "updated"]
    list_filter = LIST_FILTERS
    list_filter_submit = True
    list_fullwidth = True
    list_per_page = 25
    paginator = FirstPageFirst
    list_max_show_all = 0
    show_full_result_count = False
    show_facets = admin.ShowFacets.NEVER  # facets count rows
    sortable_by = ["titled", "features", "updated"]  # the columns that have an index
    search_fields = ["name", "description"]
    search_help_text = "Name, description, or feature:123"
    actions = ["compare_selected", "export_selected", "deactivate_selected"]
    actions_row = ["activate", "deactivate", "try_out", "duplicate", "export"]
    actions_list = ["import_profiles", "blend_profiles", "save_live"]

    def get_changelist(self, request: HttpRequest, **kwargs: Any) -> type[ChangeList]:
        return ProfileChangeList

    def find(self, request: HttpRequest, queryset: QuerySet[Profile], search_term: str) -> Found:
        """`feature:123` finds profiles that steer feature 123; other words match the name or the description."""
        found: Any = queryset
        words = []
        for word in search_term.split():
            if match := FEATURE.match(word):
                found = found.with_feature(int(match[1]))
            else:
                words.append(word)
        return super().find(request, found, " ".join(words))

    # --- columns ---

    @display(description="name", ordering="name")
    def titled(self, profile: Profile) -> SafeString:
        return format_html(TWO_LINES, profile.name, profile.description or "")

    @display(description="status")
    def status(self, profile: Any) -> SafeString:
        context = {"profile": profile, "badges": profile.badges, "id": profile.pk}
        return render_to_string("admin/profiles/profile/status.html", context)

    @display(description="features", ordering="strongest")
    def features(self, profile: Any) -> SafeString:
        return render_to_string("admin/profiles/profile/chips.html", {"badges": profile.badges})

    @display(description="model, SAE and layer")
    def made_for(self, profile: Profile) -> SafeString:
        layer = "" if profile.layer is None else f"layer {profile.layer}"
        return format_html(TWO_LINES, profile.model_id or "no model", ", ".join(filter(None, [profile.sae_id, layer])))

    @display(description="updated", ordering="updated_at")
    def updated(self, profile: Profile) -> SafeString:
        at = profile.updated_at
        exact = f"{date_format(localtime(at), 'DATETIME_FORMAT')} UTC"
        ago = f"{timesince(at, depth=1)} ago" if now() - at > timedelta(minutes=1) else "just now"
        return format_html('<time datetime="{}" title="{}">{}</time>', at.isoformat(), exact, ago)

    # --- actions of a row ---

    def has_create_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """`has_add_permission` under the name that Unfold derives from `permissions=["create"]`.

        Unfold looks up a permission given by its full name in its system checks, which run before there are tables.
        """
        return bool(self.has_add_permission(request))

    def has_activate_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return bool(request.user.has_perm("profiles.activate_profile"))

    @posted_action("Activate", permissions=["activate"], icon="play_arrow")
    def activate(self, request: HttpRequest, object_id: str) -> HttpResponse:
        return self._do(request, object_id, Profile.activate, "{} is active: it steers all requests from now on.")

    @posted_action("Deactivate", permissions=["activate"], icon="stop")
    def deactivate(self, request: HttpRequest, object_id: str) -> HttpResponse:
        return self._do(request, object_id, Profile.deactivate, f"{{}} {ENDED}")

    @posted_action("Duplicate", permissions=["create"], icon="content_copy")
    def duplicate(self, request: HttpRequest, object_id: str) -> HttpResponse:
        return self._do(request, object_id, Profile.duplicate, "{} is a copy of {}.")

    @action(description="Try in the playground", permissions=["view"], icon="forum")
    def try_out(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """Redirect to the playground, with the profile next to an unsteered pane."""
        try:
            profile = _named_in_url(object_id)
        except ProfileNotFound as error:
            self.message_user(request, str(error), messages.ERROR)
            return _back(request)
        return redirect(f"{reverse('playground')}?{urlencode({'left': 'unsteered', 'profile': profile.name})}")

    @action(description="Sweep …", permissions=["change"], icon="ssid_chart")
    def sweep(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """Redirect to the form of a new sweep of the profile's intensity."""
        try:
            profile = _named_in_url(object_id)
        except ProfileNotFound as error:
            self.message_user(request, str(error), messages.ERROR)
            return _back(request)
        return redirect(f"{reverse('admin:inference_sweep_add')}?{urlencode({'profile': profile.name})}")

    @action(description="Export", permissions=["view"], icon="download")
    def export(self, request: HttpRequest, object_id: str) -> HttpResponse:
        try:
            profile = _named_in_url(object_id)
        except ProfileNotFound as error:
            self.message_user(request, str(error), messages.ERROR)
            return _back(request)
        return transfer.download(transfer.document(profile), profile.name)

    def _do(self, request: HttpRequest, object_id: str, do: Callable[[Profile], Any], success: str) -> HttpResponse:
        """Call `do` with the row's profile. `success` has a `{}` for its result, if any, and one for the profile."""
        try:
            profile = _named_in_url(object_id)
            created, undo = record(lambda: do(profile))
        except Refused as error:
            self.message_user(request, str(error), messages.ERROR)
        else:
            links = map(profile_link, filter(None, [created, profile]))
            self.message_user(request, with_undo(format_html(success, *links), undo, request), messages.SUCCESS)
        return _back(request)

    # --- actions of the list ---

    @action(description="Import", permissions=["create"], icon="upload", url_path="import")
    def import_profiles(self, request: HttpRequest) -> HttpResponse:
        return import_page(self, request)

    @action(description="Blend", permissions=["create"], icon="tune", url_path="blend")
    def blend_profiles(self, request: HttpRequest) -> HttpResponse:
        return blend_page(self, request)

    @posted_action("Save live steering", permissions=["create"], icon="save")
    def save_live(self, request: HttpRequest) -> HttpResponse:
        """Redirect to the form of a new profile, which begins with the live steering."""
        try:
            Profile.objects.check_current()
        except Refused as error:
            self.message_user(request, str(error), messages.ERROR)
            return _back(request)
        return redirect(f"{reverse('admin:profiles_profile_add')}?{urlencode({'from': LIVE})}")

    # --- actions on selected rows ---

    @admin.action(description="Export as one file", permissions=["view"])
    def export_selected(self, request: HttpRequest, queryset: QuerySet[Profile]) -> HttpResponse:
        return transfer.download(transfer.bundle(queryset), transfer.bundle_name(queryset.count()))

    @admin.action(description="Deactivate", permissions=["activate"])
    def deactivate_selected(self, request: HttpRequest, queryset: QuerySet[Profile]) -> None:
        active = queryset.filter(is_active=True).first()
        if active is None:
            self.message_user(request, "None of the selected profiles is active.", messages.WARNING)
            return
        _, undo = record(active.deactivate)
        self.message_user(request, with_undo(f"{active} {ENDED}", undo, request), messages.SUCCESS)

    # --- deletion ---

    def get_deleted_objects(self, objs: Any, request: HttpRequest) -> Any:
        """The first DELETED_SHOWN profiles and the number of the others. No other row depends on a profile."""
        profiles = objs if isinstance(objs, QuerySet) else Profile.objects.filter(pk__in=[row.pk for row in objs])
        count = profiles.count()
        named: list[Any] = [profile_link(profile) for profile in profiles[:DELETED_SHOWN]]
        if count > len(named):
            named.append(f"and {count - len(named)} more")
        if active := profiles.filter(is_active=True).first():
            warning = format_html(
                "<strong>{} is the active profile: it is deactivated first, and requests are then answered unsteered."
                "</strong>",
                active,
            )
            named.insert(0, warning)
        refused = set() if self.has_delete_permission(request) else {self.opts.verbose_name}
        return named, {self.opts.verbose_name_plural: count}, refused, []


def _named_in_url(object_id: str) -> Profile:
    """The profile by its id as in a row's link, or as the admin quotes it in the URLs of its pages."""
    try:
        return Profile.objects.with_id(object_id)
    except ProfileNotFound:
        return Profile.objects.with_id(unquote(object_id))


def _back(request: HttpRequest) -> HttpResponse:
    return redirect(page_before(request, reverse("admin:profiles_profile_changelist")))
