"""The pages of the errors 403 and 404: in the admin's layout for users of the admin, else plain."""

from django.contrib import admin
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render

from steering.admin.permissions import named, needed_by


def page_not_found(request: HttpRequest, exception: Exception) -> HttpResponse:
    """Django's handler404."""
    return _page(request, 404, "There is no such page", f"Nothing is at {request.path}.")


def permission_denied(request: HttpRequest, exception: Exception) -> HttpResponse:
    """Django's handler403."""
    return _page(request, 403, "That is not allowed", f"{_refusal(request, exception)} Ask an administrator for it.")


def _refusal(request: HttpRequest, exception: Exception) -> str:
    """The refusal, with the name of the permission that is missing where it is known."""
    if str(exception):
        return str(exception)
    match = request.resolver_match
    for model, model_admin in admin.site._registry.items():
        prefix = f"{model._meta.app_label}_{model._meta.model_name}_"
        if match and str(match.url_name).startswith(prefix):
            page = str(match.url_name).removeprefix(prefix)
            if permission := needed_by(model_admin, page, changes=request.method == "POST"):
                return f"{request.user} may not do this: it needs the permission {named(permission)}."
    return f"{request.user} may not do this: a permission is missing."


def _page(request: HttpRequest, status: int, title: str, message: str) -> HttpResponse:
    context = {"title": title, "message": message}
    user = getattr(request, "user", None)
    if user is None or not (user.is_active and user.is_staff):
        return render(request, "millm/error.html", context, status=status)
    return render(request, "admin/error.html", {**admin.site.each_context(request), **context}, status=status)
