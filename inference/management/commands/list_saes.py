"""`manage.py list_saes`."""

from typing import Any

from inference.api.serializers import SAESerializer
from inference.management.listing import ListCommand


class Command(ListCommand):
    serializer = SAESerializer
    columns = ("id", "is_attached", "status", "layer", "d_sae", "source", "path", "error")
    help = f"List the SAEs, a line each: {', '.join(columns)}, tab-separated; with --json, an object a line."

    def shown(self, fields: dict[str, Any]) -> list[Any]:
        """Layer and features are known once the files are here."""
        return super().shown(fields if fields["hook_name"] else {**fields, "layer": None, "d_sae": None})
