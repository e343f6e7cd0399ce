"""Filters of the admin's list of profiles. None of them reads its choices from the table, which may be very large."""

from typing import Any, cast

from django.core.validators import EMPTY_VALUES
from django.db.models import QuerySet
from django.http import HttpRequest
from unfold.contrib.filters.admin import (
    BooleanRadioFilter,
    FieldTextFilter,
    RadioFilter,
    SingleNumericFilter,
    TextFilter,
)
from unfold.contrib.filters.forms import HorizontalRadioForm

from profiles.errors import InvalidProfile
from profiles.managers import ProfileQuerySet
from profiles.models import Profile
from profiles.tags import split_tags
from steering.models import SAE, LanguageModel


class PartFilter(FieldTextFilter):
    """Filters by a part of the field. Unfold's filter takes an empty box for a condition that drops empty values."""

    used_parameters: dict[str, Any]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        self.used_parameters = {name: value for name, value in self.used_parameters.items() if any(value)}
        filtered: QuerySet[Any] = super().queryset(request, queryset)
        return filtered


class ActiveFilter(BooleanRadioFilter):
    title: str

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.title = "active"

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        return queryset if self.value() in EMPTY_VALUES else super().queryset(request, queryset)


class FitsFilter(RadioFilter):
    title = "fits"
    form_class = HorizontalRadioForm
    parameter_name = "fits"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [("yes", "Fits"), ("no", "Does not fit")]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Profile]) -> QuerySet[Profile]:
        if self.value() not in {"yes", "no"}:
            return queryset
        profiles = cast("ProfileQuerySet", queryset)
        chosen = profiles.fitting if self.value() == "yes" else profiles.misfitting
        return chosen(LanguageModel.objects.current(), SAE.objects.attached())


class TagFilter(TextFilter):
    """Filters by a whole tag; with commas between several tags, by all of them."""

    title = "tag"
    parameter_name = "tag"

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        tags, profiles = split_tags(self.value() or ""), cast("ProfileQuerySet", queryset)
        try:
            return profiles.with_tags(tags) if tags else queryset
        except InvalidProfile:  # no profile has such a tag
            return queryset.none()


LIST_FILTERS: list[Any] = [
    ("is_active", ActiveFilter),
    FitsFilter,
    TagFilter,
    ("model_id", PartFilter),
    ("sae_id", PartFilter),
    ("layer", SingleNumericFilter),
]
