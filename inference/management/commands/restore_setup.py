"""`manage.py restore_setup`: go back to the previous setup."""

from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from inference.admin import consequences
from inference.management.progress import wait_until_served
from inference.models import LanguageModel
from inference.setups.errors import SetupIncomplete
from inference.setups.models import Setup
from steering.errors import Refused


class Command(BaseCommand):
    help = "Load a model, attach its SAEs and activate its profile again, as they were before the last load or unload."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument(
            "id", nargs="?", type=int, metavar="ID", help="a setup of list_setups; by default the previous one"
        )
        parser.add_argument(
            "--partly", action="store_true", help="restore the rest where a part is missing, which is refused otherwise"
        )
        parser.add_argument("--wait", action="store_true", help="wait until a worker serves it, or has failed")

    def handle(self, *, id: int | None, partly: bool, **options: Any) -> None:
        try:
            setup = Setup.objects.last_left() if id is None else Setup.objects.with_id(id)
            lines = consequences.of_restoring(setup)
            missing = setup.restore(partly=partly)
        except SetupIncomplete as error:
            raise CommandError(f"{error} Use --partly to restore the rest.") from error
        except Refused as error:
            raise CommandError(str(error)) from error
        self.stderr.write(" ".join([f"Back to {setup}.", *lines, *missing]))
        model = LanguageModel.objects.current()
        if model is None:  # another process unloaded it just now
            raise CommandError(f"{setup.model_name} was unloaded meanwhile")
        if options["wait"]:
            wait_until_served(model, self.stderr.write)
        self.stdout.write(model.status)
