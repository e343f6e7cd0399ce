"""Rows as lines: fields between tabs, or a JSON object a line."""

import json
from collections.abc import Sequence
from typing import Any

from django.core.management.base import BaseCommand, CommandParser
from rest_framework import serializers


class ListCommand(BaseCommand):
    """Lists the rows of a serializer; `columns` are those of its fields that a line has."""

    columns: Sequence[str]
    serializer: type[serializers.ModelSerializer[Any]]

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--json", action="store_true", help="a JSON object a line, with all that REST tells")

    def handle(self, *, json: bool, **options: Any) -> None:
        model: Any = self.serializer.Meta.model
        for row in model.objects.iterator():
            fields = self.serializer(row).data
            self.stdout.write(as_json(fields) if json else as_line(self.shown(fields)))

    def shown(self, fields: dict[str, Any]) -> list[Any]:
        """The values of the columns."""
        return [fields[column] for column in self.columns]


def as_line(values: Sequence[Any]) -> str:
    """An error may have several lines; a value of a row has none."""
    return "\t".join("" if value is None else " ".join(str(value).split()) for value in values)


def as_json(fields: dict[str, Any]) -> str:
    return json.dumps(fields, ensure_ascii=False)
