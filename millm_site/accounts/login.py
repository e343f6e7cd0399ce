"""The login form of the admin, with an error for each refusal of `millm_site.accounts.failed_logins`."""

import threading
from typing import Any

from django.conf import settings
from django.core.exceptions import ValidationError
from django.db import connection
from unfold.forms import AuthenticationForm

AT_ONCE = 2  # hashing a password occupies a processor for a quarter of a second
WAIT_S = 10.0
_turns = threading.BoundedSemaphore(AT_ONCE)


class LoginForm(AuthenticationForm):
    def clean(self) -> dict[str, Any]:
        """Check AT_ONCE logins at a time. The others wait without a database connection, which other pages need."""
        if not connection.in_atomic_block:
            connection.close()
        if not _turns.acquire(timeout=WAIT_S):
            raise ValidationError("Too many logins at once: wait a moment, then try again.", code="busy")
        try:
            cleaned: dict[str, Any] = super().clean()
        finally:
            _turns.release()
        return cleaned

    def get_invalid_login_error(self) -> Any:
        if not getattr(self.request, "axes_locked_out", False):
            return super().get_invalid_login_error()
        minutes = int(settings.AXES_COOLOFF_TIME.total_seconds() // 60)
        logins = "logins" if self.request.millm_has_failed_from_here else "logins with this name"
        message = f"Too many failed {logins} from your address: wait {minutes} minutes, then try again."
        return ValidationError(message, code="locked_out")
