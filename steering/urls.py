"""/api/steering."""

from django.urls import path

from steering.api.label_views import FeatureLabelViewSet as Labels
from profiles.api.live import LiveSteeringViewSet as View

urlpatterns = [
    path("steering", View.as_view({"get": "retrieve", "put": "update", "patch": "partial_update"}), name="steering"),
    path("steering/enable", View.as_view({"post": "enable"})),
    path("steering/disable", View.as_view({"post": "disable"})),
    path("steering/clear", View.as_view({"post": "clear"})),
    path("steering/history", View.as_view({"get": "history"})),
    path("steering/history/<int:version>", View.as_view({"get": "past"})),
    path("steering/restore", View.as_view({"post": "restore"})),
    path("saes/<slug:id>/labels", Labels.as_view({"get": "list", "delete": "destroy"})),
    path("saes/<slug:id>/labels/import", Labels.as_view({"post": "import_"}), name="labels_import"),
]
