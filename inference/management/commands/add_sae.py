"""`manage.py add_sae`: register an SAE, or list the SAEs of a repository."""

from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from inference.api.resources import catalogue_of
from steering.errors import Refused
from steering.models import SAE


class Command(BaseCommand):
    help = "Register an SAE from a hub id or a folder; --list lists the SAEs inside."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument(
            "source", help="a hub id such as google/gemma-scope-2b-pt-res, or a folder, written as a path"
        )
        parser.add_argument("--path", default="", help="the SAE's path in the source")
        parser.add_argument("--id", default="", help="the SAE's id; by default made from source and path")
        parser.add_argument("--revision", default="", help="a branch, a tag or a commit of the hub; main by default")
        parser.add_argument("--list", action="store_true", help="list the SAEs inside: path, layer, width, sparsity")

    def handle(self, *args: Any, **options: Any) -> None:
        try:
            if options["list"]:
                for found in catalogue_of(options["source"], options["revision"], anywhere=True):
                    fields = [found.path, found.format, found.hook_point, found.layer, found.width, found.sparsity]
                    self.stdout.write("\t".join("" if field is None else str(field) for field in fields))
                return
            where = {"path": options["path"], "sae_id": options["id"], "revision": options["revision"]}
            sae = SAE.objects.register(options["source"], anywhere=True, **where)
        except Refused as error:
            raise CommandError(str(error)) from error
        shape = f"{sae.hook_name}, {sae.d_sae} features of {sae.d_in}" if sae.hook_name else "to be downloaded"
        self.stderr.write(f"{sae} is registered: {shape}; it is {sae.status}.")
        self.stdout.write(sae.id)
