"""The admin's form of what is registered by its source: registering is the check, since it reads what is there."""

from typing import Any, Generic, TypeVar

from django import forms
from django.core.exceptions import ValidationError
from django.db.models import Model

from steering.errors import SteeringError

M = TypeVar("M", bound=Model)


class RegisterForm(forms.ModelForm[M], Generic[M]):
    """A form whose row is made by `register`, once its fields are what they should be."""

    optional: str
    """The field that may be empty, and is made from the source then."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.fields[self.optional].required = False
        self.fields[self.optional].help_text = "Made from the source where it is empty."

    def register(self, **fields: Any) -> M:
        """The new row. Raises SteeringError."""
        raise NotImplementedError

    def save(self, commit: bool = True) -> M:
        """The row is saved already; the admin asks for `save_m2m` afterwards, and there is nothing of that kind."""
        return self.instance

    def save_m2m(self) -> None: ...

    def _post_clean(self) -> None:
        if self.errors:
            return
        try:
            self.instance = self.register(**self.cleaned_data)
        except SteeringError as error:
            field = error.details.get("field")
            self.add_error(field if field in self.fields else None, ValidationError(str(error), code=error.code))
