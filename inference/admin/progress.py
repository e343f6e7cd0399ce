"""Admin pages of what is downloaded and loaded: its state moves by itself, and decides what can be done with it."""

from abc import abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from django.contrib import messages
from django.contrib.admin.utils import quote, unquote
from django.core.exceptions import PermissionDenied
from django.db import DataError
from django.http import HttpRequest, HttpResponse, HttpResponseBadRequest
from django.shortcuts import redirect
from django.template.loader import render_to_string
from django.template.response import TemplateResponse
from django.urls import URLPattern, path, reverse
from django.utils.html import format_html, format_html_join
from django.utils.http import url_has_allowed_host_and_scheme
from django.utils.safestring import SafeString
from django.utils.text import slugify
from unfold.decorators import display

from steering.admin.search import BoundedSearch
from steering.errors import Refused

VARIANTS = {"registered": "default", "ready": "success", "error": "danger"}  # of the status badge; else info


@dataclass(frozen=True)
class Control:
    """A button of a row: the method of the admin that it posts to, and what it says."""

    action: str
    title: str
    is_primary: bool = False


def live(title: str, cell: Callable[[Any], Any], ordering: str | None = None) -> Callable[[Any], SafeString]:
    """A column whose cells static/millm/progress.js brings up to date while something is under way."""
    name = slugify(title).replace("-", "_")

    def column(row: Any) -> SafeString:
        content = cell(row)
        return format_html('<div data-live="{}-{}">{}</div>', name, row.pk, "-" if content in ("", None) else content)

    column.__name__ = name
    made: Callable[[Any], SafeString] = display(description=title, ordering=ordering)(column)
    return made


def badge(text: str, variant: str) -> str:
    """Unfold's label."""
    return render_to_string("unfold/helpers/label.html", {"text": text, "variant": variant})


