"""`manage.py list_models`."""

from inference.api.serializers import ModelSerializer
from inference.management.listing import ListCommand


class Command(ListCommand):
    serializer = ModelSerializer
    columns = ("name", "is_current", "status", "dtype", "device", "source", "error")
    help = f"List the language models, a line each: {', '.join(columns)}, tab-separated; with --json, an object a line."
