"""`manage.py contrast_features`: the features that tell the texts of one file from those of another."""

from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from inference.api.reading_serializers import MOST_RANKED
from inference.broker.messages import Prompt
from inference.management.listing import as_json, as_line
from inference.management.texts import FORM, sides_of
from inference.outages import outage_of
from inference.reading.request import Reading
from steering.errors import Refused

COLUMNS = ("index", "difference", "auc", "positive_share", "negative_share", "density", "maximum", "label")


class Command(BaseCommand):
    help = "Rank the features by which the texts of POSITIVE differ from those of NEGATIVE. A worker reads the texts."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("positive", metavar="POSITIVE", type=Path, help=FORM)
        parser.add_argument("negative", metavar="NEGATIVE", type=Path, help="texts of another kind, in the same form")
        parser.add_argument("--sae", default="", help="the id of the SAE; by default the attached SAE")
        parser.add_argument(
            "--pool",
            choices=["mean", "max"],
            default="mean",
            help="how the activations of a text's tokens make its score",
        )
        parser.add_argument(
            "--all-positions", action="store_true", help="read whole conversations, not only the last answers"
        )
        parser.add_argument(
            "--max-density", type=float, default=1.0, help="leave out features that fire on a larger share of tokens"
        )
        parser.add_argument("--top", type=int, default=20, help="how many features to list for each file")
        parser.add_argument("--json", action="store_true", help="write the answer of POST /api/features/contrast")

    def handle(self, *args: Any, **options: Any) -> None:
        if not 0 <= options["max_density"] <= 1:
            raise CommandError(f"--max-density: got {options['max_density']}, expected a number from 0 to 1")
        if not 1 <= options["top"] <= MOST_RANKED:
            raise CommandError(f"--top: got {options['top']}, expected a number from 1 to {MOST_RANKED}")
        sides = sides_of(options["positive"], options["negative"])
        found = self._contrast(sides, options)
        if options["json"]:
            self.stdout.write(as_json(found))
            return
        self.stdout.write("\t".join(COLUMNS))
        for one in [*found["features"], *found["opposed"]]:
            self.stdout.write(as_line([_cell(one[name]) for name in COLUMNS]))
        if (auc := found["residual_auc"]) is not None:
            self.stderr.write(f"A direction in the residual stream, the difference of means, has an AUC of {auc:.3f}.")

    def _contrast(self, sides: tuple[list[Prompt], list[Prompt]], options: Any) -> dict[str, Any]:
        named = {name: options[name] for name in ("pool", "max_density", "top")}
        try:
            return Reading.of(options["sae"]).contrast(*sides, answer_only=not options["all_positions"], **named)
        except Refused as error:
            raise CommandError(str(error)) from error
        except Exception as error:
            if (outage := outage_of(error)) is None:
                raise
            raise CommandError(outage.message) from error


def _cell(value: float | str | None) -> str:
    """A number with four digits, a label as it is, nothing of a maximum that is not known."""
    return value or "" if isinstance(value, str | None) else f"{value:.4g}"
