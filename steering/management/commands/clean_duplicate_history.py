"""`manage.py clean_duplicate_history`: simple-history's command, but the newest version of each object is kept."""

from typing import Any

from simple_history.management.commands import clean_duplicate_history

from steering.history import superseded


class Command(clean_duplicate_history.Command):
    help = "Delete versions that equal the version before them. The newest version of each object is kept."

    def _check_and_delete(self, entry1: Any, entry2: Any, dry_run: bool = True) -> int:
        if not superseded(type(entry1)).filter(pk=entry1.pk).exists():
            return 0
        deleted: int = super()._check_and_delete(entry1, entry2, dry_run)
        return deleted
