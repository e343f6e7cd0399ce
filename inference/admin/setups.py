"""The previous setups in the admin: a list above the models, the switch back with its confirmation, and links to it."""

import hashlib
from collections.abc import Sequence
from typing import Any

from django.contrib import messages
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse, HttpResponseNotAllowed
from django.shortcuts import redirect
from django.template.response import TemplateResponse
from django.urls import URLPattern, path, reverse
from django.utils.html import format_html
from django.utils.safestring import SafeString
from unfold.admin import ModelAdmin

from inference.admin import consequences
from inference.setups.models import Setup
from steering.admin.actions import page_before
from steering.errors import Refused

URL_NAME = "inference_languagemodel_restore"


def offered(setups: Sequence[Setup], user: Any) -> list[Setup]:
    """The setups that `user` may see and restore."""
    return [setup for setup in setups if setup.may_be_seen_by(user) and setup.may_be_restored_by(user)]


def before(user: Any) -> Setup | None:
    """The previous setup, where `user` may see and restore it."""
    found = Setup.objects.before()
    return next(iter(offered([found] if found else [], user)), None)


def with_way_back(text: SafeString | str, user: Any) -> SafeString | str:
    """The text of a message with a link to the previous setup, where there is one for `user`."""
    setup = before(user)
    if setup is None:
        return text
    link = '{} <a href="{}" data-post role="button" class="underline font-semibold">Back to the previous setup</a>'
    return format_html(link, text, setup_url(setup))


def setup_url(setup: Setup) -> str:
    return reverse(f"admin:{URL_NAME}", args=[setup.pk])


class SetupsAdmin(ModelAdmin):
    """Lists the previous setups above the models, and restores them."""

    list_before_template = "millm/setups.html"

    def get_urls(self) -> list[URLPattern]:
        view = self.admin_site.admin_view(self.restore_view)
        return [path("setups/<int:setup_id>/restore/", view, name=URL_NAME), *super().get_urls()]

    def changelist_view(self, request: HttpRequest, extra_context: Any = None) -> HttpResponse:
        setups = [(setup, setup_url(setup)) for setup in offered(Setup.objects.others(), request.user)]
        response: HttpResponse = super().changelist_view(request, {**(extra_context or {}), "setups": setups})
        return response

    def restore_view(self, request: HttpRequest, setup_id: int) -> HttpResponse:
        """Restore a setup, once the user has confirmed what ends by it and what is missing of it."""
        if request.method != "POST":
            return HttpResponseNotAllowed(["POST"])
        if not self.has_change_permission(request):
            raise PermissionDenied
        back = page_before(request, reverse("admin:inference_languagemodel_changelist"))
        try:
            setup = Setup.objects.with_id(setup_id)
            if not offered([setup], request.user):
                raise PermissionDenied
            lines, missing = consequences.of_restoring(setup), setup.plan()
            # What was confirmed may have changed since: then the page is shown again.
            seen = hashlib.sha256("\n".join(missing).encode()).hexdigest()[:16]
            if (lines or missing) and request.POST.get("confirmed") != seen:
                return self._confirm_restore(request, setup, lines, missing, back, seen)
            missing = setup.restore(partly=bool(missing))
        except Refused as error:
            self.message_user(request, f"Nothing was changed: {error}.", messages.ERROR)
        else:
            self._tell_restored(request, setup, [*lines, *missing], messages.WARNING if missing else messages.SUCCESS)
        return redirect(back)

    def _confirm_restore(
        self, request: HttpRequest, setup: Setup, lines: list[str], missing: list[str], back: str, seen: str
    ) -> HttpResponse:
        context = {
            **self.admin_site.each_context(request),
            "opts": self.opts,
            "title": f"Go back to {setup}?",
            "press": "Go back",
            "consequences": lines,
            "missing": missing,
            "confirmed": seen,
            "back": back,
        }
        return TemplateResponse(request, "millm/progress_confirm.html", context)

    def _tell_restored(self, request: HttpRequest, setup: Setup, lines: list[str], level: int) -> None:
        told = " ".join([f"Back to {setup}.", *lines])
        if model := setup.model:
            self.log_change(request, model, told)
        self.message_user(request, with_way_back(told, request.user), level)
