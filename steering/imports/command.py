"""The base of the commands that import files."""

import os
import sys
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import IO, Any, TypeVar

from django.core.management.base import BaseCommand, CommandError, CommandParser

from steering.errors import Refused
from steering.imports.rows import Progress, RowFile
from steering.models import SAE

File = TypeVar("File", bound=RowFile)
Imported = TypeVar("Imported")


class ImportCommand(BaseCommand):
    """Imports files for an SAE, all of them or none, with progress on stderr."""

    kind: str
    """The word for a file, in the help."""

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("sae", metavar="SAE", help="the id of the SAE")
        parser.add_argument("files", nargs="+", metavar="FILE", help=f"a file of {self.kind}; - is stdin")

    def import_files(
        self,
        sae: str,
        names: list[str],
        make: Callable[..., File],
        import_: Callable[[str, Sequence[File]], Imported],
    ) -> Imported:
        """Open the files, with `make(file, name, progress)`, and import them. Raises CommandError."""
        if not SAE.objects.filter(pk=sae).exists():
            known = ", ".join(SAE.objects.values_list("pk", flat=True)[:20]) or "none"
            raise CommandError(f"there is no SAE {sae}; the registered SAEs are: {known}. Nothing was imported.")
        with ExitStack() as stack:
            files = [(stack.enter_context(opened(name)), shown_name(name)) for name in names]
            try:
                return import_(sae, [make(file, name, self._progress(file, name)) for file, name in files])
            except Refused as error:
                raise CommandError(f"{error}. Nothing was imported.") from error
            except OSError as error:
                raise CommandError(f"a file cannot be read: {error.strerror}. Nothing was imported.") from error

    def _progress(self, file: IO[bytes], name: str) -> Progress:
        size = os.fstat(file.fileno()).st_size

        def progress(rows: int, read: int) -> None:
            of_all = f", {min(read / size, 1):.0%} of the file" if size else ""
            self.stderr.write(f"{name}: {rows} rows{of_all}")

        return progress


def shown_name(path: str) -> str:
    """The name of a file in messages."""
    return "stdin" if path == "-" else Path(path).name


def opened(path: str) -> Any:
    """The opened file, or stdin for `-`. Raises CommandError."""
    if path == "-":
        return sys.stdin.buffer
    try:
        return Path(path).open("rb")
    except OSError as error:
        raise CommandError(f"{path} cannot be read: {error.strerror}. Nothing was imported.") from error
