"""Admin actions that change something: how they are posted, and the page that they return to."""

from collections.abc import Callable, Iterable
from functools import wraps
from typing import Any

from django.http import HttpRequest, HttpResponseBase, HttpResponseNotAllowed
from django.utils.http import url_has_allowed_host_and_scheme
from unfold.decorators import action
from unfold.enums import ActionVariant


def posted_action(
    description: str, *, permissions: Iterable[str], icon: str | None = None, variant: ActionVariant | None = None
) -> Callable[[Any], Any]:
    """Unfold's `action` for `actions_row`, `actions_detail` and `actions_list`; every method but POST is refused.

    Unfold shows actions as links, which any other site could make a browser follow. The actions of this decorator are
    posted by static/millm/admin.js with the CSRF token.
    """

    def decorate(function: Any) -> Any:
        @wraps(function)
        def posted(page: Any, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponseBase:
            if request.method != "POST":
                return HttpResponseNotAllowed(["POST"])
            response: HttpResponseBase = function(page, request, *args, **kwargs)
            return response

        attrs = {"data-post": "", "role": "button"}
        decorator = action(description=description, permissions=permissions, icon=icon, variant=variant, attrs=attrs)
        return decorator(posted)

    return decorate


def page_before(request: HttpRequest, default: str) -> str:
    """The URL of the page of this server that an action was posted from (`next`, else Referer), else `default`."""
    page = request.POST.get("next") or request.headers.get("Referer", "")
    is_ours = url_has_allowed_host_and_scheme(page, {request.get_host()}, require_https=request.is_secure())
    return page if is_ours else default
