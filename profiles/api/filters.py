"""The query string of lists of profiles: filters, search and ordering. An unknown parameter is an error."""

from typing import Any

import django_filters
from django import forms
from django.db.models import QuerySet
from django_filters.rest_framework import DjangoFilterBackend
from rest_framework import filters
from rest_framework.exceptions import ValidationError
from rest_framework.request import Request

from profiles.models import Profile
from steering.api.search import check_number

MAX_INDEX = 2**31 - 1
PARAMETERS = ("search", "ordering", "page", "page_size", "format")
BOOLEANS = {"true": True, "false": False}


class IntegerFilter(django_filters.Filter):
    field_class = forms.IntegerField


class FlagFilter(django_filters.ChoiceFilter):
    """`true` or `false`; without the parameter nothing is filtered."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(choices=[(word, word) for word in BOOLEANS], empty_label="any", **kwargs)

    def filter(self, qs: QuerySet[Any], value: str) -> QuerySet[Any]:
        filtered: QuerySet[Any] = super().filter(qs, BOOLEANS.get(value, value))
        return filtered


class ProfileFilter(django_filters.FilterSet):
    is_active = FlagFilter()
    model_id = django_filters.CharFilter()
    sae_id = django_filters.CharFilter()
    layer = IntegerFilter(min_value=0, max_value=MAX_INDEX)
    feature = IntegerFilter(
        min_value=0,
        max_value=MAX_INDEX,
        method="filter_feature",
        label="Feature",
        help_text="Profiles that steer this feature index.",
    )

    tag = django_filters.CharFilter(
        method="filter_tag",
        label="Tag",
        help_text="Profiles that have this tag; with a comma between several, those that have all of them.",
    )

    class Meta:
        model = Profile
        fields: list[str] = []

    def filter_feature(self, queryset: QuerySet[Profile], name: str, value: int) -> QuerySet[Profile]:
        profiles: Any = queryset
        found: QuerySet[Profile] = profiles.with_feature(value)
        return found

    def filter_tag(self, queryset: QuerySet[Profile], name: str, value: str) -> QuerySet[Profile]:
        profiles: Any = queryset
        found: QuerySet[Profile] = profiles.with_tags(value.split(","))
        return found


class Search(filters.SearchFilter):
    """`?search=…` in name and description."""

    def get_search_terms(self, request: Request) -> Any:
        return check_number(list(super().get_search_terms(request)))


class Ordering(filters.OrderingFilter):
    """`?ordering=-updated_at,name`. An unknown field is an error. Rows that compare equal are ordered by id."""

    def get_ordering(self, request: Request, queryset: Any, view: Any) -> Any:
        given = request.query_params.get(self.ordering_param)
        if given is None:
            return super().get_ordering(request, queryset, view)
        fields = [field.strip() for field in given.split(",")]
        allowed = view.ordering_fields
        if len(fields) > len(allowed):
            message = f"Got {len(fields)} fields, expected at most {len(allowed)}: each once."
            raise ValidationError({self.ordering_param: [message]})
        if unknown := [field for field in fields if field.removeprefix("-") not in allowed]:
            message = f"Got {unknown[0]!r}, expected {', '.join(allowed)}; a - before a field reverses the order."
            raise ValidationError({self.ordering_param: [message]})
        return [*fields, "pk"]


class KnownParameters(filters.BaseFilterBackend):
    """Refuses an unknown parameter: without this, a misspelled filter would return all profiles."""

    def filter_queryset(self, request: Request, queryset: Any, view: Any) -> Any:
        known = {*ProfileFilter.base_filters, *PARAMETERS, *(["name"] if view.action == "export_many" else [])}
        if unknown := sorted(set(request.query_params) - known):
            expected = ", ".join(sorted(known))
            raise ValidationError({name: [f"This parameter is unknown: expected {expected}."] for name in unknown})
        return queryset


BACKENDS: list[Any] = [KnownParameters, DjangoFilterBackend, Search, Ordering]
