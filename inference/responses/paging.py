"""The queries of stored responses."""

from collections.abc import Sequence
from typing import Any, Literal, Self

from django.http import QueryDict
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from inference.openai.errors import OpenAIError
from inference.openai.validation import as_openai_error
from inference.responses.options import Include

INCLUDE = "include[]"
"""The name of `include` in a query; the `openai` package sends it as a list."""


class Query(BaseModel):
    model_config = ConfigDict(extra="forbid")

    include: list[Include] = []

    @classmethod
    def of(cls, given: QueryDict) -> Self:
        """Read a query. Raises OpenAIError 400, which names the first wrong field."""
        include = [*given.getlist("include"), *given.getlist(INCLUDE)]
        single = {name: value for name, value in given.items() if name not in {"include", INCLUDE}}
        try:
            return cls.model_validate({**single, **({"include": include} if include else {})})
        except ValidationError as error:
            raise as_openai_error(error) from error


class RetrieveQuery(Query):
    """GET of a response. A stored response is shown whole: it is not streamed again."""

    stream: Literal["false"] | None = None


class ItemsQuery(Query):
    """GET of the items of a response."""

    limit: int = Field(20, ge=1, le=100)
    order: Literal["asc", "desc"] = "desc"
    after: str | None = None

    def page(self, items: Sequence[dict[str, Any]]) -> dict[str, Any]:
        """The page of `items`, which are in their order. Raises OpenAIError 400."""
        ordered = [*items] if self.order == "asc" else [*reversed(items)]
        if self.after is not None:
            ids = [item["id"] for item in ordered]
            if self.after not in ids:
                message = f"after: there is no item {self.after!r:.100} in this response"
                raise OpenAIError(400, message, param="after", code="invalid_request")
            ordered = ordered[ids.index(self.after) + 1 :]
        page = ordered[: self.limit]
        ends = {"first_id": page[0]["id"], "last_id": page[-1]["id"]} if page else {"first_id": None, "last_id": None}
        return {"object": "list", "data": page, "has_more": len(ordered) > len(page), **ends}
