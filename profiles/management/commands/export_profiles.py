"""`manage.py export_profiles`: write profiles to a file."""

from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.template.defaultfilters import pluralize

from profiles.errors import ProfileNotFound
from profiles.files import transfer
from profiles.models import Profile


class Command(BaseCommand):
    help = "Write one profile, or several profiles as one bundle, to stdout or to --output."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("names", nargs="*", metavar="NAME", help="a profile; a repeated name is written once")
        parser.add_argument("--all", action="store_true", help="every profile, in one file")
        parser.add_argument("--output", type=Path, metavar="FILE", help="write to this file instead of stdout")

    def handle(self, *, names: list[str], all: bool, output: Path | None, **options: Any) -> None:
        if all == bool(names):
            raise CommandError("Name the profiles to export, or pass --all.", returncode=2)
        try:
            profiles = list(Profile.objects.all() if all else map(Profile.objects.named, dict.fromkeys(names)))
        except ProfileNotFound as error:
            raise CommandError(f"{error}: `list_profiles` lists all profiles. Nothing was written.") from error
        is_single = len(profiles) == 1 and not all
        text = transfer.dumps(transfer.document(profiles[0]) if is_single else transfer.bundle(profiles))
        if output is None:
            self.stdout.write(text, ending="")
            return
        try:
            output.write_text(text)
        except OSError as error:
            raise CommandError(f"{output} cannot be written: {error.strerror}") from error
        count = len(profiles)
        self.stderr.write(f"{count} profile{pluralize(count)} {pluralize(count, 'is,are')} in {output}.")
