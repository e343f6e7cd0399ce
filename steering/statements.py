"""The time limit of the web's SQL statements: see DATABASE_STATEMENT_TIMEOUT_S."""

from django.conf import settings
from django.db import connection, connections


def limit_statements() -> None:
    """End each statement of this process after DATABASE_STATEMENT_TIMEOUT_S.

    For the web, where one request must not keep PostgreSQL busy. Commands and workers have no limit.
    """
    options = connections.settings["default"]["OPTIONS"]
    # First, so that options of the DATABASE_URL override it.
    limit = f"-c statement_timeout={settings.DATABASE_STATEMENT_TIMEOUT_S * 1000}"
    options["options"] = f"{limit} {options.get('options', '')}".strip()
    connection.close_pool()  # type: ignore[attr-defined]  # the pool of PostgreSQL; open connections lack the limit


def may_take_long() -> None:
    """Lift the limit until this transaction ends: its work grows with the number of rows."""
    with connection.cursor() as cursor:
        cursor.execute("SET LOCAL statement_timeout = 0")
