"""The admin's forms that register a model or an SAE. Registering reads the source, and so also validates the form."""

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
    """A form whose row is created by `register` when the fields are valid."""

    example: str
    """A hub id, for the help text."""
    optional: str
    """The name field, which is derived from the source if it is empty."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        folders = ", ".join(settings.MODEL_DIRS) or "none (set MILLM_MODEL_DIRS)"
        self.fields["source"].help_text = f"A hub id like {self.example}, or a folder below one of these: {folders}"
        self.fields["revision"].help_text = "A branch, a tag or a commit of the hub; empty for main."
        self.fields[self.optional].required = False
        self.fields[self.optional].help_text = "Empty: derived from the source."

    def register(self, **fields: Any) -> M:
        """The new row. Raises Refused."""
        raise NotImplementedError

    def save(self, commit: bool = True) -> M:
        """Return the row, which is already saved. The admin calls `save_m2m` afterwards."""
        return self.instance

    def save_m2m(self) -> None: ...

    def _post_clean(self) -> None:
        if self.errors:
            return
        try:
            self.instance = self.register(**self.cleaned_data)
        except Refused as error:
            field = error.details.get("field")
            field = field if field in self.fields else "source"  # the refusals of a hub are about the source
            self.add_error(field, ValidationError(str(error).removeprefix(f"{field}: "), code=error.code))


class RegisterModelForm(RegisterForm[LanguageModel]):
    example, optional = "google/gemma-2-2b", "name"

    class Meta:
        model = LanguageModel
        fields = ["source", "name", "revision", "dtype", "device", "answer_form"]

    def register(self, **fields: Any) -> LanguageModel:
        return LanguageModel.objects.register(**fields)


class RegisterSAEForm(RegisterForm[SAE]):
    example, optional = "google/gemma-scope-2b-pt-res", "id"

    class Meta:
        model = SAE
        fields = ["source", "revision", "path", "id"]
        help_texts = {"path": "Path inside the repository or folder: of a folder, or of a control vector's file."}

    def register(self, **fields: Any) -> SAE:
        return SAE.objects.register(sae_id=fields.pop("id"), **fields)
