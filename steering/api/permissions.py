"""Permissions of REST: Django's model permissions, for reading too."""

from collections.abc import Mapping
from typing import Any

from django.db.models import Model
from rest_framework.permissions import DjangoModelPermissions

from steering.labels.models import FeatureLabel


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


class LabelPermissions(ModelPermissions):
    """An import needs the permissions to add and to change, since it may overwrite labels."""

    perms_map = {
        **ModelPermissions.perms_map,
        "POST": ["%(app_label)s.add_%(model_name)s", "%(app_label)s.change_%(model_name)s"],
    }


class FeaturePermissions(LabelPermissions):
    """Facts about features need the permissions of labels. Editing a label may add one or change one."""

    perms_map = {**LabelPermissions.perms_map, "PUT": LabelPermissions.perms_map["POST"]}

    def get_required_permissions(self, method: str, model_cls: type[Model]) -> list[str]:
        return super().get_required_permissions(method, FeatureLabel)
