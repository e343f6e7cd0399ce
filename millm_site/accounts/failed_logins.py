"""Failed logins are counted before a password is tried: by name and address, and by address alone (django-axes)."""

import ipaddress
from typing import Any

from axes.attempts import get_cool_off_threshold
from axes.handlers.database import AxesDatabaseHandler
from axes.models import AccessAttempt
from django.conf import settings
from django.db import connection, transaction
from django.db.models import Sum
from django.http import HttpRequest


def address_of(request: HttpRequest) -> str | None:
    """The client's address, as the server tells it; None where a trusted proxy names something else."""
    try:
        return str(ipaddress.ip_address(request.META.get("REMOTE_ADDR", "").partition("%")[0]))
    except ValueError:
        return None


class Throttle(AxesDatabaseHandler):
    """axes' handler. A login counts as a failure until its password was right, which forgets the failures.

    axes itself counts when a password has been tried: logins at once would try more than the limit, unless each waited
    for the one before it, with a connection to PostgreSQL.
    """

    def is_allowed(self, request: Any, credentials: dict[str, Any] | None = None) -> bool:
        """Whether the password may be tried, which is counted."""
        with transaction.atomic():
            _wait_for_turn(request.axes_ip_address)
            request.millm_has_failed_from_here = _failures_from_here(request) >= settings.LOGIN_FAILURES_PER_ADDRESS
            if request.millm_has_failed_from_here or not super().is_allowed(request, credentials):
                return False
            super().user_login_failed(type(self), credentials or {}, request)
        return True

    def user_login_failed(self, *args: Any, **kwargs: Any) -> None:
        """Nothing: it is counted, or was refused."""


def _wait_for_turn(address: str | None) -> None:
    """Until the end of the transaction, of all web processes."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_advisory_xact_lock(hashtextextended(%s, 0))", [f"login {address}"])


def _failures_from_here(request: Any) -> int:
    lately = AccessAttempt.objects.filter(attempt_time__gte=get_cool_off_threshold(request))
    found: int | None = lately.filter(ip_address=request.axes_ip_address).aggregate(sum=Sum("failures_since_start"))[
        "sum"
    ]
    return found or 0
