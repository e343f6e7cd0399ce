"""The names of permissions, for refusals."""

from typing import Any

from django.contrib.auth.models import Permission
from django.core.exceptions import PermissionDenied


def named(permission: str) -> str:
    """The name of a permission such as `profiles.view_profile`: “Can view profile”."""
    app, _, codename = permission.partition(".")
    found = Permission.objects.filter(content_type__app_label=app, codename=codename).values_list("name", flat=True)
    return f"“{found.first() or permission}”"


def missing(*permissions: str) -> PermissionDenied:
    """The refusal of a page or an action that needs these permissions."""
    plural = "s" if len(permissions) > 1 else ""
    return PermissionDenied(f"This needs the permission{plural} {' and '.join(map(named, permissions))}.")


def needed_by(model_admin: Any, page: str, *, changes: bool) -> str:
    """The permission that a page of a model's admin needs, by the end of its URL's name; "" where it is not known.

    `changes` is True for a POST.
    """
    usual = {"changelist": "view", "history": "view", "add": "add", "delete": "delete", "change": "view"}
    if page == "change" and changes:
        action = "change"
    elif page in usual:
        action = usual[page]
    else:
        action = next(iter(getattr(getattr(model_admin, page, None), "allowed_permissions", [])), "")
    codename = f"{ {'create': 'add'}.get(action, action) }_{model_admin.opts.model_name}"
    return f"{model_admin.opts.app_label}.{codename}" if action else ""
