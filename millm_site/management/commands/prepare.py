"""`manage.py prepare`: prepare the database before web and workers of a new version start."""

from collections.abc import Iterator
from typing import Any

from django.core.management import call_command
from django.core.management.base import BaseCommand, CommandError

from inference.demo.choice import present
from inference.demo.smollm2.wheel import DemoUnavailable
from millm_site.bootstrap import ADMIN, PRESET, Secrets, bootstrap, is_first_run


class Command(BaseCommand):
    help = "Migrate the database, and create what is missing: an administrator, an API key, the demo."
    requires_system_checks = ("millm",)  # Unfold's checks read tables, which may not exist yet

    def handle(self, *, verbosity: int, **options: Any) -> None:
        call_command("migrate", verbosity=verbosity)
        try:
            demo = present() if is_first_run() else None
        except DemoUnavailable as error:
            raise CommandError(str(error)) from error
        for line in secret_lines(bootstrap(demo)):
            self.stdout.write(line)
        self.stdout.write("The database is ready.")


def secret_lines(created: Secrets) -> Iterator[str]:
    """Lines with the new login and API key, for the terminal."""
    if created.password:
        yield f"  Login     {ADMIN} / {_shown(created.password)}"
    if created.api_key:
        yield f"  API key   {_shown(created.api_key)}"


def _shown(secret: str) -> str:
    return secret if secret == PRESET else f"{secret}   (shown once)"
