"""Pages of feature labels, of which there may be millions: none is counted beyond a bound."""

from typing import Any

from django.core.paginator import Paginator
from django.utils.functional import cached_property
from rest_framework.response import Response

from steering.api.pagination import Pages
from steering.labels.models import SEARCH_LIMIT

COUNT_LIMIT = 100_000


class BoundedPaginator(Paginator[Any]):
    """Counts no more than COUNT_LIMIT rows, and ends there."""

    @cached_property
    def count(self) -> int:
        rows: Any = self.object_list
        counted: int = len(rows) if isinstance(rows, list) else rows.order_by()[:COUNT_LIMIT].count()
        return counted


class LabelPages(Pages):
    django_paginator_class = BoundedPaginator

    def get_paginated_response(self, data: Any) -> Response:
        response = super().get_paginated_response(data)
        assert self.request is not None
        limit = SEARCH_LIMIT if "search" in self.request.query_params else COUNT_LIMIT
        response.data["count_is_exact"] = response.data["count"] < limit
        return response

    def get_paginated_response_schema(self, schema: Any) -> Any:
        page = super().get_paginated_response_schema(schema)
        told = f"Whether that is all: no more than {COUNT_LIMIT} are counted, in a search {SEARCH_LIMIT}."
        page["properties"]["count_is_exact"] = {"type": "boolean", "description": told}
        return page
