"""The tests run on real servers: those of DATABASE_URL and REDIS_URL, else embedded ones of their own."""

import os
import tempfile

import pytest

if "MILLM_TEST_HOME" not in os.environ:  # once, in the process that starts the others
    os.environ["MILLM_TEST_HOME"] = os.environ["MILLM_HOME"] = tempfile.mkdtemp(prefix="millm-test-")
    from millm_site import embedded

    embedded.provide()

# Each process of pytest-xdist has a Redis database of its own, as it has a PostgreSQL database of its own.
_worker = os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw")
os.environ["REDIS_URL"] = f"{os.environ['REDIS_URL'].split('?')[0]}?db={int(_worker) + 1}"


@pytest.fixture
def api_key(transactional_db: None) -> str:
    """The key of a superuser, in rows that other processes see."""
    from django.contrib.auth import get_user_model

    from millm_site.models import APIKey

    owner = get_user_model().objects.create_superuser("key-owner", password="x")  # type: ignore[attr-defined]
    return str(APIKey.objects.create(owner, name="test")[1])
