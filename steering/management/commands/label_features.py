"""`manage.py label_features`: suggest labels for the features without any."""

from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from steering.errors import Refused
from steering.features.suggestions import SOURCE, suggest_labels
from steering.models import SAE


class Command(BaseCommand):
    help = (
        "Suggest a label for each feature of an SAE without any: the words on which the feature fires most in its "
        f"examples, and the tokens that it promotes. The source of these labels is {SOURCE}."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("sae", metavar="SAE", help="the id of the SAE")
        parser.add_argument("--replace", action="store_true", help="replace the labels of an earlier call")

    def handle(self, *, sae: str, replace: bool, **options: Any) -> None:
        found = SAE.objects.filter(pk=sae).first()
        if found is None:
            known = ", ".join(SAE.objects.values_list("pk", flat=True)[:20]) or "none"
            raise CommandError(f"there is no SAE {sae}; the registered SAEs are: {known}. Nothing was changed.")
        try:
            labels = suggest_labels(found, replace=replace)
        except Refused as error:
            raise CommandError(f"{error}. Nothing was changed.") from error
        self.stderr.write(f"{labels.labels:,} features of SAE {found} are labelled by their tokens.")
