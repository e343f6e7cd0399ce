"""The pages of the errors 403 and 404: in the admin's layout for users of the admin, else plain."""

from django.contrib import admin
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render


def page_not_found(request: HttpRequest, exception: Exception) -> HttpResponse:
    """Django's handler404."""
    return _page(request, 404, "There is no such page", f"Nothing is at {request.path}.")


def permission_denied(request: HttpRequest, exception: Exception) -> HttpResponse:
    """Django's handler403."""
    message = str(exception) or f"{request.user} may not do this."
    return _page(request, 403, "That is not allowed", f"{message} Ask an administrator for the permission.")


def _page(request: HttpRequest, status: int, title: str, message: str) -> HttpResponse:
    context = {"title": title, "message": message}
    user = getattr(request, "user", None)
    if user is None or not (user.is_active and user.is_staff):
        return render(request, "millm/error.html", context, status=status)
    return render(request, "admin/error.html", {**admin.site.each_context(request), **context}, status=status)
