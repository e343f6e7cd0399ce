"""Tags for what the rows of a list have: their templates are rendered once, and not for each row."""

from collections.abc import Iterable
from functools import lru_cache
from typing import Any
from urllib.parse import quote

from django import template
from django.template.loader import render_to_string
from django.urls import reverse
from django.utils.html import format_html
from django.utils.safestring import SafeString

register = template.Library()


@register.simple_tag
@lru_cache(typed=True)
def label(text: str, variant: str = "default", icon: str = "", css: str = "") -> SafeString:
    """Unfold's label."""
    context = {"text": text, "variant": variant, "icon": icon, "class": css}
    return render_to_string("unfold/helpers/label.html", context)


@register.simple_tag
def row_menu(cl: Any, actions: Iterable[dict[str, Any]], row: Any) -> SafeString:
    """The menu of a row with Unfold's `actions`; `cl` is the row's list."""
    if not hasattr(cl, "row_menu"):
        cl.row_menu = _menu(actions)
    return format_html(cl.row_menu, id=row.pk, url=quote(str(row.pk)), name=row)


def _menu(actions: Iterable[dict[str, Any]]) -> str:
    """The menu with places for the row's id, its id in URLs, and its name."""
    linked = [{**action, "url": reverse(action["raw_path"], args=["the-row"])} for action in actions]
    linked = [{**action, "url": action["url"].replace("/the-row/", "/{url}/")} for action in linked]
    return render_to_string("millm/row_menu.html", {"actions": linked, "id": "{id}", "name": "{name}"})
