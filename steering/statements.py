"""How long a statement of the web may take: see DATABASE_STATEMENT_TIMEOUT_S."""

from django.conf import settings
from django.db import connection, connections


def limit_statements() -> None:
    """End each statement of this process after DATABASE_STATEMENT_TIMEOUT_S.

    For the web: one request may not keep PostgreSQL busy. Commands and workers have no limit.
    """
    options = connections.settings["default"]["OPTIONS"]
    # First, so that what the DATABASE_URL says counts.
    limit = f"-c statement_timeout={settings.DATABASE_STATEMENT_TIMEOUT_S * 1000}"
    options["options"] = f"{limit} {options.get('options', '')}".strip()
    connection.close_pool()  # type: ignore[attr-defined]  # of PostgreSQL; connections that are there are without


def may_take_long() -> None:
    """Lift the limit until the end of this transaction, whose work grows with what there is."""
    with connection.cursor() as cursor:
        cursor.execute("SET LOCAL statement_timeout = 0")
