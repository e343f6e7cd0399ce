"""`manage.py import_profiles`: profiles out of files."""

import sys
from pathlib import Path
from typing import Any, get_args

from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db import transaction
from django.template.defaultfilters import pluralize

from profiles.files.transfer import Imported, ProfileFile
from profiles.managers import OnConflict
from profiles.models import Profile
from steering.errors import Refused


class Command(BaseCommand):
    help = "Import the profiles of files: all files or none. Writes outcome, name and id of each profile to stdout."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument(
            "files",
            nargs="*",
            metavar="FILE",
            default=["-"],
            help="a profile file; stdin where none is given, or for -",
        )
        parser.add_argument(
            "--on-conflict", choices=get_args(OnConflict), default="fail", help="what to do where a name exists"
        )
        parser.add_argument("--dry-run", action="store_true", help="say what would happen, and change nothing")

    def handle(self, *, files: list[str], on_conflict: OnConflict, dry_run: bool, **options: Any) -> None:
        made: list[Imported] = []
        with transaction.atomic():
            for name in files:
                made += self._import(name, on_conflict)
            if dry_run:
                transaction.set_rollback(True)
        # Only now: what is written to stdout is done.
        for one in made:
            is_here = not dry_run or one.before is not None  # a new one has its id when it is made
            self.stdout.write(f"{one.outcome}\t{one.profile.name}\t{one.profile.pk if is_here else ''}")
        unchanged = sum(one.outcome == "unchanged" for one in made)
        count = len(made) - unchanged
        done = "would be imported" if dry_run else "imported"
        self.stderr.write(f"{count} profile{pluralize(count)} {done}{f', {unchanged} unchanged' if unchanged else ''}.")

    def _import(self, name: str, on_conflict: OnConflict) -> list[Imported]:
        try:
            file = ProfileFile.loads(read(name), most=None)
            made = Profile.objects.import_file(file, on_conflict)
        except Refused as error:
            raise CommandError(f"{name}: {error}. Nothing was imported.") from error
        for note in file.notes:
            self.stderr.write(f"{name}: {note}")
        return made


def read(name: str) -> bytes:
    """The content of a file, or of stdin for `-`. Raises CommandError."""
    if name == "-":
        return sys.stdin.buffer.read()
    try:
        return Path(name).read_bytes()
    except OSError as error:
        raise CommandError(f"{name} cannot be read: {error.strerror}. Nothing was imported.") from error
