"""`manage.py deactivate_profile`: deactivate the active profile."""

from typing import Any

from django.core.management.base import BaseCommand, CommandParser

from profiles.models import Profile


class Command(BaseCommand):
    help = "Deactivate the active profile, if one is active."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--keep-steering", action="store_true", help="keep the live steering")

    def handle(self, *, keep_steering: bool, **options: Any) -> None:
        active = Profile.objects.active()
        Profile.objects.deactivate_active(clear_steering=not keep_steering)
        self.stderr.write(f"{active} is no longer active." if active else "No profile was active.")
