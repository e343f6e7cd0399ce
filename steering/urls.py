"""/api/saes/…/labels."""

from django.urls import path

from steering.api.label_views import FeatureLabelViewSet

urlpatterns = [
    path("saes/<slug:id>/labels", FeatureLabelViewSet.as_view({"get": "list", "delete": "destroy"})),
    path("saes/<slug:id>/labels/import", FeatureLabelViewSet.as_view({"post": "import_"}), name="labels_import"),
]