class ProgressAdmin(BoundedSearch):
    """The rows have `status`, `progress`, `error` and `is_under_way`."""

    list_per_page = 50
    list_fullwidth = True
    change_form_outer_before_template = "millm/progress_page.html"
    mend: str
    """What to do about an error, once what it says is mended."""

    class Media:
        css = {"all": ["millm/progress.css"]}
        js = ["millm/poll.js", "millm/progress.js"]

    @abstractmethod
    def columns(self, request: HttpRequest) -> list[Any]:
        """Of the list: names of fields, and what `live` makes."""

    @abstractmethod
    def mark(self, row: Any) -> str:
        """A word for the row that is in use, else nothing."""

    @abstractmethod
    def doable(self, row: Any) -> list[Control]:
        """What can be done with `row` as it is."""

    @abstractmethod
    def facts(self, request: HttpRequest, row: Any) -> list[tuple[str, Any]]:
        """What `row` is, for its page."""

    # --- what is shown ---

    def get_list_display(self, request: HttpRequest) -> list[Any]:
        return self.columns(request)

    def get_sortable_by(self, request: HttpRequest) -> Any:
        """By every column that has an order: Django would compare columns of two calls of `columns`."""
        return None

    def get_actions_row(self, request: HttpRequest) -> list[Any]:
        """Unfold's menu has the same for each row; here its state decides, so that the rows have buttons."""
        return []

    def state(self, row: Any, part: str = "cells") -> str:
        """Its status, how far it is, and what is wrong."""
        context = {
            "row": row,
            "mark": self.mark(row),
            "variant": VARIANTS.get(row.status, "info"),
            "percent": None if row.progress is None else min(100, int(row.progress * 100)),
            "what": "Fingerprint" if row.status == "ready" else row.get_status_display(),
            "mend": self.mend,
            "url": f"{self._url('progress')}?part={part}",
        }
        return render_to_string("millm/progress_state.html", context)

    def controls(self, request: HttpRequest, row: Any) -> str:
        """Buttons, of which only those are there that the user may press."""
        allowed = {action.path: action for action in super().get_actions_row(request)}
        buttons = [
            (control, allowed[control.action].icon, self._url(control.action, quote(row.pk)))
            for control in self.doable(row)
            if control.action in allowed
        ]
        return render_to_string("millm/progress_controls.html", {"row": row, "buttons": buttons}) if buttons else ""

    def panel(self, request: HttpRequest, row: Any) -> str:
        """The top of its page."""
        context = {
            "row": row,
            "state": self.state(row, "panel"),
            "controls": self.controls(request, row),
            "facts": self.facts(request, row),
        }
        return render_to_string("millm/progress_panel.html", context)

    def render_change_form(self, request: HttpRequest, context: Any, *args: Any, **kwargs: Any) -> HttpResponse:
        row = context.get("original")
        context |= {"panel": self.panel(request, row)} if row else {}
        context |= {"show_save_and_add_another": False, "show_save_and_continue": False}
        response: HttpResponse = super().render_change_form(request, context, *args, **kwargs)
        return response

    def get_urls(self) -> list[URLPattern]:
        name = f"{self.opts.app_label}_{self.opts.model_name}_progress"
        return [path("progress/", self.admin_site.admin_view(self.progress_view), name=name), *super().get_urls()]

    def progress_view(self, request: HttpRequest) -> HttpResponse:
        """The rows of these ids as they are now: their cells in the list, or with `part=panel` the top of a page."""
        if not self.has_view_permission(request):
            raise PermissionDenied
        try:
            rows = list(self.get_queryset(request).filter(pk__in=request.GET.getlist("id")[: self.list_per_page]))
        except (ValueError, DataError):
            return HttpResponseBadRequest("id: expected those of rows")
        if request.GET.get("part") == "panel":
            return HttpResponse("".join(self.panel(request, row) for row in rows))
        columns = [column for column in self.columns(request) if callable(column)]
        return HttpResponse(format_html_join("", "{}", ((column(row),) for row in rows for column in columns)))

    # --- what is done ---

    def response_add(self, request: HttpRequest, obj: Any, post_url_continue: str | None = None) -> HttpResponse:
        """To the page of what is registered, which offers what comes next."""
        self.message_user(request, self.registered(obj), messages.SUCCESS)
        may_see = self.has_view_permission(request, obj)
        return redirect(self._url("change", quote(obj.pk)) if may_see else reverse("admin:index"))

    @abstractmethod
    def registered(self, row: Any) -> str:
        """What to say when `row` is registered."""

    def act(
        self,
        request: HttpRequest,
        object_id: str,
        do: Callable[[Any], object],
        done: str,
        *,
        ends: Callable[[Any], list[str]] = lambda row: [],
        asked: str = "",
    ) -> HttpResponse:
        """Do something with a row and say how it went; what ends by it has to be confirmed first."""
        row = self.get_object(request, unquote(object_id))
        if row is None:
            response: HttpResponse = self._get_obj_does_not_exist_redirect(request, self.opts, object_id)
            return response
        ended, back = ends(row), self._back(request)
        if ended and "confirmed" not in request.POST:
            return self._confirm(request, row, asked.format(row), ended, back)
        try:
            do(row)
        except Refused as error:
            self.message_user(request, str(error), messages.ERROR)
        else:
            told = " ".join([done.format(row), *ended])
            self.log_change(request, row, told)
            self.message_user(request, told, messages.SUCCESS)
        return redirect(back)

    def _confirm(self, request: HttpRequest, row: Any, asked: str, ended: list[str], back: str) -> HttpResponse:
        context = {
            **self.admin_site.each_context(request),
            "opts": self.opts,
            "original": row,
            "title": asked,
            "ended": ended,
            "back": back,
        }
        return TemplateResponse(request, "millm/progress_confirm.html", context)

    def _back(self, request: HttpRequest) -> str:
        """Where the button was pressed, else the list."""
        came_from = request.POST.get("next") or request.headers.get("Referer", "")
        is_ours = url_has_allowed_host_and_scheme(came_from, {request.get_host()}, require_https=request.is_secure())
        return came_from if is_ours else self._url("changelist")

    def _url(self, page: str, *args: str) -> str:
        return reverse(f"admin:{self.opts.app_label}_{self.opts.model_name}_{page}", args=args)
