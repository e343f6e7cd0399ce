"""`manage.py list_profiles`."""

import json
from typing import Any

from django.core.management.base import BaseCommand, CommandParser

from profiles.models import Profile

COLUMNS = ("name", "is_active", "features", "model_id", "sae_id", "layer", "id")


class Command(BaseCommand):
    help = "List the profiles, a line each: " + ", ".join(COLUMNS) + ", tab-separated; with --json, an object a line."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--json", action="store_true", help="a JSON object a line, with the strengths")
        parser.add_argument("--active", action="store_true", help="only the active one")

    def handle(self, *, json: bool, active: bool, **options: Any) -> None:
        profiles = Profile.objects.filter(is_active=True) if active else Profile.objects.all()
        for profile in profiles.iterator():
            self.stdout.write(as_json(profile) if json else as_line(profile))


def as_line(profile: Profile) -> str:
    values = [getattr(profile, column, len(profile.strengths)) for column in COLUMNS]
    return "\t".join("" if value is None else str(value) for value in values)


def as_json(profile: Profile) -> str:
    values = {column: getattr(profile, column) for column in COLUMNS if column != "features"}
    return json.dumps({**values, "steering": profile.strengths}, ensure_ascii=False)
