"""Who may do what through REST."""

from collections.abc import Mapping
from typing import Any

from django.db.models import Model
from rest_framework.permissions import DjangoModelPermissions


class ModelPermissions(DjangoModelPermissions):
    """Django's model permissions, for reading too: a user without the view permission sees nothing."""

    perms_map = {
        **DjangoModelPermissions.perms_map,
        "GET": ["%(app_label)s.view_%(model_name)s"],
        "HEAD": ["%(app_label)s.view_%(model_name)s"],
    }


def visible(user: Any, row: type[Model], data: Mapping[str, Any], *names: str) -> dict[str, Any]:
    """Of a row as JSON what its user may see: without the view permission only `names`, which say what was changed."""
    meta = row._meta
    if user.has_perm(f"{meta.app_label}.view_{meta.model_name}"):
        return dict(data)
    return {name: data[name] for name in names if name in data}


class ChangePermissions(ModelPermissions):
    """Every change, whatever its method, needs the change permission: for a resource that is always there."""

    perms_map = {
        **ModelPermissions.perms_map,
        "POST": ["%(app_label)s.change_%(model_name)s"],
    }
