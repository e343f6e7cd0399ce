"""`manage.py check_demo`: measure the effect of the demo's profiles."""

from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from inference.demo import FILES
from inference.demo.measure import Shares, shares

ON_TOPIC, WELL_FORMED = 0.80, 0.70


class Command(BaseCommand):
    help = "Sample neutral prompts with and without each demo profile, and measure topic and grammar."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--samples", type=int, default=100, help="answers per profile")

    def handle(self, *args: Any, samples: int, **options: Any) -> None:
        from inference.demo.sampler import sampler

        answers = sampler(samples)
        unsteered = answers(None)
        self.stdout.write(f"{'profile':10} {'on the topic':>22} {'well-formed':>22}")
        self.stdout.write(f"{'':10} {'steered':>11} {'not':>10} {'steered':>11} {'not':>10}")
        failed = []
        for path in sorted((FILES / "profiles").glob("*.json")):
            steered, plain = shares(answers(path), path.stem), shares(unsteered, path.stem)
            self._row(path.stem, steered, plain)
            if steered.on_topic < ON_TOPIC or steered.well_formed < WELL_FORMED:
                failed.append(path.stem)
        if failed:
            below = f"below {ON_TOPIC:.0%} on the topic or {WELL_FORMED:.0%} well-formed"
            raise CommandError(f"{below}: {', '.join(failed)}")

    def _row(self, name: str, steered: Shares, plain: Shares) -> None:
        topic = f"{steered.on_topic:11.0%} {plain.on_topic:10.0%}"
        self.stdout.write(f"{name:10} {topic} {steered.well_formed:11.0%} {plain.well_formed:10.0%}")
