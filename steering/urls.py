"""/api/saes/…/labels and /api/saes/…/features."""

from django.urls import path

from steering.api.edited_label_views import EditedLabelViewSet
from steering.api.feature_views import FeatureViewSet
from steering.api.label_views import FeatureLabelViewSet

urlpatterns = [
    path("saes/<slug:id>/labels", FeatureLabelViewSet.as_view({"get": "list", "delete": "destroy"})),
    path("saes/<slug:id>/labels/import", FeatureLabelViewSet.as_view({"post": "import_"}), name="labels_import"),
    path("saes/<slug:id>/features", FeatureViewSet.as_view({"get": "list"}), name="features"),
    path("saes/<slug:id>/features/import", FeatureViewSet.as_view({"post": "import_"}), name="features_import"),
    path("saes/<slug:id>/features/<int:index>/label", EditedLabelViewSet.as_view({"put": "write", "delete": "remove"})),
    path("saes/<slug:id>/features/<int:index>/label/history", EditedLabelViewSet.as_view({"get": "history"})),
]
