"""The admin of feature labels: read, searched, imported, deleted."""

from typing import Any

from django import forms
from django.contrib import admin
from django.core.exceptions import PermissionDenied
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.template.response import TemplateResponse
from django.urls import URLPattern, path
from django.utils.html import format_html_join
from django.utils.safestring import SafeString
from unfold.admin import ModelAdmin

from steering.errors import SteeringError
from steering.label_files import SOURCE_LENGTH, LabelFile
from steering.label_pages import BoundedPaginator
from steering.labels import FeatureLabel, label_lines
from steering.models import SAE


class ImportLabelsForm(forms.Form):
    sae = forms.ModelChoiceField(SAE.objects.all(), label="SAE")
    file = forms.FileField(
        help_text="Neuronpedia's explanations (JSON array or JSON lines) or CSV (index,label[,source]), gzipped or not."
    )
    source = forms.CharField(
        required=False, max_length=SOURCE_LENGTH, help_text="Where the labels come from, instead of what the file says."
    )
    replace = forms.BooleanField(required=False, help_text="Older labels from the same sources go first.")


@admin.register(FeatureLabel)
class FeatureLabelAdmin(ModelAdmin):
    list_display = ["index", "label", "source", "sae_id"]
    list_display_links = ["index", "label"]
    list_filter = ["sae"]
    fields = ["sae", "index", "label", "source"]
    search_fields = ["label"]  # shows the field; how it is searched, get_search_results says
    search_help_text = "All these words, the last one maybe unfinished. The best are first."
    show_full_result_count = False
    paginator = BoundedPaginator
    change_list_template = "admin/steering/featurelabel/change_list.html"

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[FeatureLabel], search_term: str
    ) -> tuple[QuerySet[FeatureLabel], bool]:
        found: Any = queryset
        return (found.search(search_term) if search_term.strip() else queryset), False

    def get_urls(self) -> list[URLPattern]:
        imported = path("import/", self.admin_site.admin_view(self.import_view), name="steering_featurelabel_import")
        return [imported, *super().get_urls()]

    def has_add_permission(self, request: HttpRequest) -> bool:
        """Labels come out of files."""
        return False

    def has_change_permission(self, request: HttpRequest, obj: FeatureLabel | None = None) -> bool:
        return False

    def has_import_permission(self, request: HttpRequest) -> bool:
        needed = [f"steering.{action}_featurelabel" for action in ("add", "change", "delete")]
        return request.user.has_perms(needed)

    def changelist_view(self, request: HttpRequest, extra_context: Any = None) -> HttpResponse:
        context = {"has_import_permission": self.has_import_permission(request), **(extra_context or {})}
        response: HttpResponse = super().changelist_view(request, context)
        return response

    def import_view(self, request: HttpRequest) -> HttpResponse:
        """The page on which a file is imported."""
        if not self.has_import_permission(request):
            raise PermissionDenied
        form = ImportLabelsForm(request.POST or None, request.FILES or None)
        if request.method == "POST" and form.is_valid() and self._import(request, form):
            return redirect("admin:steering_featurelabel_changelist")
        context = {**self.admin_site.each_context(request), "opts": self.opts, "form": form, "title": "Import labels"}
        return TemplateResponse(request, "admin/steering/featurelabel/import.html", context)

    def _import(self, request: HttpRequest, form: ImportLabelsForm) -> bool:
        """Import as the form says; what is wrong with the file is an error of the form."""
        sae, upload, replace = (form.cleaned_data[name] for name in ("sae", "file", "replace"))
        file = LabelFile(upload.file, form.cleaned_data["source"], upload.name)
        try:
            imported = FeatureLabel.objects.import_files(sae.pk, [file], replace=replace)
        except SteeringError as error:
            form.add_error("file", str(error))
            return False
        self.message_user(request, f"{imported.labels} labels imported; {imported.skipped} rows had no label.")
        return True


def labelled(sae_id: str | None, strengths: dict[int, float]) -> str | SafeString:
    """Strengths with the labels of their features, a line each, for a read-only field."""
    lines = label_lines(strengths, FeatureLabel.objects.of(sae_id, strengths))
    return format_html_join("", "<div>{}</div>", ((line,) for line in lines)) or "-"
