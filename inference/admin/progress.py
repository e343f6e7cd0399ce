"""Admin pages of rows that workers download or load: they show the progress and the actions that the state allows."""

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
from django.utils.safestring import SafeString
from django.utils.text import slugify
from unfold.decorators import display

from steering.admin.actions import page_before
from steering.admin.search import BoundedSearch
from steering.errors import Refused

# Of a status badge; others: info
VARIANTS = {"registered": "default", "ready": "success", "done": "success", "error": "danger"}


@dataclass(frozen=True)
class RowAction:
    """A button of a row: the name of the admin's action and the button's text."""

    name: str
    title: str
    is_primary: bool = False
    of_row: bool = True
    """True where the button's name for screen readers ends with the row."""


def live_column(title: str, cell: Callable[[Any], Any], ordering: str | None = None) -> Callable[[Any], SafeString]:
    """A column whose cells static/millm/progress.js updates while a load or a download is in progress."""
    name = slugify(title).replace("-", "_")

    def column(row: Any) -> SafeString:
        content = cell(row)
        return format_html('<div data-live="{}-{}">{}</div>', name, row.pk, "-" if content in ("", None) else content)

    column.__name__ = name
    displayed: Callable[[Any], SafeString] = display(description=title, ordering=ordering)(column)
    return displayed


def render_badge(text: str, variant: str) -> str:
    """A badge as HTML, by Unfold's template of a label."""
    return render_to_string("unfold/helpers/label.html", {"text": text, "variant": variant})


class ProgressAdmin(BoundedSearch):
    """The admin of rows that have `status`, `progress`, `error` and `is_under_way`."""

    list_per_page = 50
    list_fullwidth = True
    change_form_outer_before_template = "millm/progress_page.html"
    remedy: str
    """A sentence below an error that says how to try again."""

    class Media:
        css = {"all": ["millm/progress.css"]}
        js = ["millm/poll.js", "millm/progress.js"]

    def columns(self, request: HttpRequest) -> list[Any]:
        """The columns of the list: names of fields, and results of `live_column`."""
        raise NotImplementedError

    def badge(self, row: Any) -> str:
        """A word if the row is in use ("current", "attached"), else an empty string."""
        raise NotImplementedError

    def available_actions(self, row: Any) -> list[RowAction]:
        """The actions that the state of `row` allows."""
        raise NotImplementedError

    def facts(self, request: HttpRequest, row: Any) -> list[tuple[str, Any]]:
        """The properties of `row` that its page lists, as (title, value)."""
        raise NotImplementedError

    # --- the list and the page ---

    def get_list_display(self, request: HttpRequest) -> list[Any]:
        return self.columns(request)

    def get_sortable_by(self, request: HttpRequest) -> Any:
        """None: all columns that have an order. Django would compare the functions of two calls of `columns`."""
        return None

    def get_actions_row(self, request: HttpRequest) -> list[Any]:
        """No menu: Unfold's menu is the same for each row. The column of `buttons` depends on the row's state."""
        return []

    def state(self, row: Any, part: str = "cells") -> str:
        """The row's status, progress and error as HTML."""
        context = {
            "row": row,
            "badge": self.badge(row),
            "variant": VARIANTS.get(row.status, "info"),
            "percent": None if row.progress is None else min(100, int(row.progress * 100)),
            "activity": "Fingerprint" if row.status == "ready" else row.get_status_display(),
            "remedy": self.remedy,
            "url": f"{self._url('progress')}?part={part}",
        }
        return render_to_string("millm/progress_state.html", context)

    def buttons(self, request: HttpRequest, row: Any) -> str:
        """The buttons of the row's available actions that the user may do, as HTML."""
        allowed = {action.path: action for action in super().get_actions_row(request)}
        buttons = [
            (action, allowed[action.name].icon, self._url(action.name, quote(row.pk)))
            for action in self.available_actions(row)
            if action.name in allowed
        ]
        buttons += self.further_buttons(request, row)
        return render_to_string("millm/progress_buttons.html", {"row": row, "buttons": buttons}) if buttons else ""

    def further_buttons(self, request: HttpRequest, row: Any) -> list[tuple[RowAction, str, str]]:
        """Buttons beside those of the available actions, each with its icon and the URL that it posts to."""
        return []

    def panel(self, request: HttpRequest, row: Any) -> str:
        """The top of the row's page as HTML: state, buttons and facts."""
        context = {
            "row": row,
            "state": self.state(row, "panel"),
            "buttons": self.buttons(request, row),
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
        """The current state of the rows with these ids: their cells in the list, or with `part=panel` their panels."""
        if not self.has_view_permission(request):
            raise PermissionDenied
        try:
            rows = list(self.get_queryset(request).filter(pk__in=request.GET.getlist("id")[: self.list_per_page]))
        except (ValueError, DataError):
            return HttpResponseBadRequest("id: expected ids of rows")
        if request.GET.get("part") == "panel":
            return HttpResponse("".join(self.panel(request, row) for row in rows))
        columns = [column for column in self.columns(request) if callable(column)]
        return HttpResponse(format_html_join("", "{}", ((column(row),) for row in rows for column in columns)))

    # --- actions ---

    def response_add(self, request: HttpRequest, obj: Any, post_url_continue: str | None = None) -> HttpResponse:
        """Redirect to the page of the new row, which offers the next action."""
        self.message_user(request, self.registration_message(obj), messages.SUCCESS)
        may_see = self.has_view_permission(request, obj)
        return redirect(self._url("change", quote(obj.pk)) if may_see else reverse("admin:index"))

    def registration_message(self, row: Any) -> str:
        """The message after `row` is registered."""
        raise NotImplementedError

    def act(
        self,
        request: HttpRequest,
        object_id: str,
        do: Callable[[Any], object],
        success: str,
        *,
        consequences: Callable[[Any], list[str]] = lambda row: [],
        question: str = "",
    ) -> HttpResponse:
        """Call `do` with a row and show the result. If `consequences` has any, the user confirms them first.

        `success` and `question` have a `{}` for the row.
        """
        row = self.get_object(request, unquote(object_id))
        if row is None:
            response: HttpResponse = self._get_obj_does_not_exist_redirect(request, self.opts, object_id)
            return response
        lines, back = consequences(row), page_before(request, self._url("changelist"))
        if lines and "confirmed" not in request.POST:
            return self._confirm(request, row, question.format(row), lines, back)
        try:
            do(row)
        except Refused as error:
            self.message_user(request, str(error), messages.ERROR)
        else:
            message = " ".join([success.format(row), *lines])
            self.log_change(request, row, message)
            self.message_user(request, self.told(request, message), messages.SUCCESS)
        return redirect(back)

    def told(self, request: HttpRequest, message: str) -> str:
        """The message after an action, which may get a link here."""
        return message

    def _confirm(self, request: HttpRequest, row: Any, question: str, lines: list[str], back: str) -> HttpResponse:
        context = {
            **self.admin_site.each_context(request),
            "opts": self.opts,
            "original": row,
            "title": question,
            "consequences": lines,
            "back": back,
        }
        return TemplateResponse(request, "millm/progress_confirm.html", context)

    def _url(self, page: str, *args: str) -> str:
        return reverse(f"admin:{self.opts.app_label}_{self.opts.model_name}_{page}", args=args)
