"""`manage.py make_vector`: a vector of the texts of two files, kept as a vector set."""

from pathlib import Path
from typing import Any, get_args

from django.core.management.base import BaseCommand, CommandError, CommandParser

from inference.broker.messages import VectorMethod, VectorPool
from inference.management.texts import FORM, sides_of
from inference.outages import outage_of
from inference.reading.vectors import MadeVector, Recipe, VectorReading
from steering.errors import Refused
from steering.models import SAE


class Command(BaseCommand):
    help = (
        "Make a vector that steers from the texts of NEGATIVE to those of POSITIVE. A worker that serves the current "
        "model reads the texts. Writes the id of the vector set to stdout."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--positive", metavar="FILE", type=Path, required=True, help=FORM)
        parser.add_argument(
            "--negative", metavar="FILE", type=Path, required=True, help="texts of the other kind, in the same form"
        )
        where = parser.add_mutually_exclusive_group(required=True)
        where.add_argument("--layer", type=int, help="the zero-based block whose output is read")
        where.add_argument("--hook-name", default="", help="the hook point, such as blocks.3.hook_resid_pre")
        parser.add_argument(
            "--method",
            choices=get_args(VectorMethod),
            default="difference",
            help="difference of the means, or first principal component of the differences of the lines in pairs",
        )
        parser.add_argument(
            "--pool",
            choices=get_args(VectorPool),
            default="mean",
            help="the mean over the tokens of a text, or the last token",
        )
        parser.add_argument(
            "--all-positions", action="store_true", help="read whole conversations, not only the last answers"
        )
        parser.add_argument("--id", default="", help="the id of the vector set; by default made of the label")
        parser.add_argument("--label", default="", help="a label for the vector")

    def handle(self, *args: Any, **options: Any) -> None:
        positive, negative = sides_of(options["positive"], options["negative"])
        named = {name: options[name] for name in ("method", "pool")}
        recipe = Recipe(positive, negative, answer_only=not options["all_positions"], **named)
        row, made = self._make(recipe, options)
        self.stderr.write(
            f"{row} is at {row.hook_name}, in {row.source}. Its norm is {made.norm:.4g}; the mean norm of the residual "
            f"stream is {made.residual_norm:.4g}, over {made.tokens:,} tokens."
        )
        if made.auc is not None:
            self.stderr.write(f"As a classifier of the texts the difference of means has an AUC of {made.auc:.3f}.")
        self.stdout.write(row.pk)

    def _make(self, recipe: Recipe, options: Any) -> tuple[SAE, MadeVector]:
        try:
            reading = VectorReading.of(options["layer"], options["hook_name"])
            return reading.make_set(recipe, set_id=options["id"], label=options["label"])
        except Refused as error:
            raise CommandError(str(error)) from error
        except Exception as error:
            if (outage := outage_of(error)) is None:
                raise
            raise CommandError(outage.message) from error
