"""`manage.py contrast_features`: the features that tell the texts of one file from those of another."""

from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError, CommandParser

from inference.api.reading_serializers import MOST_RANKED, chat_prompt, text_prompt
from inference.broker.messages import Prompt
from inference.management.listing import as_json, as_line
from inference.outages import outage_of
from inference.reading.request import Reading
from steering import strict_json
from steering.errors import Refused

COLUMNS = ("index", "difference", "auc", "positive_share", "negative_share", "density", "label")


class Command(BaseCommand):
    help = "Rank the features by which the texts of POSITIVE differ from those of NEGATIVE. A worker reads the texts."

    def add_arguments(self, parser: CommandParser) -> None:
        form = "a text a line; or, with the suffix .jsonl, a JSON string or a list of messages a line"
        parser.add_argument("positive", metavar="POSITIVE", type=Path, help=form)
        parser.add_argument("negative", metavar="NEGATIVE", type=Path, help="the same, of another kind of text")
        parser.add_argument("--sae", default="", help="its id; without it the attached SAE")
        parser.add_argument("--pool", choices=["mean", "max"], default="mean", help="a text's score over its tokens")
        parser.add_argument("--all-positions", action="store_true", help="of conversations read all, not the answer")
        parser.add_argument("--max-density", type=float, default=1.0, help="leave out what fires on more of the tokens")
        parser.add_argument("--top", type=int, default=20, help="features of each side")
        parser.add_argument("--json", action="store_true", help="the answer of POST /api/features/contrast")

    def handle(self, *args: Any, **options: Any) -> None:
        if not 0 <= options["max_density"] <= 1:
            raise CommandError(f"--max-density: got {options['max_density']}, expected a number from 0 to 1")
        if not 1 <= options["top"] <= MOST_RANKED:
            raise CommandError(f"--top: got {options['top']}, expected a number from 1 to {MOST_RANKED}")
        sides = [prompts_of(options[side]) for side in ("positive", "negative")]
        if (total := len(sides[0]) + len(sides[1])) > (most := settings.INFERENCE_MAX_READING_TEXTS):
            raise CommandError(f"got {total:,} texts, expected at most {most:,}: raise INFERENCE_MAX_READING_TEXTS")
        found = self._contrast(sides, options)
        if options["json"]:
            self.stdout.write(as_json(found))
            return
        self.stdout.write("\t".join(COLUMNS))
        for one in [*found["features"], *found["opposed"]]:
            self.stdout.write(as_line([f"{one[name]:.4g}" if name != "label" else one[name] for name in COLUMNS]))
        if (auc := found["residual_auc"]) is not None:
            self.stderr.write(f"A direction in the residual stream, the difference of means, has an AUC of {auc:.3f}.")

    def _contrast(self, sides: list[list[Prompt]], options: Any) -> dict[str, Any]:
        named = {name: options[name] for name in ("pool", "max_density", "top")}
        try:
            return Reading.of(options["sae"]).contrast(*sides, answer_only=not options["all_positions"], **named)
        except Refused as error:
            raise CommandError(str(error)) from error
        except Exception as error:
            if (outage := outage_of(error)) is None:
                raise
            raise CommandError(outage.message) from error


def prompts_of(path: Path) -> list[Prompt]:
    """The texts of a file. Raises CommandError, which names the line."""
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise CommandError(f"{path}: {error}") from error
    found = []
    for number, line in enumerate(lines, 1):
        if line.strip():
            try:
                found.append(_prompt(line, is_json=path.suffix == ".jsonl"))
            except ValueError as error:
                raise CommandError(f"{path}, line {number}: {error}") from error
    if not found:
        raise CommandError(f"{path}: got no text, expected one a line")
    return found


def _prompt(line: str, *, is_json: bool) -> Prompt:
    given = strict_json.loads(line) if is_json else line
    return text_prompt(given) if isinstance(given, str) else chat_prompt(given)
