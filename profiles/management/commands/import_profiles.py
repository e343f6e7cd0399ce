"""`manage.py import_profiles`: import profiles from files."""

import sys
from pathlib import Path
from typing import Any, get_args

from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db import transaction
from django.template.defaultfilters import pluralize

from profiles.files import facts
from profiles.files.transfer import Imported, ProfileFile
from profiles.managers import OnConflict
from profiles.models import Profile
from steering.errors import Refused


class Command(BaseCommand):
    help = "Import profiles, all files or none. Writes outcome, name and id of each profile to stdout."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument(
            "files",
            nargs="*",
            metavar="FILE",
            default=["-"],
            help="a profile file; stdin if omitted or -",
        )
        parser.add_argument(
            "--on-conflict", choices=get_args(OnConflict), default="fail", help="what to do when the name exists"
        )
        parser.add_argument("--dry-run", action="store_true", help="show the result without changing anything")

    def handle(self, *, files: list[str], on_conflict: OnConflict, dry_run: bool, **options: Any) -> None:
        results: list[Imported] = []
        with transaction.atomic():
            for name in files:
                results += self._import(name, on_conflict)
            if dry_run:
                transaction.set_rollback(True)
        # Written after the commit, so that stdout lists only profiles that were really imported.
        for result in results:
            has_id = not dry_run or result.before is not None  # a dry run creates no id
            self.stdout.write(f"{result.outcome}\t{result.profile.name}\t{result.profile.pk if has_id else ''}")
        unchanged = sum(result.outcome == "unchanged" for result in results)
        count = len(results) - unchanged
        done = "would be imported" if dry_run else "imported"
        self.stderr.write(f"{count} profile{pluralize(count)} {done}{f', {unchanged} unchanged' if unchanged else ''}.")

    def _import(self, name: str, on_conflict: OnConflict) -> list[Imported]:
        try:
            file = ProfileFile.loads(read(name), most=None)
            results = Profile.objects.import_file(file, on_conflict)
        except Refused as error:
            raise CommandError(f"{name}: {error}. Nothing was imported.") from error
        for note in (*file.notes, *facts.keep(file.facts, may_keep=True)):
            self.stderr.write(f"{name}: {note}")
        return results


def read(name: str) -> bytes:
    """The content of a file, or of stdin for `-`. Raises CommandError."""
    if name == "-":
        return sys.stdin.buffer.read()
    try:
        return Path(name).read_bytes()
    except OSError as error:
        raise CommandError(f"{name} cannot be read: {error.strerror}. Nothing was imported.") from error
