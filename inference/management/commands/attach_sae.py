"""`manage.py attach_sae`: let an SAE steer the current model."""

from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from inference.management.named import sae_named
from inference.management.progress import wait
from inference.models import LanguageModel
from profiles.current import attach_sae
from steering.errors import Refused


class Command(BaseCommand):
    help = "Attach a registered SAE or vector set to the current model, in place of the main attached SAE."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("id", metavar="ID", help="the SAE")
        parser.add_argument("--also", action="store_true", help="attach it in addition to the main attached SAE")
        parser.add_argument("--wait", action="store_true", help="wait until it is downloaded, or has failed")

    def handle(self, *args: Any, **options: Any) -> None:
        sae = sae_named(options["id"])
        if options["wait"]:
            wait(sae, self.stderr.write)
        try:
            attach_sae(sae, also=options["also"])
        except Refused as error:
            raise CommandError(str(error)) from error
        also = "also " if options["also"] else ""
        self.stderr.write(f"{sae} is {also}attached to {LanguageModel.objects.current()} at {sae.hook_name}.")
