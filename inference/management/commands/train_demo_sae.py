"""`manage.py train_demo_sae`: make the SAE of SmolLM2, its labels and its profiles."""

from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError, CommandParser

from inference.demo.smollm2 import FILES

STAGES = ("answers", "layers", "sae", "labels", "profiles")
LAYER = 12


class Command(BaseCommand):
    help = (
        "Train the SAE of the demo's SmolLM2, label its features and search its profiles (some hours on two cores). "
        "An interrupted run continues where it ended."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        home = settings.MILLM_HOME / "demo"
        parser.add_argument(
            "stages", nargs="*", metavar="STAGE", help=f"of {', '.join(STAGES)}; default: all but layers"
        )
        parser.add_argument("--model", type=Path, default=home / "smollm2", help="the folder of the model")
        parser.add_argument("--work", type=Path, default=home / "training", help="the folder of intermediate files")
        parser.add_argument("--output", type=Path, default=FILES, help="the folder to write to")
        parser.add_argument("--layer", type=int, default=LAYER, help="the block whose output is read and steered")
        parser.add_argument("--tokens", type=int, default=3_000_000, help="tokens of the training, at least")
        parser.add_argument("--epochs", type=int, default=2, help="how often the training sees each token")
        parser.add_argument("--seed", type=int, default=0, help="seed of the training")

    def handle(self, *args: Any, stages: list[str], **options: Any) -> None:
        from inference.demo.smollm2.pipeline import Making
        from inference.demo.smollm2.texts import MissingTexts

        if wrong := sorted({*stages} - {*STAGES}):
            raise CommandError(f"STAGE: got {wrong[0]!r}, expected one of {', '.join(STAGES)}")
        if not options["model"].is_dir():
            raise CommandError(
                f"{options['model']} is missing: run `manage.py fetch_demo`, or name a folder by --model"
            )
        making = Making(options["model"], options["work"], options["output"], options["layer"])
        chosen = stages or [stage for stage in STAGES if stage != "layers"]
        try:
            for stage in (stage for stage in STAGES if stage in chosen):
                self.stdout.write(f"{stage} …")
                self._run(making, stage, options)
        except MissingTexts as error:
            raise CommandError(str(error)) from error

    def _run(self, making: Any, stage: str, options: dict[str, Any]) -> None:
        if stage == "answers":
            self.stdout.write(f"{len(making.own_answers())} answers")
        elif stage == "layers":
            for score in making.layers():
                self.stdout.write(str(score))
        elif stage == "sae":
            self.stdout.write(str(making.train(options["tokens"], options["epochs"], options["seed"])))
        elif stage == "labels":
            making.describe()
        else:
            judged = making.judge()
            shipped = sum(one.is_shipped for one in judged.values())
            self.stdout.write(f"{shipped} of {len(judged)} profiles are shipped")
