"""/api/saes/…/labels."""

from django.urls import path

from steering.api.label_views import FeatureLabelViewSet as Labels

urlpatterns = [
    path("saes/<slug:id>/labels", Labels.as_view({"get": "list", "delete": "destroy"})),
    path("saes/<slug:id>/labels/import", Labels.as_view({"post": "import_"}), name="labels_import"),
]
