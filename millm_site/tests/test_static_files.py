"""Static files come from the web itself, and no middleware takes a thread of a request that waits for an answer."""

import asyncio

import pytest
from django.conf import settings
from django.test import AsyncClient, Client
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
