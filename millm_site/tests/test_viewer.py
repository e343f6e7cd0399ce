"""A viewer sees and can change nothing; who has not logged in sees nothing. Every address of the site is tried."""

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest
from django.apps import apps
from django.contrib import admin
from django.contrib.auth.models import Group, User
from django.core import serializers
from django.db import models
from django.test import Client
from django.urls import URLPattern, get_resolver

from inference.demo.register import register_demo
from inference.models import LanguageModel, Sweep
from inference.responses.models import StoredResponse
from inference.sweeps.plan import Plan
from inference.sweeps.subject import Subject
from millm_site.accounts.groups import make_groups
from millm_site.models import APIKey
from profiles.models import Profile
from steering.models import SAE, FeatureLabel, SteeringState

UNSAFE = ("post", "put", "patch", "delete")
REFUSED = {403, 404, 405, 415}
NOT_CONTENT = {
    "django_session",
    "axes_accessattempt",
    "millm_site_firststeps",
    "steering_feature",
}  # a worker's facts, kept when they are read

# What only reads, whatever the method is; that nothing changes is checked all the same. First Django's and Unfold's.
READS = {"index", "app_index", "changelist_view", "history_view", "search", "autocomplete_view", "shortcut", "view"}
READS |= {"progress_view", "state_view", "compatibility_view", "compare_view", "deleted_view", "export", "try_out"}
READS |= {"compare_profiles_view", "compare_with"}
# These read texts for whoever may see labels, and refuse the body that the tests send.
READINGS = {"/api/activations", "/api/features/contrast"}
# A worker makes these, and no worker is here: 503.
OF_WORKERS = re.compile(r"/api/saes/[^/]+/features/3/vector\.gguf")
# Of Django: these know no other methods than GET and POST.
GET_AND_POST = READS | {"add_view", "change_view", "delete_view", "user_change_password"}
# What every user of the admin may do, and what it would change is no content.
OF_EVERYBODY = {"login", "logout", "password_change", "password_change_done", "admin_chat_completions", "dismiss"}
PUBLIC = re.compile(r"/(|favicon.ico|admin/login/|api/schema|api/docs|healthz|readyz|metrics|v1/openapi.json)")


@dataclass(frozen=True)
class Address:
    path: str
    view: str

    @property
    def is_admin(self) -> bool:
        return self.path.startswith("/admin/")


def addresses() -> list[Address]:
    """Every address of the site, with rows that are there in place of its parameters."""
    found = {Address("/" + _filled(pattern), _view(leaf)) for pattern, leaf in _leaves(get_resolver())}
    return sorted(found, key=lambda address: (address.path, address.view))


def _leaves(resolver: Any, prefix: str = "") -> Iterator[tuple[str, URLPattern]]:
    for pattern in resolver.url_patterns:
        here = prefix + str(pattern.pattern).removeprefix("^")
        if isinstance(pattern, URLPattern):
            yield here, pattern
        else:
            yield from _leaves(pattern, here)


def _view(leaf: URLPattern) -> str:
    return str(getattr(leaf.callback, "__name__", leaf.name))


def _filled(pattern: str) -> str:
    kinds = "profile|steeringstate|featurelabel|languagemodel|model|sae|sweep|storedresponse|user|group|apikey"
    kind = re.search(rf"({kinds})s?[/<(]", pattern)
    row = _row(kind.group(1)) if kind else "1"
    values = {
        "format": "json",
        "app_label": "profiles",
        "url": "nothing",
        "number": "1",
        "index": "3",
        "action": "clear",
    }
    values["name"] = "demo"
    regex = r"\(\?P<(\w+)>[^)]*\)|<(?:\w+:)?(\w+)>"
    filled = re.sub(regex, lambda match: values.get(match.group(1) or match.group(2), row), pattern)
    return re.sub(r"\(\?:[^)]*\)|/\?$|/\?\$$|\$$", "", filled).replace("\\.", ".")


def _row(kind: str) -> str:
    rows: dict[str, Any] = {
        "profile": Profile.objects.filter(is_active=False),
        "steeringstate": SteeringState.objects,
        "featurelabel": FeatureLabel.objects,
        "languagemodel": LanguageModel.objects,
        "model": LanguageModel.objects,
        "sae": SAE.objects,
        "sweep": Sweep.objects,
        "storedresponse": StoredResponse.objects,
        "user": User.objects.filter(is_superuser=True),
        "group": Group.objects,
        "apikey": APIKey.objects,
    }
    return str(rows[kind].first().pk)


@pytest.fixture
def site(transactional_db: None) -> None:
    """Something of everything."""
    make_groups()
    register_demo()
    FeatureLabel.objects.filter(index__gt=3).delete()
    SteeringState.objects.load().replace({3: 1.0})
    Sweep.objects.start(Subject.of_profile("ocean"), Plan(values=[1.0], prompts=["Tell me something."])).cancel()
    root = User.objects.create_superuser("root", password="x")
    APIKey.objects.issue(root, "root's")
    store_response(root)


@pytest.fixture
def viewer(site: None) -> User:
    made = User.objects.create_user("viewer", password="x", is_staff=True)
    made.groups.add(Group.objects.get(name="Viewers"))
    return made


def store_response(owner: User) -> None:
    """A stored response of `owner`."""
    row = StoredResponse.following(owner, f"resp_{'f' * 32}", None)
    row.input_items = [{"type": "message", "role": "user", "content": "Tell me something."}]
    row.end("completed", {"model": "demo", "output": [{"type": "message", "role": "assistant", "content": "The sea."}]})


def content() -> dict[str, str]:
    """Every row of every table that people can change."""
    tables: list[type[models.Model]] = [
        model for model in apps.get_models(include_auto_created=True) if model._meta.db_table not in NOT_CONTENT
    ]
    return {model._meta.label: serializers.serialize("json", model._base_manager.order_by("pk")) for model in tables}


