"""The page of a REST list."""

from typing import Any

from rest_framework.exceptions import ValidationError
from rest_framework.pagination import PageNumberPagination
from rest_framework.request import Request


class Pages(PageNumberPagination):
    """`?page=2&page_size=100`; pages hold at most 1000 rows."""

    page_size_query_param = "page_size"
    max_page_size = 1000

    def get_page_size(self, request: Request) -> Any:
        """The requested size. Raises ValidationError for a bad size, which DRF would replace by its default."""
        given = request.query_params.get("page_size")
        if given is None:
            return self.page_size
        if not (given.isascii() and given.isdecimal() and 1 <= int(given[:9]) <= self.max_page_size):
            raise ValidationError({"page_size": [f"Got {given!r}, expected a number from 1 to {self.max_page_size}."]})
        return int(given)
