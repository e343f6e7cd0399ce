"""The login form of the admin, which says so where django-axes refuses a login."""

from typing import Any

from axes.helpers import get_client_ip_address
from django.conf import settings
from django.core.exceptions import ValidationError
from django.db import connection, transaction
from unfold.forms import AuthenticationForm


class LoginForm(AuthenticationForm):
    def clean(self) -> dict[str, Any]:
        """One after the other where name and address are the same.

        axes looks at the failures first, and counts one when the password has been tried: what comes in between would
        be tried beyond the limit.
        """
        refusal = None
        with transaction.atomic():  # which a refusal must not undo: it is counted in there
            self._wait_for_turn()
            try:
                cleaned: dict[str, Any] = super().clean()
            except ValidationError as error:
                refusal = error
        if refusal:
            raise refusal
        return cleaned

    def _wait_for_turn(self) -> None:
        """Until the end of the transaction, of all web processes."""
        who = f"login {self.cleaned_data.get('username')} {get_client_ip_address(self.request)}"
        with connection.cursor() as cursor:
            cursor.execute("SELECT pg_advisory_xact_lock(hashtextextended(%s, 0))", [who])

    def get_invalid_login_error(self) -> Any:
        if not getattr(self.request, "axes_locked_out", False):
            return super().get_invalid_login_error()
        minutes = int(settings.AXES_COOLOFF_TIME.total_seconds() // 60)
        told = f"Too many failed logins with this name from here: wait {minutes} minutes, then try again."
        return ValidationError(told, code="locked_out")
