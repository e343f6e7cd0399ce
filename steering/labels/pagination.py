"""Pages of labels and of features. There may be millions of them, so counting stops at a limit."""

from typing import Any

from django.core.paginator import Paginator
from django.utils.functional import cached_property
from rest_framework.response import Response

from steering.api.pagination import Pages
from steering.labels.models import SEARCH_LIMIT

COUNT_LIMIT = 100_000


class BoundedPaginator(Paginator[Any]):
    """Counts at most COUNT_LIMIT rows, and has no page beyond them."""

    @cached_property
    def count(self) -> int:
        rows: Any = self.object_list
        if isinstance(rows, list):
            return len(rows)
        rows = rows.order_by()
        if hasattr(rows.model, "index"):  # an index of the table has this column: the rows need not be read
            rows = rows.values("index")
        counted: int = rows[:COUNT_LIMIT].count()
        return counted


class BoundedPages(Pages):
    """Pages of at most COUNT_LIMIT rows in all, which say if their count is a limit."""

    django_paginator_class = BoundedPaginator
    limits = f"{COUNT_LIMIT} rows"

    def limit(self) -> int:
        return COUNT_LIMIT

    def get_paginated_response(self, data: Any) -> Response:
        response = super().get_paginated_response(data)
        response.data["count_is_exact"] = response.data["count"] < self.limit()
        return response

    def get_paginated_response_schema(self, schema: Any) -> Any:
        page = super().get_paginated_response_schema(schema)
        description = f"False if `count` is a limit: {self.limits}."
        page["properties"]["count_is_exact"] = {"type": "boolean", "description": description, "example": True}
        return page


class LabelPages(BoundedPages):
    limits = f"{COUNT_LIMIT} labels, or {SEARCH_LIMIT} in a search"

    def limit(self) -> int:
        assert self.request is not None
        return SEARCH_LIMIT if "search" in self.request.query_params else COUNT_LIMIT
