"""`manage.py detach_sae`: detach an SAE."""

from typing import Any

from django.core.management.base import BaseCommand, CommandParser

from inference.admin import consequences
from inference.management.named import sae_named
from profiles.current import detach_sae
from steering.models import SAE


class Command(BaseCommand):
    help = "Detach an SAE; the active profile and the live steering end where they steer by it."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("id", nargs="?", metavar="ID", help="the SAE; by default the main attached SAE")

    def handle(self, *, id: str | None, **options: Any) -> None:
        sae = sae_named(id) if id else SAE.objects.attached()
        if sae is None or not sae.is_in_use:
            reason = f"{sae} is not attached" if sae else "No SAE is attached"
            self.stderr.write(f"{reason}: nothing was changed.")
            return
        lines = consequences.of_detaching(sae)
        detach_sae(sae)
        self.stderr.write(" ".join([f"{sae} is detached.", *lines]))
