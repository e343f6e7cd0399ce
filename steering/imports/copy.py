"""The way of rows into PostgreSQL: all are copied into a temporary table first."""

from collections.abc import Generator, Sequence
from contextlib import closing, contextmanager
from typing import Any

from django.db import connection, transaction

from steering.saes import FeaturesUnknown, NoSuchSAE
from steering.statements import may_take_long


@contextmanager
def imported(sae_id: str, table: str, columns: dict[str, str]) -> Generator["Import", None, None]:
    """A transaction with a temporary table for the rows of an import; after the block the table is dropped.

    `columns` are names and SQL types. The SAE is locked until the end: it cannot be deleted meanwhile, every other
    change of it can happen. Raises NoSuchSAE, FeaturesUnknown.
    """
    with transaction.atomic(), connection.cursor() as cursor:
        may_take_long()
        cursor.execute("SELECT d_sae FROM steering_sae WHERE id = %s FOR KEY SHARE", [sae_id])
        d_sae = _feature_count(sae_id, cursor.fetchone())
        listed = ", ".join(f"{name} {kind}" for name, kind in columns.items())
        cursor.execute(f"CREATE TEMPORARY TABLE {table} (row bigserial, {listed}) ON COMMIT DROP")
        yield Import(cursor, d_sae, f"COPY {table} ({', '.join(columns)}) FROM STDIN")
        cursor.execute(f"DROP TABLE {table}")


class Import:
    """An import in progress. Its cursor is `cursor`; the SAE has `d_sae` features."""

    def __init__(self, cursor: Any, d_sae: int, statement: str) -> None:
        self.cursor, self.d_sae, self._statement = cursor, d_sae, statement

    def copy(self, rows: Generator[Sequence[Any], None, None]) -> None:
        """Copy `rows` into the temporary table, one by one while they are read."""
        with closing(rows), self.cursor.copy(self._statement) as copy:
            for row in rows:
                copy.write_row(row)


def _feature_count(sae_id: str, row: tuple[int] | None) -> int:
    """The SAE's number of features, from its row. Raises NoSuchSAE, FeaturesUnknown."""
    if row is None:
        raise NoSuchSAE(f"there is no SAE {sae_id}")
    if not row[0]:
        raise FeaturesUnknown(sae_id)
    return row[0]
