"""Static files come from the web itself, and no middleware takes a thread of a request that waits for an answer."""

import asyncio
from pathlib import Path
from typing import Any

import pytest
from django.conf import settings
from django.contrib import admin
from django.core.management import call_command
from django.test import AsyncClient, Client
from django.urls import reverse
from django.utils.module_loading import import_string


@pytest.mark.parametrize("path", settings.MIDDLEWARE)
def test_every_middleware_is_asynchronous(path: str) -> None:
    assert getattr(import_string(path), "async_capable", False), f"{path} would hold a thread for each request"


@pytest.mark.django_db  # a request looks after the connections that other tests have opened
def test_a_static_file_is_served_under_both_kinds_of_server() -> None:
    for path, status in (("/static/admin/css/base.css", 200), ("/static/nothing.css", 404)):
        for answer in (Client().get(path), asyncio.run(AsyncClient().get(path))):
            assert answer.status_code == status
            answer.close()


def test_every_page_of_the_admin_finds_its_files_among_the_collected_ones(
    demo: object, admin_client: Client, settings: Any, tmp_path: Path
) -> None:
    """A name that is not among them raises an error with hashed names, and with these only."""
    settings.STATIC_ROOT = tmp_path
    hashed = {"BACKEND": "django.contrib.staticfiles.storage.ManifestStaticFilesStorage"}
    settings.STORAGES = {**settings.STORAGES, "staticfiles": hashed}
    call_command("collectstatic", "--noinput", verbosity=0)
    pages = [reverse("admin:index"), reverse("playground"), reverse("admin:password_change")]
    for model in admin.site._registry:
        name = f"admin:{model._meta.app_label}_{model._meta.model_name}"
        pages += [reverse(f"{name}_changelist"), reverse(f"{name}_add")]
        if (row := model._default_manager.first()) is not None:
            pages.append(reverse(f"{name}_change", args=[row.pk]))
    for page in pages:
        assert admin_client.get(page, follow=True).status_code in {200, 403}, page
