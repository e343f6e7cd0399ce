"""`manage.py list_saes`: list the SAEs."""

from typing import Any

from inference.api.serializers import SAESerializer
from inference.management.listing import ListCommand


class Command(ListCommand):
    serializer = SAESerializer
    columns = ("id", "is_attached", "status", "layer", "d_sae", "source", "path", "error")
    help = (
        f"List the SAEs, one per line: {', '.join(columns)}, separated by tabs; is_attached is 'also' where an SAE is "
        "attached in addition to the main SAE; --json: one object per line."
    )

    def shown(self, fields: dict[str, Any]) -> list[Any]:
        """The values; layer and features are empty until the SAE's files have been read."""
        unread = {} if fields["hook_name"] else {"layer": None, "d_sae": None}
        beside = {"is_attached": "also"} if fields["is_also_attached"] else {}
        return super().shown({**fields, **unread, **beside})
