"""`manage.py activate_profile NAME`: activate a profile."""

from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from profiles.models import Profile
from steering.errors import Refused


class Command(BaseCommand):
    help = "Activate a profile: it steers every request that selects no steering."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("name", metavar="NAME", help="the profile")

    def handle(self, *, name: str, **options: Any) -> None:
        try:
            profile = Profile.objects.named(name)
            profile.activate()
        except Refused as error:
            raise CommandError(f"{error}. Nothing was changed.") from error
        self.stderr.write(f"{profile} is active.")
