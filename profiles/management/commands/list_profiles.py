"""`manage.py list_profiles`: list the profiles."""

import json
from typing import Any

from django.core.management.base import BaseCommand, CommandParser

from profiles.models import Profile

COLUMNS = ("name", "is_active", "features", "model_id", "sae_id", "layer", "id")


class Command(BaseCommand):
    help = f"List the profiles, one per line: {', '.join(COLUMNS)}, separated by tabs; --json: one object per line."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--json", action="store_true", help="one JSON object per line, with the strengths")
        parser.add_argument("--active", action="store_true", help="only the active profile")

    def handle(self, *, json: bool, active: bool, **options: Any) -> None:
        profiles = Profile.objects.filter(is_active=True) if active else Profile.objects.all()
        for profile in profiles.iterator():
            self.stdout.write(as_json(profile) if json else as_line(profile))


def as_line(profile: Profile) -> str:
    values = [getattr(profile, column, len(profile.strengths)) for column in COLUMNS]
    return "\t".join("" if value is None else str(value) for value in values)


def as_json(profile: Profile) -> str:
    values = {column: getattr(profile, column) for column in COLUMNS if column != "features"}
    values |= {"tags": profile.tags, "notes": profile.notes}
    return json.dumps({**values, "steering": profile.strengths, **profile.document.split()[1]}, ensure_ascii=False)
