"""`manage.py unload_model`: stop serving a model."""

from typing import Any

from django.core.management.base import BaseCommand, CommandParser

from inference.admin import consequences
from inference.management.named import model_named
from inference.models import LanguageModel


class Command(BaseCommand):
    help = "Stop serving a model; a download or a load in progress is cancelled."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("name", nargs="?", metavar="NAME", help="the model; by default the current model")

    def handle(self, *, name: str | None, **options: Any) -> None:
        model = model_named(name) if name else LanguageModel.objects.current()
        if model is None:
            self.stderr.write("No model is current: nothing was changed.")
            return
        lines = consequences.of_unloading(model)
        model.unload()
        self.stderr.write(" ".join([f"{model} is unloaded.", *lines]))
