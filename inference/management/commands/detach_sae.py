"""`manage.py detach_sae`: end the steering by an SAE."""

from typing import Any

from django.core.management.base import BaseCommand, CommandParser

from inference.admin import consequences
from inference.management.named import sae_named
from profiles.current import detach_sae
from steering.models import SAE


class Command(BaseCommand):
    help = "Detach the attached SAE, with the active profile and the live steering."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("id", nargs="?", metavar="ID", help="the SAE; the attached one where it is not given")

    def handle(self, *, id: str | None, **options: Any) -> None:
        sae = sae_named(id) if id else SAE.objects.attached()
        if sae is None or not sae.is_attached:
            told = f"{sae} is not attached" if sae else "No SAE is attached"
            self.stderr.write(f"{told}: nothing was changed.")
            return
        ended = consequences.of_detaching(sae)
        detach_sae(sae)
        self.stderr.write(" ".join([f"{sae} is detached.", *ended]))
