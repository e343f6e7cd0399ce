"""`manage.py clean_old_history`: simple-history's command, but the newest version of each object is kept."""

from typing import Any

from simple_history.management.commands import clean_old_history

from steering.history import superseded


class Command(clean_old_history.Command):
    help = "Delete old versions. The newest version of each object is kept, so that deleted objects can be restored."

    def _process(self, to_process: Any, days_back: int | None = None, dry_run: bool = True) -> None:
        super()._process(((model, Superseded(history)) for model, history in to_process), days_back, dry_run)


class Superseded:
    """A model of versions, limited to the versions that a later version followed."""

    def __init__(self, history: Any) -> None:
        self.objects = superseded(history)
