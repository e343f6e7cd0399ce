"""Undo in the admin's messages: a link that is posted, after an activation, a deactivation and a deletion."""

from typing import Any, cast

from django.contrib import messages
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse, HttpResponseNotAllowed
from django.shortcuts import redirect
from django.urls import URLPattern, path, reverse
from django.utils.html import format_html
from django.utils.safestring import SafeString
from unfold.admin import ModelAdmin

from profiles.models import Profile
from profiles.undo import Undo, record_deletion
from steering.admin.actions import page_before
from steering.admin.permissions import missing
from steering.errors import Refused

MOST_UNDONE = 25  # profiles of one deletion: a page of the list
MAY_ACTIVATE = "profiles.activate_profile"
MAY_RESTORE = ("profiles.add_profile", "profiles.change_profile")


def with_undo(text: SafeString | str, undo: Undo, request: HttpRequest) -> SafeString | str:
    """The text of a message with a link that undoes the change, where the change can be undone by the user."""
    if not undo or not _may(undo, request):
        return text
    url = reverse("admin:profiles_profile_undo", args=[undo.token(request.user)])
    link = '{} <a href="{}" data-post role="button" class="underline font-semibold">Undo</a>'
    return format_html(link, text, url)


def _in_bin(text: str, *names: str) -> SafeString:
    """A message whose last `{}` is a link to the deleted profiles."""
    link = format_html('<a href="{}" class="underline">the bin</a>', reverse("admin:profiles_profile_deleted"))
    return format_html(text, *names, link)


def _may(undo: Undo, request: HttpRequest) -> bool:
    if undo.deleted:
        return request.user.has_perms(MAY_RESTORE)
    return request.user.has_perm(MAY_ACTIVATE)


class UndoAdmin(ModelAdmin):
    """Deletes profiles with a message that offers to undo it, and answers such links."""

    def get_urls(self) -> list[URLPattern]:
        undo = self.admin_site.admin_view(self.undo_view)
        return [path("undo/<str:token>/", undo, name="profiles_profile_undo"), *super().get_urls()]

    def undo_view(self, request: HttpRequest, token: str) -> HttpResponse:
        """Undo the change of the token, and return to the page before."""
        if request.method != "POST":
            return HttpResponseNotAllowed(["POST"])
        if not (request.user.has_perm(MAY_ACTIVATE) or request.user.has_perms(MAY_RESTORE)):
            raise missing(MAY_ACTIVATE)
        try:
            undo = Undo.read(token, request.user)
            if not _may(undo, request):
                raise missing(*(MAY_RESTORE if undo.deleted else [MAY_ACTIVATE]))
            told = undo.apply(may_activate=request.user.has_perm(MAY_ACTIVATE))
        except Refused as error:
            self.message_user(request, f"Nothing was undone: {error}.", messages.ERROR)
        else:
            self.message_user(request, told, messages.SUCCESS)
        return redirect(page_before(request, reverse("admin:profiles_profile_changelist")))

    def delete_model(self, request: HttpRequest, obj: Profile) -> None:
        cast(Any, request).undo = record_deletion(obj.delete, [obj.pk])

    def delete_queryset(self, request: HttpRequest, queryset: QuerySet[Profile]) -> None:
        """Delete the selected profiles; the undo of a few of them is offered beside Django's own message."""
        ids = list(queryset.values_list("pk", flat=True)[: MOST_UNDONE + 1])
        undo = record_deletion(queryset.delete, ids)
        if 0 < len(ids) <= MOST_UNDONE:
            self.message_user(request, with_undo(_in_bin("Deleted profiles are in {}."), undo, request))

    def response_delete(self, request: HttpRequest, obj_display: str, obj_id: Any) -> HttpResponse:
        text = _in_bin("{} was deleted. Deleted profiles are in {}.", obj_display)
        self.message_user(request, with_undo(text, cast(Any, request).undo, request), messages.SUCCESS)
        return redirect("admin:profiles_profile_changelist")