def send(client: Client, method: str, address: Address) -> int:
    """The status of a request that would change something, if anything could."""
    if method == "get":
        return client.get(address.path).status_code
    chosen = address.path.rstrip("/").split("/")
    form: dict[str, Any] = {
        "action": "delete_selected",
        "_selected_action": [row.pk for row in Profile.objects.all()],
        "post": "yes",
        "name": "changed",
        "version": 1,
        "number": 1,
        "confirm": "yes",
        "values": '{"3": 2.0}',
        "steering": '{"3": 2.0}',
        "enabled": "on",
        "profile": chosen[-1],
    }
    if address.is_admin:
        return int(getattr(client, method)(address.path, form if method == "post" else b"").status_code)
    body = {"name": "changed", "version": 1, "enabled": True, "values": {"3": 2.0}, "steering": {"3": 2.0}}
    return int(getattr(client, method)(address.path, json.dumps(body), content_type="application/json").status_code)


def test_a_viewer_changes_nothing_at_any_address(viewer: User) -> None:
    client = Client()
    client.force_login(viewer)
    before, allowed = content(), []
    for address in addresses():
        if address.path.startswith("/v1") or address.view == "logout":
            continue  # for keys: see below
        for method in UNSAFE[:1] if address.view in GET_AND_POST else UNSAFE:
            status = send(client, method, address)
            expected = REFUSED | ({200, 302} if address.view in READS | OF_EVERYBODY else set())
            expected |= {400} if address.path in READINGS else set()
            if status not in expected and not PUBLIC.fullmatch(address.path):
                allowed.append(f"{method} {address.path} ({address.view}): {status}")
    assert allowed == []
    assert content() == before


def test_a_viewer_changes_nothing_by_the_actions_of_lists_and_rows(viewer: User) -> None:
    client = Client()
    client.force_login(viewer)
    Profile.objects.named("ocean").activate()  # so that there is something to deactivate
    before, tried = content(), set()
    paths = [address.path for address in addresses() if address.is_admin]
    registry: dict[Any, Any] = {**admin.site._registry}
    for model, model_admin in registry.items():
        page = f"/admin/{model._meta.app_label}/{model._meta.model_name}/"
        rows = {"_selected_action": [row.pk for row in model._base_manager.all()], "index": "0", "post": "yes"}
        for action in {"delete_selected", *(getattr(one, "__name__", one) for one in model_admin.actions or [])}:
            client.post(page, rows | {"action": action})
            client.post(page, rows | {"action": action, "select_across": "1"})
            tried.add(action)
        listed = (*model_admin.actions_row, *model_admin.actions_detail, *model_admin.actions_list)
        for action in model_admin._extract_action_names(listed):
            path = getattr(getattr(model_admin, str(action), None), "url_path", None) or str(action)
            assert any(path.replace("_", "-") in one.replace("_", "-") for one in paths), (
                f"{page}: {action} was not tried"
            )
    assert tried >= {"delete_selected", "export_selected", "deactivate_selected"}
    assert content() == before


def test_a_viewer_sees_what_is_there(viewer: User) -> None:
    client = Client()
    client.force_login(viewer)
    before = content()
    statuses = {
        address: send(client, "get", address)
        for address in addresses()
        if not address.path.startswith("/v1") and not PUBLIC.fullmatch(address.path)
    }
    failed = {address.path for address, status in statuses.items() if status >= 500}
    assert [path for path in failed if not OF_WORKERS.fullmatch(path)] == []
    seen = {address.path for address, status in statuses.items() if status == 200}
    for path in ("/admin/", "/admin/playground/", "/api/profiles", "/api/steering", "/api/models", "/api/saes"):
        assert path in seen
    for model in ("profiles/profile", "steering/steeringstate", "steering/featurelabel", "steering/sae"):
        assert f"/admin/{model}/" in seen
    assert not [path for path in seen if re.match(r"/admin/(auth|millm_site|inference/storedresponse)/", path)]
    assert content() == before


def test_the_key_of_a_viewer_changes_nothing(viewer: User) -> None:
    key = APIKey.objects.issue(viewer, "viewer's")[1]
    APIKey.objects.filter(user=viewer).update(last_used_at="2100-01-01T00:00Z")  # no use is noted
    client = Client(headers={"Authorization": f"Bearer {key}"})
    before, allowed = content(), []
    for address in addresses():
        if not address.path.startswith(("/v1", "/api")) or PUBLIC.fullmatch(address.path):
            continue
        for method in UNSAFE:
            status = send(client, method, address)
            expected = REFUSED | ({400} if address.path in READINGS else set())
            if status < 400 or (address.path.startswith("/api") and status not in expected):
                allowed.append(f"{method} {address.path}: {status}")
    assert allowed == []
    assert content() == before
    chat = {"model": "demo", "profile": "ocean", "messages": [{"role": "user", "content": "Hello"}]}
    refused = client.post("/v1/chat/completions", json.dumps(chat), content_type="application/json")
    assert (refused.status_code, refused.json()["error"]["code"]) == (403, "permission_denied")
    assert content() == before


def test_who_has_not_logged_in_sees_and_changes_nothing(site: None) -> None:
    client = Client()
    before, allowed = content(), []
    for address in addresses():
        if PUBLIC.fullmatch(address.path):
            continue
        for method in ("get", *UNSAFE):
            status = send(client, method, address)
            to_login = address.is_admin and status == 302
            if status not in REFUSED | {401} and not to_login:
                allowed.append(f"{method} {address.path} ({address.view}): {status}")
    assert allowed == []
    assert content() == before
