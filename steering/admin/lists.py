"""Lists of many rows: what is the same in each row is rendered once, since a template for each cell makes a page slow.

Importing this module makes Unfold render the headers of a list once.
"""

from collections.abc import Callable
from functools import wraps
from typing import Any

from django.contrib.admin.helpers import ACTION_CHECKBOX_NAME
from django.utils.html import format_html
from django.utils.safestring import SafeString
from unfold.admin import ModelAdmin, checkbox
from unfold.decorators import display
from unfold.templatetags import unfold_list

CHECKBOX = checkbox.render(ACTION_CHECKBOX_NAME, "{}")
Headers = Callable[[Any], Any]


class QuickList(ModelAdmin):
    """The admin of a list whose rows are drawn quickly."""

    # Unfold's template asks each row for this. Where it is missing, Django searches all names of the admin for it.
    list_sections: tuple[()] = ()

    @display(description=ModelAdmin.action_checkbox.short_description)
    def action_checkbox(self, obj: Any) -> SafeString:
        return format_html(CHECKBOX, obj.pk)


def once_for_a_list(make: Headers) -> Headers:
    """`make` with a memory in each list: Unfold makes the headers again for each row, to label its cells."""

    @wraps(make)
    def headers(cl: Any) -> list[dict[str, Any]]:
        if not hasattr(cl, "headers"):
            cl.headers = list(make(cl))
        made: list[dict[str, Any]] = cl.headers
        return made

    return headers


unfold_list.result_headers = once_for_a_list(unfold_list.result_headers)
