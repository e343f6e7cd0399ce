"""The page of a REST list."""

from rest_framework.pagination import PageNumberPagination


class Pages(PageNumberPagination):
    """`?page=2&page_size=100`; pages hold at most 1000 rows."""

    page_size_query_param = "page_size"
    max_page_size = 1000
