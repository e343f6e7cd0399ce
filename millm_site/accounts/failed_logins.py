"""Limits of failed logins, by name and address and by address alone (django-axes)."""

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
    """The client's address as uvicorn gives it; None if a trusted proxy named something else."""
    try:
        return str(ipaddress.ip_address(request.META.get("REMOTE_ADDR", "").partition("%")[0]))
    except ValueError:
        return None


class Throttle(AxesDatabaseHandler):
    """axes' handler, but a login counts as a failure before its password is checked; a right password resets the count.

    axes counts after the check, so concurrent logins could exceed the limit.
    """

    def is_allowed(self, request: Any, credentials: dict[str, Any] | None = None) -> bool:
        """True if the password may be checked; the attempt is then counted as a failure."""
        with transaction.atomic():
            _wait_for_turn(request.axes_ip_address)
            request.millm_has_failed_from_here = _failures_from_here(request) >= settings.LOGIN_FAILURES_PER_ADDRESS
            if request.millm_has_failed_from_here or not super().is_allowed(request, credentials):
                return False
            super().user_login_failed(type(self), credentials or {}, request)
        return True

    def user_login_failed(self, *args: Any, **kwargs: Any) -> None:
        """Do nothing: `is_allowed` has counted or refused the login."""


def _wait_for_turn(address: str | None) -> None:
    """Take the lock of this address, which all web processes share, until the end of the transaction."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_advisory_xact_lock(hashtextextended(%s, 0))", [f"login {address}"])


def _failures_from_here(request: Any) -> int:
    lately = AccessAttempt.objects.filter(attempt_time__gte=get_cool_off_threshold(request))
    found: int | None = lately.filter(ip_address=request.axes_ip_address).aggregate(sum=Sum("failures_since_start"))[
        "sum"
    ]
    return found or 0
