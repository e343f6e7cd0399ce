"""Fixtures for all apps."""

from collections import Counter

import pytest
from _pytest.nodeid import coerce_node_id


@pytest.fixture
def api_key(transactional_db: None) -> str:
    """The key of a superuser, in rows that other processes see."""
    from django.contrib.auth import get_user_model

    from millm_site.models import APIKey

    owner = get_user_model().objects.create_superuser("key-owner", password="x")
    return str(APIKey.objects.create(owner, name="test")[1])


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Ids of their own for what schemathesis makes of one test: of equal ids pytest-xdist runs one."""
    seen: Counter[str] = Counter()
    for item in items:
        seen[item.nodeid] += 1
        if seen[item.nodeid] > 1:
            item._id = coerce_node_id(f"{item.nodeid}[{seen[item.nodeid]}]")
