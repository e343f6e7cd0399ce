"""The page that imports a file of rows about an SAE's features."""

from collections.abc import Callable
from typing import Any

from django import forms
from django.contrib import admin, messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.template.response import TemplateResponse
from django.urls import reverse
from django.utils.http import urlencode
from unfold.admin import ModelAdmin
from unfold.widgets import UnfoldAdminFileFieldWidget

from steering.admin.selections import RowChoice, RowSelect
from steering.errors import Refused
from steering.labels.models import FeatureLabel
from steering.models import SAE


def sae_choice() -> RowChoice:
    """The field of an SAE, with a search."""
    relation = FeatureLabel._meta.get_field("sae")
    widget = RowSelect(relation, admin.site, attrs={"class": "unfold-admin-autocomplete"})
    return RowChoice(SAE.objects.all(), label="SAE", widget=widget)


class ImportForm(forms.Form):
    """The SAE and the file. A subclass has `file_help` and may have more fields."""

    file_help: str
    sae = sae_choice()
    file = forms.FileField(widget=UnfoldAdminFileFieldWidget)

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.fields["file"].help_text = self.file_help

    def imported(self) -> str:
        """Import the file; return a message of success. Raises Refused."""
        raise NotImplementedError


class ImportAdmin(ModelAdmin):
    """The admin of rows that are imported from files."""

    def has_import_permission(self, request: HttpRequest) -> bool:
        needed = [f"steering.{action}_featurelabel" for action in ("add", "change")]  # an import may overwrite rows
        return request.user.has_perms(needed)

    def import_page(self, request: HttpRequest, make: Callable[..., ImportForm], title: str) -> HttpResponse:
        """The page of the form that `make` makes. A fault of the file becomes an error of the form."""
        chosen = {"sae": request.GET.get("sae", "")}
        form = make(request.POST or None, request.FILES or None, initial=chosen)
        list_url = reverse(f"admin:{self.opts.app_label}_{self.opts.model_name}_changelist")
        if request.method == "POST" and form.is_valid():
            try:
                message = form.imported()
            except Refused as error:
                form.add_error("file", f"Nothing was imported: {error}")
            else:
                self.message_user(request, message, messages.SUCCESS)
                return redirect(f"{list_url}?{urlencode({'sae__id__exact': form.cleaned_data['sae'].pk})}")
        own = {"opts": self.opts, "form": form, "title": title, "list_url": list_url}
        return TemplateResponse(request, "admin/steering/import.html", {**self.admin_site.each_context(request), **own})
