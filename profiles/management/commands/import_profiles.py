"""`manage.py import_profiles`: profiles out of files."""

import sys
from pathlib import Path
from typing import Any, get_args

from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db import transaction

from profiles.managers import OnConflict
from profiles.models import Profile
from profiles.transfer import ProfileFile
from steering.errors import SteeringError


class Command(BaseCommand):
    help = "Creates the profiles of the files, of all or of none. Writes outcome, name and id of each to stdout."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("files", nargs="*", metavar="FILE", default=["-"], help="- or nothing is stdin")
        parser.add_argument("--on-conflict", choices=get_args(OnConflict), default="fail", help="if a name exists")
        parser.add_argument("--dry-run", action="store_true", help="say what would happen, and change nothing")

    def handle(self, *, files: list[str], on_conflict: OnConflict, dry_run: bool, **options: Any) -> None:
        lines = []
        with transaction.atomic():
            for name in files:
                lines += self._import(name, on_conflict)
            if dry_run:
                transaction.set_rollback(True)
        # Only now: what is written to stdout is done.
        for line in lines:
            self.stdout.write(line)
        done = "would be imported" if dry_run else "imported"
        self.stderr.write(f"{len(lines)} profiles {done}.")

    def _import(self, name: str, on_conflict: OnConflict) -> list[str]:
        try:
            file = ProfileFile.loads(read(name), most=None)
            made = Profile.objects.import_file(file, on_conflict)
        except SteeringError as error:
            raise CommandError(f"{name}: {error}. Nothing was imported.") from error
        for note in file.notes:
            self.stderr.write(f"{name}: {note}")
        return [f"{one.outcome}\t{one.profile.name}\t{one.profile.pk}" for one in made]


def read(name: str) -> bytes:
    """The content of a file, or of stdin for `-`. Raises CommandError."""
    if name == "-":
        return sys.stdin.buffer.read()
    try:
        return Path(name).read_bytes()
    except OSError as error:
        raise CommandError(f"{name} cannot be read: {error.strerror}. Nothing was imported.") from error
