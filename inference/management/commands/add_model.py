"""`manage.py add_model`: register a language model."""

from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from inference.models import LanguageModel
from steering.errors import Refused
from steering.language_models import ANSWER_FORMS, DTYPES


class Command(BaseCommand):
    help = "Register a language model from a hub id or a folder; --load makes it the current one."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("source", help="a hub id such as google/gemma-2-2b, or a folder, written as a path")
        parser.add_argument("--name", default="", help="the model id that API clients use")
        parser.add_argument("--revision", default="", help="a branch, a tag or a commit of the hub; main by default")
        parser.add_argument("--dtype", default="auto", choices=DTYPES, help="dtype of the weights; auto: as stored")
        parser.add_argument("--device", default="auto", help="auto, cpu, cuda, cuda:N or mps")
        parser.add_argument(
            "--answer-form",
            default="",
            choices=[*ANSWER_FORMS],
            help="how calls of tools and reasoning are found in answers; empty: by the chat template",
        )
        parser.add_argument("--load", action="store_true", help="make it the current model")

    def handle(self, *args: Any, **options: Any) -> None:
        fields = {name: options[name] for name in ("name", "revision", "dtype", "device", "answer_form")}
        try:
            model = LanguageModel.objects.register(options["source"], anywhere=True, **fields)
            if options["load"]:
                model.load()
        except Refused as error:
            raise CommandError(str(error)) from error
        shape = f"{model.model_type}, d_model {model.d_model}, {model.num_layers} layers"
        self.stderr.write(f"{model} is registered: {shape}; it is {model.status}.")
        self.stdout.write(model.name)
