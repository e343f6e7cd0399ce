"""`manage.py import_features`: import statistics, tokens, nearest features and examples from Neuronpedia's files."""

from typing import Any

from steering.features.files import FeatureFile
from steering.features.models import Feature
from steering.imports.command import ImportCommand


class Command(ImportCommand):
    help = (
        "Import Neuronpedia's facts about an SAE's features: the files of its folders features/ (statistics, promoted "
        "and suppressed tokens, nearest features) and activations/ (examples), as JSON lines or JSON array. Files may "
        "be gzipped. All files are imported, or none."
    )
    kind = "features or of activations"

    def handle(self, *, sae: str, files: list[str], **options: Any) -> None:
        imported = self.import_files(sae, files, FeatureFile, Feature.objects.import_files)
        rows = f"{imported.rows} rows, {imported.skipped} of them examples in which the feature does not fire"
        self.stderr.write(
            f"{imported.features} features and {imported.examples} examples of SAE {sae} imported: {rows}."
        )
