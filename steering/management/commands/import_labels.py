"""`manage.py import_labels`: import feature labels from files."""

import os
import sys
from contextlib import ExitStack
from pathlib import Path
from typing import IO, Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from steering.errors import Refused
from steering.labels.files import LabelFile
from steering.labels.models import FeatureLabel
from steering.models import SAE


class Command(BaseCommand):
    help = (
        "Import the labels of an SAE's features from Neuronpedia's explanations (JSON array or JSON lines) or CSV "
        "(index,label[,source]). Files may be gzipped. All files are imported, or none."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("sae", metavar="SAE", help="the id of the SAE")
        parser.add_argument("files", nargs="+", metavar="FILE", help="a file of labels; - is stdin")
        parser.add_argument("--source", default="", help="the source of the labels; replaces the source in the files")
        parser.add_argument(
            "--replace", action="store_true", help="delete all earlier labels of the same sources before the import"
        )

    def handle(self, *, sae: str, files: list[str], source: str, replace: bool, **options: Any) -> None:
        found = SAE.objects.filter(pk=sae).first()
        if found is None:
            known = ", ".join(SAE.objects.values_list("pk", flat=True)[:20]) or "none"
            raise CommandError(f"there is no SAE {sae}; the registered SAEs are: {known}. Nothing was imported.")
        with ExitStack() as stack:
            opened = [LabelFile(stack.enter_context(_open(name)), _name(name), source=source) for name in files]
            for file in opened:
                file.progress = self._progress(file)
            try:
                imported = FeatureLabel.objects.import_files(found.pk, opened, replace=replace)
            except Refused as error:
                raise CommandError(f"{error}. Nothing was imported.") from error
            except OSError as error:
                raise CommandError(f"a file cannot be read: {error.strerror}. Nothing was imported.") from error
        sources = ", ".join(imported.sources) or "no source"
        rows = f"{imported.rows} rows, {imported.skipped} of them without a label"
        self.stderr.write(f"{imported.labels} labels of SAE {found} imported from {sources}: {rows}.")

    def _progress(self, file: LabelFile) -> Any:
        size = os.fstat(file.file.fileno()).st_size

        def progress(rows: int, read: int) -> None:
            of_all = f", {min(read / size, 1):.0%} of the file" if size else ""
            self.stderr.write(f"{file.name}: {rows} rows{of_all}")

        return progress


def _name(path: str) -> str:
    return "stdin" if path == "-" else Path(path).name


def _open(path: str) -> IO[bytes]:
    """The opened file, or stdin for `-`. Raises CommandError."""
    if path == "-":
        return sys.stdin.buffer
    try:
        return Path(path).open("rb")
    except OSError as error:
        raise CommandError(f"{path} cannot be read: {error.strerror}. Nothing was imported.") from error
