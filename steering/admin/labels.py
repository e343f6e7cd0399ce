"""The admin of feature labels: list, search, import and deletion."""

from typing import Any
from urllib.parse import urlencode

from django import forms
from django.contrib import admin, messages
from django.contrib.admin.actions import delete_selected
from django.contrib.admin.models import DELETION, LogEntry
from django.contrib.contenttypes.models import ContentType
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.template.defaultfilters import pluralize
from django.template.response import TemplateResponse
from django.urls import reverse
from unfold.contrib.filters.admin import AutocompleteSelectFilter
from unfold.decorators import action, display
from unfold.widgets import UnfoldAdminFileFieldWidget, UnfoldAdminTextInputWidget, UnfoldBooleanSwitchWidget

from steering.admin.search import BoundedSearch, Found
from steering.admin.selections import ChecksSelection, RowChoice, RowSelect
from steering.errors import Refused
from steering.labels.files import SOURCE_LENGTH, LabelFile
from steering.labels.models import FeatureLabel, ImportedLabels
from steering.labels.pagination import BoundedPaginator
from steering.models import SAE

DELETED_SHOWN = 100


class ImportLabelsForm(forms.Form):
    sae = RowChoice(
        SAE.objects.all(),
        label="SAE",
        widget=RowSelect(FeatureLabel._meta.get_field("sae"), admin.site, attrs={"class": "unfold-admin-autocomplete"}),
    )
    file = forms.FileField(
        help_text="Neuronpedia's explanations (JSON or JSON lines), or CSV (index,label[,source]). May be gzipped.",
        widget=UnfoldAdminFileFieldWidget,
    )
    source = forms.CharField(
        required=False,
        max_length=SOURCE_LENGTH,
        help_text="Replaces the source that the file names.",
        widget=UnfoldAdminTextInputWidget,
    )
    replace = forms.BooleanField(
        required=False,
        label="Replace",
        help_text="Deletes all earlier labels of the same sources first.",
        widget=UnfoldBooleanSwitchWidget,
    )

    def __init__(self, *args: Any, may_replace: bool, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.may_replace = may_replace

    def clean_replace(self) -> bool:
        replace: bool = self.cleaned_data["replace"]
        if replace and not self.may_replace:
            raise forms.ValidationError("Replacing labels needs the permission steering.delete_featurelabel.")
        return replace


@admin.register(FeatureLabel)
class FeatureLabelAdmin(ChecksSelection, BoundedSearch):
    list_display = ["index", "label", "source", "of_sae"]
    list_display_links = ["index", "label"]
    list_filter = [("sae", AutocompleteSelectFilter)]
    list_filter_submit = True
    sortable_by: list[str] = []  # sorting a million rows is slow, and a search has its own ranking
    fields = ["sae", "index", "label", "source"]
    search_fields = ["label"]  # makes Django show the search box; `find` does the search
    search_help_text = "All these words; the last one may be unfinished"
    show_full_result_count = False
    list_max_show_all = 0
    paginator = BoundedPaginator
    actions = ["delete_selected"]
    actions_list = ["import_labels"]

    @display(description="SAE")
    def of_sae(self, label: FeatureLabel) -> str:
        return label.sae_id

    def find(self, request: HttpRequest, queryset: QuerySet[FeatureLabel], search_term: str) -> Found:
        found: Any = queryset
        return (found.search(search_term) if search_term.strip() else queryset), False

    def has_add_permission(self, request: HttpRequest) -> bool:
        """Labels are imported from files only."""
        return False

    def has_change_permission(self, request: HttpRequest, obj: FeatureLabel | None = None) -> bool:
        return False

    # --- deletion: a million labels are neither loaded nor logged one by one ---

    @admin.action(permissions=["delete"], description="Delete selected %(verbose_name_plural)s")
    def delete_selected(self, request: HttpRequest, queryset: QuerySet[FeatureLabel]) -> HttpResponse | None:
        if not request.POST.get("post"):
            question: HttpResponse | None = delete_selected(self, request, queryset)
            return question
        count, _ = queryset.order_by().delete()
        deleted = f"{count:,} feature label{pluralize(count)}"
        user: Any = request.user
        content_type = ContentType.objects.get_for_model(FeatureLabel)
        LogEntry.objects.create(user=user, content_type=content_type, object_repr=deleted, action_flag=DELETION)
        self.message_user(request, f"{deleted} deleted.", messages.SUCCESS)
        return None

    def get_deleted_objects(self, objs: Any, request: HttpRequest) -> Any:
        """The first DELETED_SHOWN labels and the number of the others. No other row depends on a label."""
        count = objs.count() if isinstance(objs, QuerySet) else len(objs)
        named = [str(label) for label in objs[:DELETED_SHOWN]]
        if count > len(named):
            named.append(f"and {count - len(named):,} more")
        refused = set() if self.has_delete_permission(request) else {self.opts.verbose_name}
        return named, {self.opts.verbose_name_plural: count}, refused, []

    def has_import_permission(self, request: HttpRequest) -> bool:
        needed = [f"steering.{action}_featurelabel" for action in ("add", "change")]  # an import may overwrite labels
        return request.user.has_perms(needed)

    @action(description="Import labels", permissions=["import"], url_path="import", icon="upload")
    def import_labels(self, request: HttpRequest) -> HttpResponse:
        """The page that imports a file."""
        chosen = {"sae": request.GET.get("sae", "")}
        may_replace = self.has_delete_permission(request)
        form = ImportLabelsForm(request.POST or None, request.FILES or None, initial=chosen, may_replace=may_replace)
        if request.method == "POST" and form.is_valid() and (imported := self._imported(form)):
            self.message_user(request, _success(form.cleaned_data["sae"], imported), messages.SUCCESS)
            of_sae = urlencode({"sae__id__exact": form.cleaned_data["sae"].pk})
            return redirect(f"{reverse('admin:steering_featurelabel_changelist')}?{of_sae}")
        context = {**self.admin_site.each_context(request), "opts": self.opts, "form": form, "title": "Import labels"}
        return TemplateResponse(request, "admin/steering/featurelabel/import.html", context)

    def _imported(self, form: ImportLabelsForm) -> ImportedLabels | None:
        """Import the form's file. A fault of the file becomes an error of the form."""
        sae, upload, replace = (form.cleaned_data[name] for name in ("sae", "file", "replace"))
        file = LabelFile(upload.file, upload.name, source=form.cleaned_data["source"])
        try:
            return FeatureLabel.objects.import_files(sae.pk, [file], replace=replace)
        except Refused as error:
            form.add_error("file", f"Nothing was imported: {error}")
            return None


def _success(sae: SAE, imported: ImportedLabels) -> str:
    count, sources = imported.labels, ", ".join(imported.sources) or "the file"
    message = f"{count:,} label{pluralize(count)} imported for {sae} from {sources}."
    return f"{message} {imported.skipped:,} of {imported.rows:,} rows had no label." if imported.skipped else message
