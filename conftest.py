"""Fixtures for all apps."""

import pytest


@pytest.fixture
def api_key(transactional_db: None) -> str:
    """The key of a superuser, in rows that other processes see."""
    from django.contrib.auth import get_user_model

    from millm_site.models import APIKey

    owner = get_user_model().objects.create_superuser("key-owner", password="x")
    return str(APIKey.objects.create(owner, name="test")[1])
