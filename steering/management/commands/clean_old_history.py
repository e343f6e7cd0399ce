"""simple-history's `clean_old_history`, which would delete the last version of an object too."""

from typing import Any

from simple_history.management.commands import clean_old_history

from steering.history import superseded


class Command(clean_old_history.Command):
    help = "Delete old versions. The newest version of each object stays, of a deleted one too: it can be restored."

    def _process(self, to_process: Any, days_back: int | None = None, dry_run: bool = True) -> None:
        super()._process(((model, Superseded(history)) for model, history in to_process), days_back, dry_run)


class Superseded:
    """A model of versions, of which only those are there that another one came after."""

    def __init__(self, history: Any) -> None:
        self.objects = superseded(history)
