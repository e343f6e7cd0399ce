"""`manage.py list_setups`: list the previous setups."""

from typing import Any

from django.core.management.base import BaseCommand, CommandParser

from inference.api.setups import SetupSerializer
from inference.management.listing import as_json, as_line
from inference.setups.models import Setup


class Command(BaseCommand):
    help = (
        "List the setups that a load or an unload ended, the last one first, without the present one: id, model, "
        "dtype, device, SAEs, profile, the time and the change that ended it, and its missing parts, separated by "
        "tabs; --json: one object per line."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--json", action="store_true", help="one JSON object per line, with all fields of REST")

    def handle(self, *, json: bool, **options: Any) -> None:
        for setup in Setup.objects.others():
            fields = SetupSerializer(setup).data
            self.stdout.write(as_json(fields) if json else as_line(_shown(fields)))


def _shown(fields: dict[str, Any]) -> list[Any]:
    saes = ", ".join(sae["id"] for sae in fields["saes"])
    profile = fields["profile"]["name"] if fields["profile"] else ""
    missing = " ".join(fields["missing"])
    options = [fields["dtype"], fields["device"]]
    return [fields["id"], fields["model"], *options, saes, profile, fields["left_at"], fields["why"], missing]
