"""`manage.py load_model`: serve a registered model."""

from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from inference.management.named import model_named
from inference.management.progress import wait_until_served
from steering.errors import Refused


class Command(BaseCommand):
    help = "Make a registered model the current one: workers load it."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("name", metavar="NAME", help="the model")
        parser.add_argument("--wait", action="store_true", help="wait until a worker serves it, or has failed")

    def handle(self, *args: Any, **options: Any) -> None:
        model = model_named(options["name"])
        try:
            model.load()
        except Refused as error:
            raise CommandError(str(error)) from error
        self.stderr.write(f"{model} is the current model.")
        if options["wait"]:
            wait_until_served(model, self.stderr.write)
        self.stdout.write(model.status)
