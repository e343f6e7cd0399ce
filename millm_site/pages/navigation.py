"""The admin's sidebar; each user sees the links to the pages that they may open."""

from collections.abc import Callable
from typing import Any

from django.http import HttpRequest
from django.urls import reverse

from profiles.admin.form_page import may_find_features


def sidebar(request: HttpRequest) -> list[dict[str, Any]]:
    """Unfold's SIDEBAR navigation. An item with a permission is shown to users who may open its page."""
    return [
        {
            "items": [
                _item("Dashboard", "dashboard", "admin:index"),
                _item("Playground", "forum", "playground"),
                _item("Explore", "travel_explore", "explore", may_find_features),
                _listed("Sweeps", "ssid_chart", "inference.sweep", "profiles.profile"),
            ]
        },
        {
            "title": "Steering",
            "separator": True,
            "items": [
                _listed("Profiles", "tune", "profiles.profile"),
                _listed("Live steering", "sensors", "steering.steeringstate"),
                _listed("Feature labels", "label", "steering.featurelabel"),
                _listed("Features", "category", "steering.feature", "steering.featurelabel"),
            ],
        },
        {
            "title": "Served",
            "separator": True,
            "items": [
                _listed("Models", "deployed_code", "inference.languagemodel"),
                _listed("SAEs", "hub", "steering.sae"),
                _listed("Stored responses", "inbox", "inference.storedresponse"),
            ],
        },
        {
            "title": "Access",
            "separator": True,
            "items": [
                _listed("API keys", "key", "millm_site.apikey"),
                _listed("Users", "person", "auth.user"),
                _listed("Groups", "group", "auth.group"),
            ],
        },
    ]


def _item(title: str, icon: str, url_name: str, permission: Callable[[HttpRequest], bool] | None = None) -> Any:
    item = {"title": title, "icon": icon, "link": reverse(url_name)}
    return {**item, "permission": permission} if permission else item


def _listed(title: str, icon: str, model: str, permissions_of: str = "") -> Any:
    """The link to the list of a model's rows, for users who may view them, or those of `permissions_of`."""
    app_label, name = model.split(".")
    needed_app, needed = (permissions_of or model).split(".")

    def may_view(request: HttpRequest) -> bool:
        return any(request.user.has_perm(f"{needed_app}.{action}_{needed}") for action in ("view", "change"))

    return _item(title, icon, f"admin:{app_label}_{name}_changelist", may_view)
