"""The login form of the admin, which says so where django-axes refuses a login."""

from typing import Any

from django.conf import settings
from django.core.exceptions import ValidationError
from unfold.forms import AuthenticationForm


class LoginForm(AuthenticationForm):
    def get_invalid_login_error(self) -> Any:
        if not getattr(self.request, "axes_locked_out", False):
            return super().get_invalid_login_error()
        minutes = int(settings.AXES_COOLOFF_TIME.total_seconds() // 60)
        told = f"Too many failed logins with this name from here: wait {minutes} minutes, then try again."
        return ValidationError(told, code="locked_out")
