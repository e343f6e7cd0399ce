"""The search of the admin's lists."""

from typing import Any

from django.contrib import messages
from django.db.models import QuerySet
from django.http import HttpRequest

from steering.admin.lists import QuickList
from steering.api.search import TooManyWords, check_number

Found = tuple[QuerySet[Any], bool]


class BoundedSearch(QuickList):
    """Refuses a search for too many words with a message. A subclass with another search overrides `find`."""

    def get_search_results(self, request: HttpRequest, queryset: QuerySet[Any], search_term: str) -> Found:
        try:
            check_number(search_term.split())
        except TooManyWords as error:
            self.message_user(request, f"The search was not run: {error}.", messages.ERROR)
            return queryset.none(), False
        return self.find(request, queryset, search_term)

    def find(self, request: HttpRequest, queryset: QuerySet[Any], search_term: str) -> Found:
        found: Found = super().get_search_results(request, queryset, search_term)
        return found
