"""The playground: a chat in the admin, steered by two profiles side by side."""

from django.contrib import admin
from django.http import HttpRequest, HttpResponse
from django.template.response import TemplateResponse


def playground(request: HttpRequest) -> HttpResponse:
    """The page; its answers come from `admin_chat_completions`."""
    context = {**admin.site.each_context(request), "title": "Playground"}
    return TemplateResponse(request, "millm/playground.html", context)
