"""The permissions that miLLM uses, and the groups that the first migration creates."""

from typing import Any

from django.apps import apps as every_app
from django.apps.registry import Apps
from django.contrib.auth.models import Group, Permission
from django.db.models import Q, QuerySet

Allowed = dict[str, tuple[str, ...]]
LOOK = ("view",)
EVERYTHING = ("view", "add", "change", "delete")
# {model: its permissions}. Django creates more permissions, for tables that nobody edits.
MEANINGFUL: Allowed = {
    "profiles.profile": (*EVERYTHING, "activate"),
    "steering.steeringstate": ("view", "change"),
    "steering.featurelabel": EVERYTHING,
    "inference.languagemodel": EVERYTHING,
    "steering.sae": EVERYTHING,
    "inference.storedresponse": ("view", "delete"),
    "millm_site.apikey": EVERYTHING,
    "auth.user": EVERYTHING,
    "auth.group": EVERYTHING,
}
OF_ADMINISTRATORS = ("inference.storedresponse", "millm_site.apikey", "auth.user", "auth.group")
"""Texts of other users, and access."""

_viewer: Allowed = {model: LOOK for model in MEANINGFUL if model not in OF_ADMINISTRATORS}
_editor: Allowed = {
    **_viewer,
    "profiles.profile": EVERYTHING,
    "steering.steeringstate": ("view", "change"),
    "steering.featurelabel": EVERYTHING,
}
_operator = {model: actions for model, actions in MEANINGFUL.items() if model not in OF_ADMINISTRATORS}
# Each group has all permissions of the group before it.
READY_MADE: dict[str, Allowed] = {
    "Viewers": _viewer,
    "Editors": _editor,
    "Operators": _operator,
    "Administrators": MEANINGFUL,
}


def meaningful_permissions() -> QuerySet[Permission]:
    return _permissions(MEANINGFUL)


def make_groups(apps: Apps = every_app, **kwargs: Any) -> None:
    """Create the ready-made groups if there is no group at all, so that changed or deleted groups stay so.

    Called after a migration; `apps` are the migrated apps.
    """
    migrated = {model._meta.label_lower for model in apps.get_models()}
    if not migrated.issuperset(MEANINGFUL) or Group.objects.exists():
        return
    for name, allowed in READY_MADE.items():
        Group.objects.create(name=name).permissions.set(_permissions(allowed))


def _permissions(allowed: Allowed) -> QuerySet[Permission]:
    chosen = Q(pk=None)
    for label, actions in allowed.items():
        app, model = label.split(".")
        codenames = [f"{action}_{model}" for action in actions]
        chosen |= Q(content_type__app_label=app, content_type__model=model, codename__in=codenames)
    return Permission.objects.filter(chosen).select_related("content_type")
