"""`manage.py list_models`: list the language models."""

from inference.api.serializers import ModelSerializer
from inference.management.listing import ListCommand


class Command(ListCommand):
    serializer = ModelSerializer
    columns = ("name", "is_current", "status", "dtype", "device", "source", "error")
    help = f"List the models, one per line: {', '.join(columns)}, separated by tabs; --json: one object per line."
