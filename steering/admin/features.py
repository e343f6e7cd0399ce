"""The admin of features: the list of their statistics, and the import. The page of a feature is in inference."""

from typing import Any

from django.contrib import admin
from django.contrib.admin.views.main import ChangeList
from django.db.models import F, QuerySet
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.urls import URLPattern, path
from django.utils.safestring import SafeString
from django.views.decorators.http import require_safe
from unfold.contrib.filters.admin import AutocompleteSelectFilter
from unfold.decorators import action, display

from steering.admin.imports import ImportAdmin, ImportForm
from steering.admin.links import feature_link
from steering.admin.lists import QuickList
from steering.admin.permissions import missing
from steering.features.files import FeatureFile
from steering.features.models import Feature
from steering.labels.models import FeatureLabel
from steering.labels.pagination import BoundedPaginator
from steering.strengths import INDEX

SIGNIFICANT = "{:.4g}"


class ImportFeaturesForm(ImportForm):
    file_help = "A file of Neuronpedia's features/ or activations/ (JSON lines or JSON array). May be gzipped."

    def imported(self) -> str:
        sae, upload = self.cleaned_data["sae"], self.cleaned_data["file"]
        imported = Feature.objects.import_files(sae.pk, [FeatureFile(upload.file, upload.name)])
        return f"Features imported for {sae}: {imported.features:,}; examples: {imported.examples:,}."


class FeatureList(ChangeList):
    """The list with the label of each feature of the page, and in the order of an index of PostgreSQL."""

    def get_ordering(self, request: HttpRequest, queryset: QuerySet[Any]) -> list[Any]:
        """One column at most: several, or those of no SAE, would sort a million rows."""
        ordering: list[Any] = list(super().get_ordering(request, queryset))
        by = ordering[0]
        if "sae__id__exact" not in self.params or by in ("sae_id", "pk", "-pk"):
            return ["sae_id", "index"]
        return [by, "index"]

    def get_results(self, request: HttpRequest) -> None:
        super().get_results(request)
        rows = self.result_list = list(self.result_list)
        labels = FeatureLabel.objects.of_many((row.sae_id, [row.index]) for row in rows)
        for row in rows:
            row.label = labels.get((row.sae_id, row.index), "")


@admin.register(Feature)
class FeatureAdmin(QuickList, ImportAdmin):
    list_display = ["feature", "shown_label", "shown_maximum", "shown_density", "shown_mean", "of_sae"]
    list_display_links = None
    list_filter = [("sae", AutocompleteSelectFilter)]
    list_filter_submit = True
    list_per_page = 25
    show_full_result_count = False
    list_max_show_all = 0
    paginator = BoundedPaginator
    actions = None
    actions_list = ["import_features"]

    def get_urls(self) -> list[URLPattern]:
        view = self.admin_site.admin_view(require_safe(self.maximum_view))
        return [path("maximum/", view, name="steering_feature_maximum"), *super().get_urls()]

    def maximum_view(self, request: HttpRequest) -> JsonResponse:
        """The largest activation that is known of the feature `?sae=…&index=…`; null where none is."""
        if not self.has_view_permission(request):
            raise missing("steering.view_featurelabel")
        sae, index = request.GET.get("sae", ""), request.GET.get("index", "")
        if not INDEX.match(index):
            return JsonResponse({"detail": f"got index {index!r:.100}, expected an integer >= 0"}, status=400)
        known = Feature.objects.maxima(sae, [int(index)]) if int(index) < 2**31 else {}
        return JsonResponse({"maximum": known.get(int(index))})

    @display(description="Feature", ordering="index")
    def feature(self, row: Feature) -> SafeString:
        return feature_link(row.sae_id, row.index)

    @display(description="Label")
    def shown_label(self, row: Any) -> str:
        return str(row.label)

    @display(description="Maximum", ordering=F("maximum").desc(nulls_last=True))
    def shown_maximum(self, row: Feature) -> str:
        return _number(row.maximum)

    @display(description="Density", ordering=F("density").desc(nulls_last=True))
    def shown_density(self, row: Feature) -> str:
        return "" if row.density is None else f"{_number(100 * row.density)} %"

    @display(description="Mean")
    def shown_mean(self, row: Feature) -> str:
        return _number(row.mean)

    @display(description="SAE")
    def of_sae(self, row: Feature) -> str:
        return row.sae_id

    def get_changelist(self, request: HttpRequest, **kwargs: Any) -> type[FeatureList]:
        return FeatureList

    def get_queryset(self, request: HttpRequest) -> QuerySet[Feature]:
        rows: QuerySet[Feature] = super().get_queryset(request)
        return rows.only("sae_id", "index", "maximum", "density", "mean")

    # --- permissions are those of labels; rows are measured, imported or computed, never typed ---

    def has_view_permission(self, request: HttpRequest, obj: Feature | None = None) -> bool:
        return request.user.has_perm("steering.view_featurelabel")

    def has_module_permission(self, request: HttpRequest) -> bool:
        return self.has_view_permission(request)

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Feature | None = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Feature | None = None) -> bool:
        return False

    @action(description="Import features", permissions=["import"], url_path="import", icon="upload")
    def import_features(self, request: HttpRequest) -> HttpResponse:
        """The page that imports a file."""
        return self.import_page(request, ImportFeaturesForm, "Import features")


def _number(value: float | None) -> str:
    return "" if value is None else SIGNIFICANT.format(value)
