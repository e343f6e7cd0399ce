"""The connections to PostgreSQL: given up soon where it is silent, and tried before they are used."""

import pytest
from django.db import connection


@pytest.mark.django_db
def test_a_connection_gives_up_on_a_server_that_is_silent_within_seconds() -> None:
    connection.ensure_connection()
    used = connection.connection.info.get_parameters()
    assert int(used["connect_timeout"]) <= 3
    assert int(used["tcp_user_timeout"]) <= 10_000
    quiet_s = int(used["keepalives_idle"]) + int(used["keepalives_interval"]) * int(used["keepalives_count"])
    assert quiet_s < 15


@pytest.mark.django_db(transaction=True)
def test_a_connection_that_the_server_ended_meanwhile_fails_nothing() -> None:
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_backend_pid()")
        [pid] = cursor.fetchone()
    connection.close()  # back to the pool
    with connection._nodb_cursor() as other:
        other.execute("SELECT pg_terminate_backend(%s)", [pid])
    with connection.cursor() as cursor:
        cursor.execute("SELECT 1")
