"""Permissions of REST: Django's model permissions, for reading too."""

from collections.abc import Mapping
from typing import Any

from django.db.models import Model
from rest_framework.permissions import DjangoModelPermissions


class ModelPermissions(DjangoModelPermissions):
    """Django's model permissions; reading needs the view permission."""

    perms_map = {
        **DjangoModelPermissions.perms_map,
        "GET": ["%(app_label)s.view_%(model_name)s"],
        "HEAD": ["%(app_label)s.view_%(model_name)s"],
    }


def visible(user: Any, row: type[Model], data: Mapping[str, Any], *names: str) -> dict[str, Any]:
    """The fields of a row that `user` may see: all, or without the view permission only `names`.

    `data` is the row as JSON. `names` are the fields that tell the user which row a request changed.
    """
    meta = row._meta
    if user.has_perm(f"{meta.app_label}.view_{meta.model_name}"):
        return dict(data)
    return {name: data[name] for name in names if name in data}


class ChangePermissions(ModelPermissions):
    """Every change needs the change permission, POST too: for a resource that is never added or deleted."""

    perms_map = {
        **ModelPermissions.perms_map,
        "POST": ["%(app_label)s.change_%(model_name)s"],
    }
