"""The admin of feature labels: list, search, import and deletion."""

from functools import partial
from typing import Any

from django import forms
from django.contrib import admin, messages
from django.contrib.admin.actions import delete_selected
from django.contrib.admin.models import DELETION, LogEntry
from django.contrib.contenttypes.models import ContentType
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse
from django.template.defaultfilters import pluralize
from django.utils.safestring import SafeString
from unfold.contrib.filters.admin import AutocompleteSelectFilter
from unfold.decorators import action, display
from unfold.widgets import UnfoldAdminTextInputWidget, UnfoldBooleanSwitchWidget

from steering.admin.imports import ImportAdmin, ImportForm, sae_choice
from steering.admin.links import feature_link
from steering.admin.search import BoundedSearch, Found
from steering.admin.selections import ChecksSelection
from steering.errors import Refused
from steering.labels.files import SOURCE_LENGTH, LabelFile
from steering.labels.models import EditedLabel, FeatureLabel, ImportedLabels
from steering.labels.pagination import BoundedPaginator
from steering.models import SAE

DELETED_SHOWN = 100


class AddLabelForm(forms.ModelForm):  # type: ignore[type-arg]
    """A label of the user's own, for a feature that has none yet."""

    sae = sae_choice()

    class Meta:
        model = FeatureLabel
        fields = ("sae", "index", "label")

    def clean(self) -> dict[str, Any]:
        super().clean()
        values = self.cleaned_data
        if not self.errors:
            try:
                EditedLabel.objects.check_new(values["sae"], values["index"], values["label"])
            except Refused as error:
                self.add_error("label" if getattr(error, "field", "") == "label" else "index", str(error))
        return values


class ImportLabelsForm(ImportForm):
    file_help = "Neuronpedia's explanations (JSON or JSON lines), or CSV (index,label[,source]). May be gzipped."
    source = forms.CharField(
        required=False,
        max_length=SOURCE_LENGTH,
        help_text="Replaces the source that the file names.",
        widget=UnfoldAdminTextInputWidget,
    )
    replace = forms.BooleanField(
        required=False,
        label="Replace",
        help_text="Delete existing labels from the same sources before importing.",
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

    def imported(self) -> str:
        sae, upload, replace = (self.cleaned_data[name] for name in ("sae", "file", "replace"))
        file = LabelFile(upload.file, upload.name, source=self.cleaned_data["source"])
        return _success(sae, FeatureLabel.objects.import_files(sae.pk, [file], replace=replace))


@admin.register(FeatureLabel)
class FeatureLabelAdmin(ChecksSelection, BoundedSearch, ImportAdmin):
    list_display = ["feature", "label", "source", "of_sae"]
    list_display_links = ["label"]
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

    @display(description="Feature")
    def feature(self, label: FeatureLabel) -> SafeString:
        return feature_link(label.sae_id, label.index)

    @display(description="SAE")
    def of_sae(self, label: FeatureLabel) -> str:
        return label.sae_id

    def find(self, request: HttpRequest, queryset: QuerySet[FeatureLabel], search_term: str) -> Found:
        found: Any = queryset
        return (found.search(search_term) if search_term.strip() else queryset), False

    def get_form(
        self, request: HttpRequest, obj: FeatureLabel | None = None, change: bool = False, **kwargs: Any
    ) -> Any:
        return super().get_form(request, obj, change, **(kwargs if change else {**kwargs, "form": AddLabelForm}))

    def get_fields(self, request: HttpRequest, obj: FeatureLabel | None = None) -> list[str]:
        return list(self.fields if obj else AddLabelForm.Meta.fields)

    def save_model(self, request: HttpRequest, obj: FeatureLabel, form: Any, change: bool) -> None:
        obj.pk = EditedLabel.objects.write(obj.sae_id, obj.index, obj.label).pk

    def has_add_permission(self, request: HttpRequest) -> bool:
        """Return True for those who may write a label elsewhere too: it may replace one that was written meanwhile."""
        return self.has_import_permission(request)

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

    @action(description="Import labels", permissions=["import"], url_path="import", icon="upload")
    def import_labels(self, request: HttpRequest) -> HttpResponse:
        """The page that imports a file."""
        make = partial(ImportLabelsForm, may_replace=self.has_delete_permission(request))
        return self.import_page(request, make, "Import labels")


def _success(sae: SAE, imported: ImportedLabels) -> str:
    count, sources = imported.labels, ", ".join(imported.sources) or "the file"
    message = f"{count:,} label{pluralize(count)} imported for {sae} from {sources}."
    return f"{message} {imported.skipped:,} of {imported.rows:,} rows had no label." if imported.skipped else message
