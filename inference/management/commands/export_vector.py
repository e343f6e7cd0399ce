"""`manage.py export_vector`: write a feature or a vector as a control vector for llama.cpp."""

from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from inference.management.named import sae_named
from inference.outages import outage_of
from inference.reading.export import control_vector_file, is_refused_by_llama_cpp
from steering.errors import Refused
from steering.models import SAE


class Command(BaseCommand):
    help = "Write the direction of a feature, or a vector, as a control vector in GGUF. A worker makes the file."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("id", metavar="SAE", help="the SAE or the vector set")
        parser.add_argument("index", metavar="INDEX", type=int, help="the feature, or the vector of the set")
        parser.add_argument("file", metavar="FILE", type=Path, help="the file to write, such as honesty.gguf")

    def handle(self, *args: Any, **options: Any) -> None:
        sae, index, path = sae_named(options["id"]), options["index"], options["file"]
        content = self._made(sae, index)
        try:
            path.write_bytes(content)
        except OSError as error:
            raise CommandError(f"{path} cannot be written: {error.strerror}") from error
        layers = ", ".join(map(str, sae.layers))
        self.stderr.write(f"{path} has feature {index} of {sae}, at layer {layers}, in {len(content):,} bytes.")
        if is_refused_by_llama_cpp(sae):
            self.stderr.write("llama.cpp refuses it: it adds no control vector behind block 0.")

    def _made(self, sae: SAE, index: int) -> bytes:
        if index < 0:
            raise CommandError(f"INDEX: got {index}, expected a whole number from 0")
        try:
            return control_vector_file(sae, index)
        except Refused as error:
            raise CommandError(str(error)) from error
        except Exception as error:
            if (outage := outage_of(error)) is None:
                raise
            raise CommandError(outage.message) from error
