"""`manage.py load_model`: serve a registered model."""

import time
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from inference.models import LanguageModel

POLL_S = 0.5


class Command(BaseCommand):
    help = "Make a registered model the current one: workers load it."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("name")
        parser.add_argument("--wait", action="store_true", help="until a worker serves it, or cannot")

    def handle(self, *args: Any, **options: Any) -> None:
        model = LanguageModel.objects.filter(name=options["name"]).first()
        if model is None:
            known = ", ".join(LanguageModel.objects.values_list("name", flat=True)) or "none"
            raise CommandError(f"there is no model {options['name']!r}: known are {known}")
        model.load()
        self.stderr.write(f"{model} is the current model.")
        told = ""
        while options["wait"]:
            model.refresh_from_db()
            if model.status == LanguageModel.Status.READY:
                break
            if model.status == LanguageModel.Status.ERROR:
                raise CommandError(model.error)
            share = "" if model.progress is None else f" {model.progress:.0%}"
            if (now := f"{model.status}{share}") != told:
                self.stderr.write(now)
                told = now
            time.sleep(POLL_S)
        self.stdout.write(model.status)
