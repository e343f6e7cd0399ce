"""URLs of the live steering (/api/steering) and of feature labels (/api/saes/{id}/labels)."""

from django.urls import path

from steering.api.label_views import FeatureLabelViewSet
from steering.api.views import LiveSteeringViewSet

urlpatterns = [
    path(
        "steering",
        LiveSteeringViewSet.as_view({"get": "retrieve", "put": "update", "patch": "partial_update"}),
        name="steering",
    ),
    path("steering/enable", LiveSteeringViewSet.as_view({"post": "enable"})),
    path("steering/disable", LiveSteeringViewSet.as_view({"post": "disable"})),
    path("steering/clear", LiveSteeringViewSet.as_view({"post": "clear"})),
    path("steering/history", LiveSteeringViewSet.as_view({"get": "history"})),
    path("steering/history/<int:version>", LiveSteeringViewSet.as_view({"get": "past"})),
    path("steering/restore", LiveSteeringViewSet.as_view({"post": "restore"})),
    path("saes/<slug:id>/labels", FeatureLabelViewSet.as_view({"get": "list", "delete": "destroy"})),
    path("saes/<slug:id>/labels/import", FeatureLabelViewSet.as_view({"post": "import_"}), name="labels_import"),
]
