"""Lists of rows, one per line: fields separated by tabs, or a JSON object."""

import json
from collections.abc import Sequence
from typing import Any

from django.core.management.base import BaseCommand, CommandParser
from rest_framework import serializers


class ListCommand(BaseCommand):
    """Lists the rows of a serializer; `columns` are the fields of a line."""

    columns: Sequence[str]
    serializer: type[serializers.ModelSerializer[Any]]

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--json", action="store_true", help="one JSON object per line, with all fields of REST")

    def handle(self, *, json: bool, **options: Any) -> None:
        model: Any = self.serializer.Meta.model
        for row in model.objects.iterator():
            fields = self.serializer(row).data
            self.stdout.write(as_json(fields) if json else as_line(self.shown(fields)))

    def shown(self, fields: dict[str, Any]) -> list[Any]:
        """The values of the columns."""
        return [fields[column] for column in self.columns]


def as_line(values: Sequence[Any]) -> str:
    """The values separated by tabs, each on one line: an error may have several lines."""
    return "\t".join("" if value is None else " ".join(str(value).split()) for value in values)


def as_json(fields: dict[str, Any]) -> str:
    return json.dumps(fields, ensure_ascii=False)
