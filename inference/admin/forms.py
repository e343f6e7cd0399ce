"""The admin's forms of what is registered by its source: registering is the check, since it reads what is there."""

from typing import Any, Generic, TypeVar

from django import forms
from django.conf import settings
from django.core.exceptions import ValidationError
from django.db.models import Model

from inference.models import LanguageModel
from steering.errors import Refused
from steering.models import SAE

M = TypeVar("M", bound=Model)


class RegisterForm(forms.ModelForm[M], Generic[M]):
    """A form whose row is made by `register`, once its fields are what they should be."""

    example: str
    """A hub id."""
    optional: str
    """The field that may be empty, and is made from the source then."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        folders = ", ".join(settings.MODEL_DIRS) or "none is allowed: set MILLM_MODEL_DIRS"
        self.fields["source"].help_text = f"A hub id like {self.example}, or a folder below one of these: {folders}"
        self.fields["revision"].help_text = "A branch, a tag or a commit of the hub; empty for main."
        self.fields[self.optional].required = False
        self.fields[self.optional].help_text = "Made from the source where it is empty."

    def register(self, **fields: Any) -> M:
        """The new row. Raises Refused."""
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
        except Refused as error:
            field = error.details.get("field")
            field = field if field in self.fields else "source"  # what a hub refuses, is about the source
            self.add_error(field, ValidationError(str(error).removeprefix(f"{field}: "), code=error.code))


class RegisterModelForm(RegisterForm[LanguageModel]):
    example, optional = "google/gemma-2-2b", "name"

    class Meta:
        model = LanguageModel
        fields = ["source", "name", "revision", "dtype", "device"]

    def register(self, **fields: Any) -> LanguageModel:
        return LanguageModel.objects.register(**fields)


class RegisterSAEForm(RegisterForm[SAE]):
    example, optional = "google/gemma-scope-2b-pt-res", "id"

    class Meta:
        model = SAE
        fields = ["source", "revision", "path", "id"]

    def register(self, **fields: Any) -> SAE:
        return SAE.objects.register(sae_id=fields.pop("id"), **fields)
