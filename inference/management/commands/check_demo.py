"""`manage.py check_demo`: measure the effect of the demo's profiles."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError, CommandParser

from inference.demo import smollm2, tiny
from inference.demo.tiny.measure import Shares, shares

if TYPE_CHECKING:
    from inference.demo.smollm2.pipeline import Making

ON_TOPIC, WELL_FORMED = 0.80, 0.70
"""What each profile of the grammar model reaches."""


class Command(BaseCommand):
    help = "Ask neutral questions with and without each profile of the demo, and measure theme and fluency."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument(
            "--demo", choices=["smollm2", "tiny"], default="tiny" if settings.MILLM_DEMO == "tiny" else "smollm2"
        )
        parser.add_argument("--samples", type=int, default=100, help="answers for each profile of the grammar model")
        parser.add_argument("--model", type=Path, default=smollm2.MODEL, help="the folder of SmolLM2")

        parser.add_argument(
            "--chat", metavar="PROFILE", help="only show a chat of ten turns with SmolLM2 under a profile"
        )

    def handle(self, *args: Any, demo: str, samples: int, model: Path, chat: str | None, **options: Any) -> None:
        if chat:
            self._chat(model, chat)
            return
        failed = self._check_smollm2(model) if demo == "smollm2" else self._check_tiny(samples)
        if failed:
            raise CommandError(f"below what a shipped profile reaches: {', '.join(failed)}")

    def _check_smollm2(self, model: Path) -> list[str]:
        """Print the table and the answers of docs/demo.md; returns the profiles that should not be shipped."""
        from inference.demo.smollm2.judge import markdown

        judged = _making(model).check()
        for line in markdown(judged):
            self.stdout.write(line)
        return [name for name, one in judged.items() if not one.is_shipped]

    def _chat(self, model: Path, profile: str) -> None:
        known = sorted(path.stem for path in (smollm2.FILES / "profiles").glob("*.json"))
        if profile not in known:
            raise CommandError(f"--chat: got {profile!r}, expected one of {', '.join(known)}")
        for answer in _making(model).chat(profile):
            self.stdout.write(f"> {answer.question}\n\n{answer.text}\n")

    def _check_tiny(self, samples: int) -> list[str]:
        from inference.demo.tiny.sampler import sampler

        answers = sampler(samples)
        unsteered = answers(None)
        self.stdout.write(f"{'profile':10} {'on the topic':>22} {'well-formed':>22}")
        self.stdout.write(f"{'':10} {'steered':>11} {'not':>10} {'steered':>11} {'not':>10}")
        return [path.stem for path in _profiles() if self._falls_short(path.stem, answers(path), unsteered)]

    def _falls_short(self, name: str, answers: Sequence[str], unsteered: Sequence[str]) -> bool:
        steered, plain = shares(answers, name), shares(unsteered, name)
        self._row(name, steered, plain)
        return steered.on_topic < ON_TOPIC or steered.well_formed < WELL_FORMED

    def _row(self, name: str, steered: Shares, plain: Shares) -> None:
        topic = f"{steered.on_topic:11.0%} {plain.on_topic:10.0%}"
        self.stdout.write(f"{name:10} {topic} {steered.well_formed:11.0%} {plain.well_formed:10.0%}")


def _making(model: Path) -> "Making":
    from inference.demo.smollm2.pipeline import Making
    from steering.formats import read_config

    if not model.is_dir():
        raise CommandError(f"{model} is missing: run `manage.py fetch_demo`, or name the model's folder by --model")
    return Making(model, model.parent / "training", smollm2.FILES, read_config(smollm2.FILES / "sae").layer)


def _profiles() -> list[Path]:
    return sorted((tiny.FILES / "profiles").glob("*.json"))
