"""Fixtures for all apps."""

import os
import sys
from collections import Counter
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import pytest
import redis
from _pytest.nodeid import coerce_node_id
from django.conf import settings
from django.core.management.commands import flush
from django.db import connection
from django.db.backends.base.introspection import BaseDatabaseIntrospection
from django.db.backends.postgresql.operations import DatabaseOperations

from inference.broker import connections
from inference.demo import Demo
from inference.demo.register import register_demo
from inference.demo.tiny import TINY
from inference.models import LanguageModel
from inference.tests.conftest import Server, free_port, redis_url, start_web, start_worker, stop
from millm_site.accounts.groups import make_groups

# The files that take longest, the longest first. pytest-xdist hands out whole files in this order: a long file that
# began last would leave the other processes idle.
LONGEST = """
loading outages run downloads rolling_upgrade hard_ends deployment load backup arriving_bodies processes clients
engine_under_pressure clocks full_database_disk request_heads embedded tls scripted_model architectures body_limit
playground explore profile_form live_steering models_and_saes pages access dashboard profiles_list history_page
"""
LASTING = {"django_content_type", "auth_permission"}


@pytest.fixture
def api_key(transactional_db: None) -> str:
    """The key of a superuser, in rows that other processes see."""
    from django.contrib.auth import get_user_model

    from millm_site.models import APIKey

    owner = get_user_model().objects.create_superuser("key-owner", password="x")
    return str(APIKey.objects.create(owner, name="test")[1])


@pytest.fixture(scope="session", autouse=True)
def lasting_ids() -> Iterator[None]:
    """Content types and permissions outlive each test: the running web process keeps the ids that it has read.

    So a flush has only the groups to put back; Django's own signal would look for every permission. And it deletes the
    rows: of some forty tables, most of them empty, a TRUNCATE takes longer than a test. 35 ms instead of 100 ms a test.
    """
    tables = BaseDatabaseIntrospection.django_table_names

    def flushed(*args: Any, **kwargs: Any) -> list[str]:
        return [table for table in tables(*args, **kwargs) if table not in LASTING]

    def deleted(operations: DatabaseOperations, _style: Any, names: list[str], **kwargs: Any) -> list[str]:
        return ["".join(f"DELETE FROM {operations.quote_name(name)};" for name in names)]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(DatabaseOperations, "sql_flush", deleted)
        patch.setattr(BaseDatabaseIntrospection, "django_table_names", flushed)
        patch.setattr(flush, "emit_post_migrate_signal", lambda *args, **kwargs: make_groups())
        yield


@pytest.fixture
def own_redis(monkeypatch: pytest.MonkeyPatch, settings: Any) -> Iterator["redis.Redis"]:
    """An empty Redis database, where nobody else's workers are, in the place of the one that the session's are in."""
    database = connections.connection.connection_pool.connection_kwargs["db"] + 10
    settings.REDIS_URL = redis_url(database)  # for the connections of new event loops
    with redis.Redis.from_url(settings.REDIS_URL, decode_responses=True) as connection:
        connection.flushdb()
        monkeypatch.setattr(connections, "connection", connection)
        yield connection
        connection.flushdb()


@pytest.fixture(scope="session")
def served_demo() -> Demo:
    """The demo that the tests serve: the small one, whose files are in the repository."""
    return TINY


@pytest.fixture
def demo(transactional_db: None, served_demo: Demo) -> LanguageModel:
    """The demo model with its SAE and profiles, in rows that other processes see; without the features' 3,000 rows."""
    register_demo(served_demo, with_features=False)
    return LanguageModel.objects.get(name="demo")


@pytest.fixture(scope="session")
def processes(
    django_db_setup: None, django_db_blocker: object, tmp_path_factory: pytest.TempPathFactory, served_demo: Demo
) -> Iterator[Server]:
    """Worker and web for the whole session; `server` puts the demo's rows back before each test."""
    with django_db_blocker.unblock():  # type: ignore[attr-defined]
        register_demo(served_demo, with_features=False)
        name = str(connection.settings_dict["NAME"])
    env = os.environ | {"DATABASE_URL": urlunsplit(urlsplit(settings.DATABASE_URL)._replace(path=f"/{name}"))}
    logs = tmp_path_factory.mktemp("logs")
    port = free_port()
    server = Server(
        f"http://127.0.0.1:{port}",
        lambda module="celery", **own: start_worker(env | own, logs, module),
        start_worker(env, logs),
        logs,
    )
    web = start_web(port, env, logs)
    try:
        server.wait_until_ready()
        yield server
    finally:
        stop(web, server.worker)
        for log in sorted(logs.iterdir()):
            sys.stdout.write(f"--- {log.name}\n{log.read_text()[-4000:]}\n")


@pytest.fixture
def server(demo: LanguageModel, processes: Server) -> Server:
    """The running server with the demo's rows in place and a worker that is alive."""
    processes.wait_for_heartbeat(load=demo.load_id)
    return processes


@pytest.hookimpl(trylast=True)  # after pytest-randomly
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Sort the longest files first. Number equal ids, which schemathesis makes: of equal ids xdist runs one test."""
    places = {f"test_{name}": place for place, name in enumerate(LONGEST.split())}
    items.sort(key=lambda item: places.get(item.path.stem, len(places)))
    seen: Counter[str] = Counter()
    for item in items:
        seen[item.nodeid] += 1
        if seen[item.nodeid] > 1:
            item._id = coerce_node_id(f"{item.nodeid}[{seen[item.nodeid]}]")
