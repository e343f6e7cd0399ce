"""`manage.py import_labels`: import feature labels from files."""

from functools import partial
from typing import Any

from django.core.management.base import CommandParser

from steering.imports.command import ImportCommand
from steering.labels.files import LabelFile
from steering.labels.models import FeatureLabel


class Command(ImportCommand):
    help = (
        "Import the labels of an SAE's features from Neuronpedia's explanations (JSON array or JSON lines) or CSV "
        "(index,label[,source]). Files may be gzipped. All files are imported, or none."
    )
    kind = "labels"

    def add_arguments(self, parser: CommandParser) -> None:
        super().add_arguments(parser)
        parser.add_argument("--source", default="", help="the source of the labels; replaces the source in the files")
        parser.add_argument(
            "--replace", action="store_true", help="delete all earlier labels of the same sources before the import"
        )

    def handle(self, *, sae: str, files: list[str], source: str, replace: bool, **options: Any) -> None:
        import_ = partial(FeatureLabel.objects.import_files, replace=replace)
        imported = self.import_files(sae, files, partial(LabelFile, source=source), import_)
        sources = ", ".join(imported.sources) or "no source"
        rows = f"{imported.rows} rows, {imported.skipped} of them without a label"
        self.stderr.write(f"{imported.labels} labels of SAE {sae} imported from {sources}: {rows}.")
