"""Actions of the admin's rows and pages that change something."""

from collections.abc import Callable, Iterable
from functools import wraps
from typing import Any

from django.http import HttpRequest, HttpResponseBase, HttpResponseNotAllowed
from unfold.decorators import action
from unfold.enums import ActionVariant


def posted_action(
    description: str, *, permissions: Iterable[str], icon: str | None = None, variant: ActionVariant | None = None
) -> Callable[[Any], Any]:
    """Unfold's `action` for `actions_row`, `actions_detail` and `actions_list`, refused unless it is posted.

    Unfold makes links of them, which any other site could have a browser follow. Those of this decorator are posted by
    static/millm/admin.js, with the CSRF token.
    """

    def decorate(function: Any) -> Any:
        @wraps(function)
        def posted(page: Any, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponseBase:
            if request.method != "POST":
                return HttpResponseNotAllowed(["POST"])
            response: HttpResponseBase = function(page, request, *args, **kwargs)
            return response

        attrs = {"data-post": "", "role": "button"}
        made = action(description=description, permissions=permissions, icon=icon, variant=variant, attrs=attrs)
        return made(posted)

    return decorate
